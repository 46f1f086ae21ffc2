"""From an offer to its answer: the policy of an ICE-lite server that talks with one client.

One audio section is accepted, the first that is in use, and the data channels bundled with it. Every other
section is refused with port 0, or kept idle where the bundle hangs on it. Where the whole is refused,
`OfferError` names the line. Renegotiation, and with it the session version, is left out.
"""

from typing import Final, NamedTuple

import attrs

from voicegate.errors import UsageError
from voicegate.sdp.attribute import (
    Candidate,
    ExtensionMap,
    FormatParameters,
    Group,
    MediaStreamId,
    RtcpFeedback,
    RtpMap,
    SctpInit,
    SctpMap,
    SourceAttribute,
)
from voicegate.sdp.audio import CODECS, AudioParameters
from voicegate.sdp.data import DATA_CHANNEL, SCTP_PORT, DataParameters, find_data_section
from voicegate.sdp.fault import OfferError
from voicegate.sdp.grammar import Attribute, Line, MediaDescription, Section, SessionDescription
from voicegate.sdp.transport import RemoteTransport, bundle_mids, is_disabled, mid_of

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
"""What we like to receive: packets from 10 ms, with forward error correction, one channel (RFC 7587 §6.1).
Each side says only what it wants itself, so nothing of the client's is said back (RFC 7587 §7)."""
_MAX_PACKET_TIME_MS: Final = 120
"""How much audio we can take in a packet: as much as Opus can put into one (RFC 7587 §6.1)."""
_TELEPHONE_EVENTS: Final = (("0-15", None),)
"""The DTMF digits (RFC 4733 §3.2)."""
_SPED_OPTIONS: Final = frozenset({"sped", "googspedv1", "goog-sped-v1"})
"""Names of draft-hancke-webrtc-sped, and of Chromium's trials of it."""
_ICE_OPTIONS: Final = frozenset({"ice2"})
"""What we do in any case (RFC 8445 §10). Not ``trickle``: nothing brings us candidates, and we need none."""
_LEGACY_STREAMS: Final = 1024
"""Said in ``a=sctpmap``, as browsers said it; SCTP itself settles the number."""


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
    codecs: tuple[str, ...] = attrs.field(default=("opus", "G722", "PCMU", "PCMA"))
    """The best first."""
    prefers_red: bool = False
    """Whether the client should send each frame twice if it can (RFC 2198), which costs twice the bits."""
    sctp_init: bytes | None = None
    """Our INIT chunk, said if the client says its own (`offered_data`)."""
    max_message_size: int = 262_144
    """The longest data channel message that we take, in bytes."""
    has_sped: bool = True
    """Whether to let DTLS travel inside STUN if the client can (draft-hancke-webrtc-sped)."""
    needs_data: bool = False
    """Whether to refuse an offer without data channels, since the client named one beside the offer."""

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
    data: DataParameters | None
    """None where there are no data channels."""
    is_sped: bool
    """Whether DTLS may travel inside STUN: both sides have said one of its names."""


def answer(offer: SessionDescription, local: LocalParameters) -> Negotiated:
    """Answer an offer.

    Errors: OfferError.
    """
    if ice_lite := offer.attribute("ice-lite"):
        raise OfferError.unsupported(ice_lite, "this server is ICE-lite as well, so nobody would send checks")
    _check_mids(offer)
    section = _audio_section(offer)
    bundle = bundle_mids(offer, section)
    data_section = _data_section(offer, bundle, is_needed=local.needs_data)
    tagged_section = _tagged_section(offer, bundle)
    chosen = [each for each in (section, data_section, tagged_section) if each is not None]
    # RFC 9143 §7.3.1: the first of the group has the transport for all.
    carrier = next((each for mid in bundle for each in chosen if mid_of(each) == mid), section)
    transport = RemoteTransport.read(offer, section, carrier=carrier)
    audio = AudioParameters.negotiate(
        offer, section, codecs=local.codecs, has_rtcp_reduced_size=transport.is_rtcp_reduced_size
    )
    has_init = local.sctp_init is not None
    data = DataParameters.read(data_section, has_sctp_init=has_init) if data_section else None
    media: list[MediaDescription] = []
    for offered in offer.media:
        if offered is section:
            media.append(_accept(offered, _audio_body(offered, audio, local), local, transport))
        elif offered is data_section and data is not None:
            media.append(_accept(offered, _data_body(offered, data, local), local, transport))
        elif offered is tagged_section:
            media.append(_accept(offered, _idle_body(offered), local, transport))
        else:
            media.append(_refuse(offered))
    return Negotiated(
        answer=SessionDescription(lines=_session_lines(offer, bundle, media, local), media=tuple(media)),
        remote_ice_ufrag=transport.ice_ufrag,
        remote_ice_pwd=transport.ice_pwd,
        remote_ice_options=transport.ice_options,
        remote_fingerprints=transport.fingerprints,
        is_dtls_client=transport.setup == "passive",
        audio=audio,
        data=data,
        is_sped=local.has_sped and not _SPED_OPTIONS.isdisjoint(transport.ice_options),
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
    """Choose the section that makes the call."""
    sections = [media for media in offer.media if media.kind == "audio"]
    if not sections:
        raise OfferError.unsupported(None, "there is no m=audio line, and a call is made of audio")
    section = next((media for media in sections if not is_disabled(offer, media)), None)
    if section is None:
        raise OfferError.unsupported(sections[0], "port 0: the only audio is not in use")
    if section.protocol not in _PROTOCOLS:
        raise OfferError.unsupported(
            section, f"{section.protocol} is not among {', '.join(sorted(_PROTOCOLS))}"
        )
    return section


def _data_section(
    offer: SessionDescription, bundle: tuple[str, ...], *, is_needed: bool
) -> MediaDescription | None:
    """Choose the section for data channels; outside the audio's bundle they would need another transport."""
    section = find_data_section(offer)
    if section is not None and mid_of(section) in bundle:
        return section
    if is_needed:
        problem = "is not bundled with the audio" if section else "there is no section for data channels"
        raise OfferError.no_data(section, problem)
    return None


def _tagged_section(offer: SessionDescription, bundle: tuple[str, ...]) -> MediaDescription | None:
    """Find the RTP section that the offer takes the transport of the bundle from.

    It can't be refused alone (RFC 9143 §7.3.3), and Chromium's ``max-bundle`` insists: where it is not
    the one with our audio, it is kept idle.
    """
    tagged = (media for media in offer.media if mid_of(media) in bundle[:1])
    return next(
        (media for media in tagged if media.protocol in _PROTOCOLS and not is_disabled(offer, media)), None
    )


def _session_lines(
    offer: SessionDescription, bundle: tuple[str, ...], media: list[MediaDescription], local: LocalParameters
) -> tuple[Line | Attribute, ...]:
    accepted = {mid_of(section) for section in media if section.port}
    mids = tuple(mid for mid in dict.fromkeys(bundle) if mid in accepted)
    return (
        Line("v", "0"),
        Line("o", f"- {local.session_id} 1 IN IP4 0.0.0.0"),
        Line("s", "-"),
        Line("t", "0 0"),
        *([Attribute("group", Group(semantics="BUNDLE", mids=mids).encode())] if mids else []),
        Attribute("ice-lite"),
        *_repeated(offer, "extmap-allow-mixed"),
    )


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


class _Body(NamedTuple):
    """What an accepted section does not have in common with the others."""

    formats: tuple[str, ...]
    lines: list[Attribute]


def _accept(
    section: MediaDescription, body: _Body, local: LocalParameters, transport: RemoteTransport
) -> MediaDescription:
    port, connection = _default_destination(local.candidates)
    return MediaDescription(
        kind=section.kind,
        port=port,
        protocol=section.protocol,
        formats=body.formats,
        lines=(
            connection,
            *_repeated(section, "mid"),
            # Against RFC 9143 §7.1.3, in every section: aiortc misses them wherever they are left out.
            *_transport_lines(local, transport),
            *body.lines,
        ),
    )


def _audio_body(section: MediaDescription, audio: AudioParameters, local: LocalParameters) -> _Body:
    lines = [Attribute(audio.direction), Attribute("rtcp-mux")]
    lines += [Attribute("rtcp-rsize")] if audio.has_rtcp_reduced_size else []
    lines += _repeated(section, "extmap-allow-mixed")
    lines += [Attribute("extmap", ExtensionMap(id=id_, uri=uri).encode()) for id_, uri in audio.extensions]
    lines += _round_trip_lines(section)
    lines += _codec_lines(audio)
    lines += _packet_time_lines(audio)
    lines += _source_lines(local) if audio.is_sending else []
    # RFC 3264 §6.1: what we like best comes first, and Chromium sends redundant audio only if that does.
    formats = (audio.red, audio.payload_type) if local.prefers_red else (audio.payload_type, audio.red)
    telephone_events = (payload_type for payload_type, _ in audio.telephone_events)
    return _Body(tuple(str(each) for each in (*formats, *telephone_events) if each is not None), lines)


def _data_body(section: MediaDescription, data: DataParameters, local: LocalParameters) -> _Body:
    if DATA_CHANNEL in section.formats:
        format_, port = DATA_CHANNEL, Attribute("sctp-port", str(SCTP_PORT))
    else:
        legacy = SctpMap(port=SCTP_PORT, application=DATA_CHANNEL, streams=_LEGACY_STREAMS)
        format_, port = str(SCTP_PORT), Attribute("sctpmap", legacy.encode())
    lines = [port, Attribute("max-message-size", str(local.max_message_size))]
    if local.sctp_init is not None and data.sctp_init is not None:
        lines.append(Attribute("sctp-init", SctpInit(chunk=local.sctp_init).encode()))
    return _Body((format_,), lines)


def _idle_body(section: MediaDescription) -> _Body:
    """Take a section for the sake of its transport: its first format, and no media either way."""
    format_ = section.formats[0]
    described = [
        Attribute(offered.name, offered.value)
        for offered in (*section.attributes_named("rtpmap"), *section.attributes_named("fmtp"))
        if (offered.value or "").partition(" ")[0] == format_
    ]
    return _Body((format_,), [Attribute("inactive"), Attribute("rtcp-mux"), *described])


def _default_destination(candidates: tuple[Candidate, ...]) -> tuple[int, Line]:
    """Name the default candidate (RFC 8839 §4.2.1.2): the first over UDP, which most clients can use."""
    for candidate in candidates:
        if candidate.transport == "udp":
            family = "IP6" if ":" in candidate.address else "IP4"
            return candidate.port, Line("c", f"IN {family} {candidate.address}")
    return _DISCARD_PORT, _NOWHERE


def _transport_lines(local: LocalParameters, transport: RemoteTransport) -> list[Attribute]:
    ours = _ICE_OPTIONS | _SPED_OPTIONS if local.has_sped else _ICE_OPTIONS
    options = [option for option in dict.fromkeys(transport.ice_options) if option in ours]
    return [
        *(Attribute("candidate", candidate.encode()) for candidate in local.candidates),
        Attribute("end-of-candidates"),
        Attribute("ice-ufrag", local.ice_ufrag),
        Attribute("ice-pwd", local.ice_pwd),
        *([Attribute("ice-options", " ".join(options))] if options else []),
        Attribute("fingerprint", local.fingerprint),
        Attribute("setup", "active" if transport.setup == "passive" else "passive"),
    ]


def _codec_lines(audio: AudioParameters) -> list[Attribute]:
    lines = [Attribute("rtpmap", attrs.evolve(CODECS[audio.codec], payload_type=audio.payload_type).encode())]
    if audio.codec == "opus":
        lines.append(_format_line(audio.payload_type, _OPUS_PARAMETERS))
    for feedback, is_used in (("nack", audio.has_nack), ("transport-cc", audio.has_transport_cc)):
        if is_used:
            value = RtcpFeedback(payload_type=audio.payload_type, feedback=feedback)
            lines.append(Attribute("rtcp-fb", value.encode()))
    if audio.red is not None:
        red = RtpMap(
            payload_type=audio.red, encoding="red", clock_rate=audio.clock_rate, channels=audio.channels
        )
        twice = ((f"{audio.payload_type}/{audio.payload_type}", None),)
        lines += [Attribute("rtpmap", red.encode()), _format_line(audio.red, twice)]
    for payload_type, clock_rate in audio.telephone_events:
        events = RtpMap(payload_type=payload_type, encoding="telephone-event", clock_rate=clock_rate)
        lines += [Attribute("rtpmap", events.encode()), _format_line(payload_type, _TELEPHONE_EVENTS)]
    return lines


def _format_line(payload_type: int, parameters: tuple[tuple[str, str | None], ...]) -> Attribute:
    return Attribute("fmtp", FormatParameters(format=str(payload_type), parameters=parameters).encode())


def _packet_time_lines(audio: AudioParameters) -> list[Attribute]:
    """Say what we would like in a packet, to those who have said so themselves: the same that we send."""
    return [
        *([Attribute("ptime", str(audio.frame_ms))] if audio.packet_time_ms else []),
        *([Attribute("maxptime", str(_MAX_PACKET_TIME_MS))] if audio.max_packet_time_ms else []),
    ]


def _round_trip_lines(section: MediaDescription) -> list[Attribute]:
    """Agree to let who sends no media measure the round trip, if that is offered (RFC 3611 §5.2)."""
    return [
        Attribute("rtcp-xr", offered)
        for attribute in section.attributes_named("rtcp-xr")
        for offered in (attribute.value or "").split(" ")
        if offered in ("rcvr-rtt=all", "rcvr-rtt=sender")
    ][:1]


def _source_lines(local: LocalParameters) -> list[Attribute]:
    """Name our track: browsers play nothing without, and refuse a section that names two."""
    msid = MediaStreamId(stream_id=local.stream_id, track_id=local.track_id).encode()
    return [
        Attribute("msid", msid),
        Attribute("ssrc", SourceAttribute(ssrc=local.ssrc, name="cname", value=local.cname).encode()),
        Attribute("ssrc", SourceAttribute(ssrc=local.ssrc, name="msid", value=msid).encode()),
    ]
