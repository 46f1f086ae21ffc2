"""What an offer says about the transport of a media section: bundle, ICE, DTLS fingerprints and role.

Attributes are looked for in the section whose transport the answer takes for all of the BUNDLE group, then in
the section itself, then in the one that the offer takes the transport from (RFC 9143 §7.1.3 lets the others
leave it out), then at session level.
"""

import re
from typing import Final, Self

import attrs

from voicegate.sdp.attribute import Fingerprint, Group
from voicegate.sdp.fault import OfferError, typed
from voicegate.sdp.grammar import Attribute, MediaDescription, Section, SessionDescription

__all__ = ["PWD", "RemoteTransport", "UFRAG", "bundle_mids", "is_disabled", "mid_of"]

UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}")
PWD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}")
"""Patterns of ICE credentials (RFC 8839 §5.4): 4 to 256 ice-chars, and 22 to 256."""

_DIGEST_LENGTHS: Final = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
"""Hash functions a fingerprint is taken in, and their bytes; older ones can be forged (RFC 8122 §5)."""
_ROLES: Final = ("actpass", "active", "passive")


@attrs.frozen(kw_only=True)
class RemoteTransport:
    """The peer's end of the transport."""

    ice_ufrag: str
    ice_pwd: str
    ice_options: tuple[str, ...]
    fingerprints: tuple[str, ...]
    """Of the certificates the peer may show, each as ``sha-256 AB:CD..``; at least one."""
    setup: str
    """``actpass``, ``active`` or ``passive``: what the peer offers to be in DTLS."""
    is_rtcp_reduced_size: bool

    @classmethod
    def read(
        cls, offer: SessionDescription, section: MediaDescription, *, carrier: MediaDescription | None = None
    ) -> Self:
        """Find the transport that ``section`` of ``offer`` is to use.

        Args:
            offer: The whole offer.
            section: The section with the audio.
            carrier: The section that comes first in the answer's BUNDLE group, if it is another.

        Errors: OfferError.
        """
        tagged = bundle_mids(offer, section)[:1]
        bundled = [media for media in offer.media if mid_of(media) in tagged]
        levels: tuple[Section, ...] = (carrier or section, section, *bundled, offer)
        _check_multiplexing(section, levels)
        options = _first(levels, "ice-options")
        return cls(
            ice_ufrag=_credential(section, levels, "ice-ufrag", UFRAG),
            ice_pwd=_credential(section, levels, "ice-pwd", PWD),
            ice_options=tuple((options.value or "").split()) if options else (),
            fingerprints=_fingerprints(section, levels),
            setup=_setup(levels),
            is_rtcp_reduced_size=_first(levels, "rtcp-rsize") is not None,
        )


def bundle_mids(offer: SessionDescription, section: MediaDescription) -> tuple[str, ...]:
    """Name the sections that ``section`` is bundled with, itself among them; none when it is not bundled.

    Errors: OfferError when a group can't be read.
    """
    mid = mid_of(section)
    for attribute in offer.attributes_named("group"):
        group = typed(attribute, Group.decode)
        if group.semantics == "BUNDLE" and mid in group.mids:
            return group.mids
    return ()


def is_disabled(offer: SessionDescription, section: MediaDescription) -> bool:
    """Tell whether a section is not in use: port 0, and not as a sign of bundle-only (RFC 9143 §6)."""
    if section.port != 0:
        return False
    return section.attribute("bundle-only") is None or not bundle_mids(offer, section)


def mid_of(section: MediaDescription) -> str | None:
    """Return the name of a section."""
    attribute = section.attribute("mid")
    return attribute.value if attribute else None


def _first(levels: tuple[Section, ...], name: str) -> Attribute | None:
    return next((found for level in levels if (found := level.attribute(name))), None)


def _check_multiplexing(section: MediaDescription, levels: tuple[Section, ...]) -> None:
    """Demand RTP and RTCP on one port (RFC 5761 §5.1.1, RFC 8858 §4): there is only one here."""
    if _first(levels, "rtcp-mux") is None and _first(levels, "rtcp-mux-only") is None:
        raise OfferError.unsupported(section, "a=rtcp-mux is missing, and RTCP has no port of its own here")


def _credential(
    section: MediaDescription, levels: tuple[Section, ...], name: str, pattern: re.Pattern[str]
) -> str:
    attribute = _first(levels, name)
    if attribute is None:
        raise OfferError.invalid(section, f"a={name} is missing")
    if not pattern.fullmatch(attribute.value or ""):
        raise OfferError.invalid(attribute, f"does not match {pattern.pattern}")
    return attribute.value or ""


def _fingerprints(section: MediaDescription, levels: tuple[Section, ...]) -> tuple[str, ...]:
    attributes = next((found for level in levels if (found := level.attributes_named("fingerprint"))), ())
    if not attributes:
        if crypto := _first(levels, "crypto"):
            raise OfferError.unsupported(crypto, "keys come from DTLS only, and a=fingerprint is missing")
        raise OfferError.invalid(section, "a=fingerprint is missing")
    fingerprints = []
    for attribute in attributes:
        fingerprint = typed(attribute, Fingerprint.decode)
        length = _DIGEST_LENGTHS.get(fingerprint.algorithm)
        if length is not None and length != len(fingerprint.digest):
            raise OfferError.invalid(attribute, f"{fingerprint.algorithm} has {length} bytes")
        if length is not None:
            fingerprints.append(fingerprint.encode())
    if not fingerprints:
        raise OfferError.unsupported(attributes[0], f"taken are {', '.join(_DIGEST_LENGTHS)}")
    return tuple(fingerprints)


def _setup(levels: tuple[Section, ...]) -> str:
    attribute = _first(levels, "setup")
    # RFC 4145 §4: without it the offerer is active.
    if attribute is None:
        return "active"
    if attribute.value == "holdconn":
        raise OfferError.unsupported(attribute, "a call without its connection is of no use here")
    if attribute.value not in _ROLES:
        raise OfferError.invalid(attribute, f"one of {', '.join(_ROLES)} expected")
    return attribute.value
