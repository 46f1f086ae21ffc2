"""What an offered audio section and this server have in common."""

from collections.abc import Iterator, Mapping
from typing import Final, Self

import attrs

from voicegate.errors import WireError
from voicegate.rtp.audio_level import AUDIO_LEVEL_URI
from voicegate.rtp.header_extension import TRANSPORT_SEQUENCE_URI
from voicegate.rtp.opus_format import OpusFormat
from voicegate.sdp.attribute import ExtensionMap, FormatParameters, RtcpFeedback, RtpMap, SourceAttribute
from voicegate.sdp.fault import OfferError, typed
from voicegate.sdp.grammar import MediaDescription, SessionDescription, read_number

__all__ = ["AudioParameters", "CODECS"]

CODECS: Final[Mapping[str, RtpMap]] = {
    "opus": RtpMap(payload_type=111, encoding="opus", clock_rate=48_000, channels=2),
    # Of 16 kHz, and yet its clock runs at 8 (RFC 3551 §4.5.2).
    "G722": RtpMap(payload_type=9, encoding="G722", clock_rate=8_000),
    "PCMU": RtpMap(payload_type=0, encoding="PCMU", clock_rate=8_000),
    "PCMA": RtpMap(payload_type=8, encoding="PCMA", clock_rate=8_000),
}
"""Codecs of this server by name; the payload type is the usual one, the offer's is what counts."""

# RFC 3551 §6: these need no rtpmap.
_STATIC: Final = {codec.payload_type: codec for name, codec in CODECS.items() if name != "opus"}
# RFC 5761 §4: with RTCP on the same port, these look like RTCP when the marker bit is set.
_RTCP_PAYLOAD_TYPES: Final = range(64, 96)

_EXTENSIONS: Final = (AUDIO_LEVEL_URI, "urn:ietf:params:rtp-hdrext:sdes:mid", TRANSPORT_SEQUENCE_URI)
"""RTP header extensions of this server (RFC 6464 §4, RFC 9143 §15.2)."""
# RFC 8285 §4.2: what the one-byte form can carry.
_EXTENSION_IDS: Final = range(1, 15)

_MIRRORED: Final = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}
_TELEPHONE_RATE: Final = 8_000
"""Hz, at which some clients send DTMF beside any codec (RFC 7874 §3 wants it from all)."""
_MAX_PACKET_TIME_MS: Final = 1000
_FRAMES_MS: Final = (10, 20, 40, 60)
"""How much audio we can put into a packet."""
_USUAL_FRAME_MS: Final = 20
_MAX_LISTED: Final = 10
"""Codecs that an error message lists."""


@attrs.frozen(kw_only=True)
class AudioParameters:
    """The audio of the call, as both sides will have it."""

    mid: str | None
    """The section's name; None from clients too old to name it."""
    codec: str
    """A name from `CODECS`."""
    payload_type: int
    """Of the codec, in both directions."""
    clock_rate: int
    """Of RTP timestamps, Hz."""
    channels: int
    fmtp: Mapping[str, str]
    """What the client asked of the codec, names in lower case; empty text where a name stood alone."""
    direction: str
    """Ours: ``sendrecv``, ``sendonly``, ``recvonly`` or ``inactive``."""
    remote_ssrcs: tuple[int, ...]
    """Announced by the client; often none."""
    extensions: tuple[tuple[int, str], ...]
    """RTP header extensions in use, as (id, URI)."""
    has_rtcp_reduced_size: bool
    """Whether RTCP packets need not be compound (RFC 5506 §5)."""
    packet_time_ms: int | None
    """How much audio the client would like in one packet (``a=ptime``), if it said so."""
    max_packet_time_ms: int | None = None
    """How much it can take at most (``a=maxptime``), if it said so."""
    frame_ms: int = _USUAL_FRAME_MS
    """How much audio we put into one packet: 10, 20, 40 or 60 ms."""
    red: int | None = None
    """Payload type of redundant audio around this codec (RFC 2198), in both directions."""
    has_nack: bool = False
    """Whether either side may ask for packets again (RFC 4585 §6.2.1)."""
    has_transport_cc: bool = False
    """Whether the client counts its packets and wants to hear when they came."""
    opus: OpusFormat | None = None
    """What the client asks of our Opus; None for other codecs."""
    telephone_events: tuple[tuple[int, int], ...] = ()
    """Payload types of DTMF with their clock rates: the codec's if offered (RFC 4733 §2.1), else 8 kHz."""

    @classmethod
    def negotiate(
        cls,
        offer: SessionDescription,
        section: MediaDescription,
        *,
        codecs: tuple[str, ...],
        has_rtcp_reduced_size: bool,
    ) -> Self:
        """Settle the parameters; ``codecs`` are names from `CODECS`, the best first.

        Errors: OfferError.
        """
        offered = _offered_codecs(section)
        codec, chosen = _choose_codec(section, offered, codecs)
        telephone_events = {
            each.clock_rate: each.payload_type
            for each in reversed(offered)
            if each.encoding.lower() == "telephone-event"
        }
        mid = section.attribute("mid")
        packet_time, max_packet_time = (_packet_time(section, name) for name in ("ptime", "maxptime"))
        feedback = _feedback(section, chosen.payload_type)
        extensions = _extensions(offer, section, has_transport_cc="transport-cc" in feedback)
        fmtp = _format_parameters(section, chosen.payload_type)
        opus = OpusFormat.read(fmtp) if codec == "opus" else None
        return cls(
            mid=mid.value if mid else None,
            codec=codec,
            payload_type=chosen.payload_type,
            clock_rate=chosen.clock_rate,
            channels=chosen.channels,
            fmtp=fmtp,
            direction=_direction(offer, section),
            remote_ssrcs=_ssrcs(section),
            extensions=extensions,
            # One only: Chromium, given both, takes that of 8 kHz, and counts six times too fast beside Opus.
            telephone_events=tuple(
                (telephone_events[rate], rate)
                for rate in (chosen.clock_rate, _TELEPHONE_RATE)
                if rate in telephone_events
            )[:1],
            has_rtcp_reduced_size=has_rtcp_reduced_size,
            packet_time_ms=packet_time,
            max_packet_time_ms=max_packet_time,
            frame_ms=_frame_ms(packet_time, max_packet_time, least=opus.minptime if opus else 0),
            red=_redundancy(section, offered, chosen),
            has_nack="nack" in feedback,
            has_transport_cc=any(uri == TRANSPORT_SEQUENCE_URI for _, uri in extensions),
            opus=opus,
        )

    @property
    def is_sending(self) -> bool:
        """Whether we send audio."""
        return self.direction in ("sendrecv", "sendonly")


def _offered_codecs(section: MediaDescription) -> list[RtpMap]:
    """List the offered codecs in the client's order of preference."""
    described = dict(_STATIC)
    for attribute in section.attributes_named("rtpmap"):
        codec = typed(attribute, RtpMap.decode)
        described[codec.payload_type] = codec
    return [
        described[payload_type]
        for payload_type in _payload_types(section)
        if payload_type in described and payload_type not in _RTCP_PAYLOAD_TYPES
    ]


def _payload_types(section: MediaDescription) -> Iterator[int]:
    for format_ in section.formats:
        if format_.isdigit() and len(format_) <= 3:
            yield int(format_)


def _choose_codec(
    section: MediaDescription, offered: list[RtpMap], codecs: tuple[str, ...]
) -> tuple[str, RtpMap]:
    for name in codecs:
        ours = CODECS[name]
        wanted = (ours.encoding.lower(), ours.clock_rate, ours.channels)
        for theirs in offered:
            if (theirs.encoding.lower(), theirs.clock_rate, theirs.channels) == wanted:
                return name, theirs
    names = ", ".join(codec.encode() for codec in offered[:_MAX_LISTED]) or "none that is described"
    raise OfferError.unsupported(section, f"no codec in common; offered: {names}; taken: {', '.join(codecs)}")


def _format_parameters(section: MediaDescription, payload_type: int) -> dict[str, str]:
    for attribute in section.attributes_named("fmtp"):
        described = typed(attribute, FormatParameters.decode)
        if described.format == str(payload_type):
            return {name: text or "" for name, text in described.parameters}
    return {}


def _redundancy(section: MediaDescription, offered: list[RtpMap], chosen: RtpMap) -> int | None:
    """Find redundant audio of which all is in the chosen codec (RFC 2198 §5)."""
    for each in offered:
        same_clock = (each.clock_rate, each.channels) == (chosen.clock_rate, chosen.channels)
        if each.encoding.lower() == "red" and same_clock:
            formats = next(iter(_format_parameters(section, each.payload_type)), "").split("/")
            if len(formats) > 1 and set(formats) == {str(chosen.payload_type)}:
                return each.payload_type
    return None


def _feedback(section: MediaDescription, payload_type: int) -> set[str]:
    """List the feedback that the client offers for a payload type or for all (RFC 4585 §4.2)."""
    if not section.protocol.endswith("F"):
        return set()  # RFC 4585 §4.2: it is for profiles with feedback only
    offered: set[str] = set()
    for attribute in section.attributes_named("rtcp-fb"):
        # Against our habit a line that can't be read is not refused: rtcp-fb is the playground of extensions.
        try:
            line = RtcpFeedback.decode(attribute.value or "")
        except WireError:
            continue
        if line.payload_type in (None, payload_type):
            offered.add(line.feedback)
    return offered


def _frame_ms(packet_time: int | None, max_packet_time: int | None, *, least: int) -> int:
    """Choose how much audio we send in a packet: what is wished for, not below ``least``, never too much."""
    wish = max(packet_time or _USUAL_FRAME_MS, least)
    limit = min(wish, max_packet_time or wish)
    return max((frame for frame in _FRAMES_MS if frame <= limit), default=_FRAMES_MS[0])


def _direction(offer: SessionDescription, section: MediaDescription) -> str:
    offered = (attribute.name for attribute in (*section.attributes, *offer.attributes))
    # RFC 8866 §6.7: sendrecv is what is meant when nothing is said.
    return next((_MIRRORED[name] for name in offered if name in _MIRRORED), "sendrecv")


def _ssrcs(section: MediaDescription) -> tuple[int, ...]:
    sources = (typed(attribute, SourceAttribute.decode) for attribute in section.attributes_named("ssrc"))
    return tuple(dict.fromkeys(source.ssrc for source in sources))


def _extensions(
    offer: SessionDescription, section: MediaDescription, *, has_transport_cc: bool
) -> tuple[tuple[int, str], ...]:
    """Pick the header extensions both sides know; one restricted in direction is left alone."""
    # Nobody needs the transport's numbers where no feedback on them is wanted.
    ours = [uri for uri in _EXTENSIONS if has_transport_cc or uri != TRANSPORT_SEQUENCE_URI]
    attributes = section.attributes_named("extmap") or offer.attributes_named("extmap")
    ids: dict[str, int] = {}
    for attribute in attributes:
        offered = typed(attribute, ExtensionMap.decode)
        is_usable = offered.id in _EXTENSION_IDS and offered.direction in (None, "sendrecv")
        if offered.uri in ours and is_usable and offered.id not in ids.values():
            ids.setdefault(offered.uri, offered.id)
    return tuple((id_, uri) for uri, id_ in ids.items())


def _packet_time(section: MediaDescription, name: str) -> int | None:
    attribute = section.attribute(name)
    return typed(attribute, _milliseconds) if attribute else None


def _milliseconds(value: str) -> int:
    return read_number(value, maximum=_MAX_PACKET_TIME_MS)
