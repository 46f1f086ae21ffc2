"""What an offered data channel section says of the SCTP association that runs inside DTLS."""

from typing import Final, Self

import attrs

from voicegate.errors import WireError
from voicegate.sdp.attribute import SctpInit, SctpMap
from voicegate.sdp.fault import typed
from voicegate.sdp.grammar import MediaDescription, SessionDescription, read_number
from voicegate.sdp.transport import is_disabled

__all__ = ["DATA_CHANNEL", "SCTP_PORT", "DataParameters", "find_data_section", "offered_data"]

DATA_CHANNEL: Final = "webrtc-datachannel"
_PROTOCOLS: Final = frozenset({"UDP/DTLS/SCTP", "TCP/DTLS/SCTP"})
_LEGACY_PROTOCOL: Final = "DTLS/SCTP"
"""Of the drafts before RFC 8841: the format is the SCTP port, and ``a=sctpmap`` says what it is for."""
SCTP_PORT: Final = 5000
"""What everybody uses, ourselves included: inside DTLS there is nothing that ports could tell apart."""
_DEFAULT_MESSAGE_SIZE: Final = 65_536
"""Without a word of the client (RFC 8841 §6.1)."""
_MAX_PORT: Final = 0xFFFF
# RFC 8841 §6.2 has no bound; this one is beyond any memory.
_MAX_MESSAGE_SIZE: Final = 0xFFFF_FFFF_FFFF_FFFF


@attrs.frozen(kw_only=True)
class DataParameters:
    """The SCTP association of the call, as far as SDP settles it."""

    sctp_port: int
    """The client's."""
    max_message_size: int
    """The longest message that the client takes, in bytes; 0 is any."""
    sctp_init: bytes | None = None
    """The client's INIT chunk, if both sides have said theirs: then the association needs no handshake."""

    @classmethod
    def read(cls, section: MediaDescription, *, has_sctp_init: bool) -> Self:
        """Read a section that `find_data_section` found; ``has_sctp_init``: our side says its INIT chunk.

        Errors: OfferError.
        """
        size = section.attribute("max-message-size")
        return cls(
            sctp_port=_sctp_port(section),
            max_message_size=typed(size, _read_size) if size else _DEFAULT_MESSAGE_SIZE,
            sctp_init=_sctp_init(section) if has_sctp_init else None,
        )


def find_data_section(offer: SessionDescription) -> MediaDescription | None:
    """Find the first section for data channels that is in use.

    Errors: OfferError when an attribute that decides it can't be read.
    """
    used = (media for media in offer.media if media.kind == "application" and not is_disabled(offer, media))
    return next((media for media in used if _is_for_data(media)), None)


def offered_data(offer: SessionDescription) -> DataParameters | None:
    """Return what the client says of its association, if it offers one, before we have said anything of ours.

    Its INIT chunk (SNAP, draft-hancke-tsvwg-snap) is as it stands there; None when there is none, more than
    one, or no strict base64: the association is then set up by packets.

    Errors: OfferError, as `DataParameters.read`.
    """
    section = find_data_section(offer)
    return None if section is None else DataParameters.read(section, has_sctp_init=True)


def _is_for_data(section: MediaDescription) -> bool:
    is_named = section.protocol in _PROTOCOLS and DATA_CHANNEL in section.formats
    # RFC 9260 §3.1: there is no port 0.
    return (is_named or _legacy_map(section) is not None) and _sctp_port(section) != 0


def _legacy_map(section: MediaDescription) -> SctpMap | None:
    if section.protocol != _LEGACY_PROTOCOL:
        return None
    maps = (typed(attribute, SctpMap.decode) for attribute in section.attributes_named("sctpmap"))
    wanted = (section.formats[0], DATA_CHANNEL)
    return next((each for each in maps if (str(each.port), each.application) == wanted), None)


def _sctp_port(section: MediaDescription) -> int:
    if legacy := _legacy_map(section):
        return legacy.port
    port = section.attribute("sctp-port")
    # Against RFC 8841 §5.1, which knows no default: libwebrtc takes this one.
    return typed(port, _read_port) if port else SCTP_PORT


def _sctp_init(section: MediaDescription) -> bytes | None:
    attributes = section.attributes_named("sctp-init")
    if len(attributes) != 1:
        return None
    try:
        return SctpInit.decode(attributes[0].value or "").chunk
    except WireError:
        return None


def _read_port(value: str) -> int:
    return read_number(value, maximum=_MAX_PORT)


def _read_size(value: str) -> int:
    return read_number(value, maximum=_MAX_MESSAGE_SIZE)
