"""From an offer to its answer: the policy of an ICE-lite server that talks with one client.

One audio section is accepted, the first that is in use; every other section is refused with port 0. Where the
whole is refused, `OfferError` names the line. Renegotiation, and with it the session version, is left out.
"""

from typing import Final

import attrs

from voicegate.errors import UsageError
from voicegate.sdp.attribute import (
    Candidate,
    ExtensionMap,
    FormatParameters,
    Group,
    MediaStreamId,
    RtpMap,
    SourceAttribute,
)
from voicegate.sdp.audio import CODECS, AudioParameters
from voicegate.sdp.fault import OfferError
from voicegate.sdp.grammar import Attribute, Line, MediaDescription, Section, SessionDescription
from voicegate.sdp.transport import RemoteTransport, bundle_mids, is_disabled

__all__ = ["answer", "LocalParameters", "Negotiated"]

# RFC 8829 §5.1.2: with a fingerprint all of these mean DTLS-SRTP; the answer repeats the offered one.
_PROTOCOLS: Final = frozenset(
    {
        "RTP/AVP",
        "RTP/AVPF",
        "RTP/SAVP",
        "RTP/SAVPF",
        "TCP/DTLS/RTP/SAVP",
        "TCP/DTLS/RTP/SAVPF",
        "UDP/TLS/RTP/SAVP",
        "UDP/TLS/RTP/SAVPF",
    }
)
_DISCARD_PORT: Final = 9
"""Stands for "no candidate yet" (RFC 8840 §4.1.1)."""
_NOWHERE: Final = Line("c", "IN IP4 0.0.0.0")
_OPUS_PARAMETERS: Final = (("minptime", "10"), ("useinbandfec", "1"))
"""What we can receive: packets from 10 ms, with forward error correction (RFC 7587 §6.1)."""
_TELEPHONE_EVENTS: Final = (("0-15", None),)
"""The DTMF digits (RFC 4733 §3.2)."""


@attrs.frozen(kw_only=True)
class LocalParameters:
    """Our side of the call."""

    ice_ufrag: str
    ice_pwd: str
    fingerprint: str
    """Of our certificate: ``sha-256 AB:CD..``."""
    candidates: tuple[Candidate, ...]
    session_id: int
    """Of the ``o=`` line: random, below 2**63 (RFC 8829 §5.2.1)."""
    ssrc: int
    cname: str
    stream_id: str
    track_id: str
    codecs: tuple[str, ...] = attrs.field(default=("opus", "PCMU", "PCMA"))
    """The best first."""

    @codecs.validator
    def _check_codecs(self, _field: "attrs.Attribute[tuple[str, ...]]", codecs: tuple[str, ...]) -> None:
        if not codecs or not CODECS.keys() >= set(codecs):
            raise UsageError(f"codecs are some of {', '.join(CODECS)}, not {codecs}")


@attrs.frozen(kw_only=True)
class Negotiated:
    """What offer and answer together have settled."""

    answer: SessionDescription
    remote_ice_ufrag: str
    remote_ice_pwd: str
    remote_ice_options: tuple[str, ...]
    remote_fingerprints: tuple[str, ...]
    """Of the certificates the client may show, each as ``sha-256 AB:CD..``; at least one."""
    is_dtls_client: bool
    """Whether we open the DTLS handshake: only when the client offers to be nothing but passive."""
    audio: AudioParameters


def answer(offer: SessionDescription, local: LocalParameters) -> Negotiated:
    """Answer an offer.

    Errors: OfferError.
    """
    if ice_lite := offer.attribute("ice-lite"):
        raise OfferError.unsupported(ice_lite, "this server is ICE-lite as well, so nobody would send checks")
    _check_mids(offer)
    section = _audio_section(offer)
    transport = RemoteTransport.read(offer, section)
    audio = AudioParameters.negotiate(
        offer, section, codecs=local.codecs, has_rtcp_reduced_size=transport.is_rtcp_reduced_size
    )
    is_dtls_client = transport.setup == "passive"
    accepted = _accept(section, audio, local, is_dtls_client=is_dtls_client)
    return Negotiated(
        answer=SessionDescription(
            lines=tuple(_session_lines(offer, section, local)),
            media=tuple(accepted if media is section else _refuse(media) for media in offer.media),
        ),
        remote_ice_ufrag=transport.ice_ufrag,
        remote_ice_pwd=transport.ice_pwd,
        remote_ice_options=transport.ice_options,
        remote_fingerprints=transport.fingerprints,
        is_dtls_client=is_dtls_client,
        audio=audio,
    )


def _check_mids(offer: SessionDescription) -> None:
    seen = set()
    for media in offer.media:
        mid = media.attribute("mid")
        if mid is None:
            continue
        if not mid.value or " " in mid.value:
            raise OfferError.invalid(mid, "a name without spaces expected")
        if mid.value in seen:
            raise OfferError.invalid(mid, "another section has this name")
        seen.add(mid.value)


def _audio_section(offer: SessionDescription) -> MediaDescription:
    """Choose the section to accept."""
    sections = [media for media in offer.media if media.kind == "audio"]
    if not sections:
        raise OfferError.unsupported(None, "there is no m=audio line")
    section = next((media for media in sections if not is_disabled(offer, media)), None)
    if section is None:
        raise OfferError.unsupported(sections[0], "port 0: the only audio is not in use")
    if section.protocol not in _PROTOCOLS:
        raise OfferError.unsupported(
            section, f"{section.protocol} is not among {', '.join(sorted(_PROTOCOLS))}"
        )
    return section


def _session_lines(
    offer: SessionDescription, section: MediaDescription, local: LocalParameters
) -> list[Line | Attribute]:
    lines: list[Line | Attribute] = [
        Line("v", "0"),
        Line("o", f"- {local.session_id} 1 IN IP4 0.0.0.0"),
        Line("s", "-"),
        Line("t", "0 0"),
    ]
    mid = section.attribute("mid")
    if mid and mid.value and bundle_mids(offer, section):
        lines.append(Attribute("group", Group(semantics="BUNDLE", mids=(mid.value,)).encode()))
    lines.append(Attribute("ice-lite"))
    lines += _repeated(offer, "extmap-allow-mixed")
    return lines


def _refuse(section: MediaDescription) -> MediaDescription:
    """Answer a section with no (RFC 3264 §6)."""
    return MediaDescription(
        kind=section.kind,
        port=0,
        protocol=section.protocol,
        formats=section.formats,
        lines=(_NOWHERE, *_repeated(section, "mid"), Attribute("inactive")),
    )


def _repeated(section: Section, name: str) -> list[Attribute]:
    """Say an attribute back as it was offered, if it was."""
    return [Attribute(offered.name, offered.value) for offered in section.attributes_named(name)[:1]]


def _accept(
    section: MediaDescription, audio: AudioParameters, local: LocalParameters, *, is_dtls_client: bool
) -> MediaDescription:
    port, connection = _default_destination(local.candidates)
    lines: list[Line | Attribute] = [connection]
    lines += _repeated(section, "mid")
    lines += _transport_lines(local, is_dtls_client=is_dtls_client)
    lines += [Attribute(audio.direction), Attribute("rtcp-mux")]
    lines += [Attribute("rtcp-rsize")] if audio.has_rtcp_reduced_size else []
    lines += _repeated(section, "extmap-allow-mixed")
    lines += [Attribute("extmap", ExtensionMap(id=id_, uri=uri).encode()) for id_, uri in audio.extensions]
    lines += _codec_lines(audio)
    lines += _source_lines(local) if audio.is_sending else []
    events = () if audio.telephone_event is None else (str(audio.telephone_event),)
    return MediaDescription(
        kind=section.kind,
        port=port,
        protocol=section.protocol,
        formats=(str(audio.payload_type), *events),
        lines=tuple(lines),
    )


def _default_destination(candidates: tuple[Candidate, ...]) -> tuple[int, Line]:
    """Name the default candidate (RFC 8839 §4.2.1.2): the first over UDP, which most clients can use."""
    for candidate in candidates:
        if candidate.transport == "udp":
            family = "IP6" if ":" in candidate.address else "IP4"
            return candidate.port, Line("c", f"IN {family} {candidate.address}")
    return _DISCARD_PORT, _NOWHERE


def _transport_lines(local: LocalParameters, *, is_dtls_client: bool) -> list[Attribute]:
    return [
        *(Attribute("candidate", candidate.encode()) for candidate in local.candidates),
        Attribute("end-of-candidates"),
        Attribute("ice-ufrag", local.ice_ufrag),
        Attribute("ice-pwd", local.ice_pwd),
        Attribute("fingerprint", local.fingerprint),
        Attribute("setup", "active" if is_dtls_client else "passive"),
    ]


def _codec_lines(audio: AudioParameters) -> list[Attribute]:
    lines = [Attribute("rtpmap", attrs.evolve(CODECS[audio.codec], payload_type=audio.payload_type).encode())]
    if audio.codec == "opus":
        lines.append(_format_line(audio.payload_type, _OPUS_PARAMETERS))
    if audio.telephone_event is not None:
        events = RtpMap(
            payload_type=audio.telephone_event, encoding="telephone-event", clock_rate=audio.clock_rate
        )
        lines += [
            Attribute("rtpmap", events.encode()),
            _format_line(audio.telephone_event, _TELEPHONE_EVENTS),
        ]
    return lines


def _format_line(payload_type: int, parameters: tuple[tuple[str, str | None], ...]) -> Attribute:
    return Attribute("fmtp", FormatParameters(format=str(payload_type), parameters=parameters).encode())


def _source_lines(local: LocalParameters) -> list[Attribute]:
    """Name our track: browsers play nothing without, and refuse a section that names two."""
    msid = MediaStreamId(stream_id=local.stream_id, track_id=local.track_id).encode()
    return [
        Attribute("msid", msid),
        Attribute("ssrc", SourceAttribute(ssrc=local.ssrc, name="cname", value=local.cname).encode()),
        Attribute("ssrc", SourceAttribute(ssrc=local.ssrc, name="msid", value=msid).encode()),
    ]
