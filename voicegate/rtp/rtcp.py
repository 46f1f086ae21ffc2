"""RTCP packets and their compounds (RFC 3550 §6), reduced-size ones included (RFC 5506).

Here are the packets of RFC 3550; feedback and extended reports have modules of their own. Types that nobody
needs (video's feedback, APP) stay raw, as `UnknownPacket`. Padding of the known types is checked and taken
off, on whichever packet of a compound it stands.
"""

from collections.abc import Iterable
from struct import Struct
from struct import error as struct_error
from typing import Final, Self

import attrs

from voicegate.errors import UsageError, WireError
from voicegate.rtp.extended_report import EXTENDED_REPORT, ExtendedReport
from voicegate.rtp.feedback import TRANSPORT_LAYER_FEEDBACK, GenericNack
from voicegate.rtp.rtcp_header import HEADER, MAX_COUNT, PADDING_BIT, SSRC, VERSION_BITS, write_packet
from voicegate.rtp.transport_feedback import TransportFeedback
from voicegate.wire import Reader, Writer

__all__ = [
    "CNAME",
    "Goodbye",
    "ReceiverReport",
    "ReportBlock",
    "RtcpPacket",
    "SenderReport",
    "SourceChunk",
    "SourceDescription",
    "UnknownPacket",
    "decode_compound",
    "encode_compound",
]

_SENDER_INFO: Final = Struct("!IQIII")
_REPORT_BLOCK: Final = Struct("!IIIIII")

_SENDER_REPORT: Final = 200
_RECEIVER_REPORT: Final = 201
_SOURCE_DESCRIPTION: Final = 202
_GOODBYE: Final = 203

MAX_PACKETS: Final = 32
"""Packets in a compound. A handful is usual, and whoever reads one may do something for each."""

_END_OF_ITEMS: Final = 0
CNAME: Final = 1
"""The source description item that names a participant for as long as it takes part (RFC 3550 §6.5.1)."""


@attrs.frozen(kw_only=True)
class ReportBlock:
    """How one source is received (RFC 3550 §6.4.1); 24 bytes."""

    ssrc: int
    """The source that this is about."""
    fraction_lost: int
    """Lost since the previous report, in 1/256 of the packets expected."""
    packets_lost: int
    """Lost since the beginning, signed 24 bits: duplicates make it negative."""
    highest_sequence_number: int
    """The highest sequence number received, below 16 bits of how often it wrapped."""
    jitter: int
    """Variation of the transit time, in units of the media clock."""
    last_sender_report: int
    """The middle 32 bits of the NTP timestamp of the last sender report, or 0."""
    delay_since_last_sender_report: int
    """Since that report was received, in 1/65536 s."""

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take a block."""
        ssrc, losses, highest, jitter, last, delay = reader.unpack(_REPORT_BLOCK)
        return cls(
            ssrc=ssrc,
            fraction_lost=losses >> 24,
            packets_lost=((losses & 0xFFFFFF) ^ 0x800000) - 0x800000,
            highest_sequence_number=highest,
            jitter=jitter,
            last_sender_report=last,
            delay_since_last_sender_report=delay,
        )

    def write(self, writer: Writer) -> None:
        """Append the block."""
        if not -0x800000 <= self.packets_lost < 0x800000:
            raise UsageError(f"{self.packets_lost} packets lost do not fit 24 bits")
        writer.write(
            _REPORT_BLOCK.pack(
                self.ssrc,
                self.fraction_lost << 24 | self.packets_lost & 0xFFFFFF,
                self.highest_sequence_number,
                self.jitter,
                self.last_sender_report,
                self.delay_since_last_sender_report,
            )
        )


@attrs.frozen(kw_only=True)
class SenderReport:
    """What a source has sent, on two clocks, and what it has received (RFC 3550 §6.4.1)."""

    ssrc: int
    ntp_timestamp: int
    """Wallclock time of the report in 1/2^32 s since 1900, 64 bits."""
    rtp_timestamp: int
    """The same instant on the media clock."""
    packet_count: int
    octet_count: int
    """Payload bytes, without headers and padding."""
    reports: tuple[ReportBlock, ...] = ()
    extension: bytes = b""
    """What a profile has put behind the blocks; whole 32-bit words."""

    @classmethod
    def read(cls, reader: Reader, count: int) -> Self:
        """Take what is behind the header."""
        ssrc, ntp_timestamp, rtp_timestamp, packet_count, octet_count = reader.unpack(_SENDER_INFO)
        return cls(
            ssrc=ssrc,
            ntp_timestamp=ntp_timestamp,
            rtp_timestamp=rtp_timestamp,
            packet_count=packet_count,
            octet_count=octet_count,
            reports=tuple(ReportBlock.read(reader) for _ in range(count)),
            extension=reader.rest(),
        )

    def write(self, writer: Writer) -> None:
        """Append the packet."""
        body = Writer()
        body.write(
            _SENDER_INFO.pack(
                self.ssrc, self.ntp_timestamp, self.rtp_timestamp, self.packet_count, self.octet_count
            )
        )
        _write_reports(body, self.reports, self.extension)
        write_packet(writer, _SENDER_REPORT, len(self.reports), body.finish())


@attrs.frozen(kw_only=True)
class ReceiverReport:
    """What a participant that sends nothing has received (RFC 3550 §6.4.2)."""

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()
    extension: bytes = b""
    """What a profile has put behind the blocks; whole 32-bit words."""

    @classmethod
    def read(cls, reader: Reader, count: int) -> Self:
        """Take what is behind the header."""
        (ssrc,) = reader.unpack(SSRC)
        reports = tuple(ReportBlock.read(reader) for _ in range(count))
        return cls(ssrc=ssrc, reports=reports, extension=reader.rest())

    def write(self, writer: Writer) -> None:
        """Append the packet."""
        body = Writer()
        body.write(SSRC.pack(self.ssrc))
        _write_reports(body, self.reports, self.extension)
        write_packet(writer, _RECEIVER_REPORT, len(self.reports), body.finish())


@attrs.frozen(kw_only=True)
class SourceChunk:
    """What one source says of itself (RFC 3550 §6.5)."""

    ssrc: int
    items: tuple[tuple[int, bytes], ...] = ()
    """Types and texts, in order and with repeats; the texts should be UTF-8."""

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take a chunk, its end marker and the zeros up to the next 32-bit boundary."""
        (ssrc,) = reader.unpack(SSRC)
        items = []
        while (item_type := reader.u8()) != _END_OF_ITEMS:
            items.append((item_type, reader.read(reader.u8())))
        if any(reader.read(-reader.position % 4)):
            raise WireError("a source description chunk is not padded with zeros")
        return cls(ssrc=ssrc, items=tuple(items))

    def write(self, writer: Writer) -> None:
        """Append the chunk; ``writer`` stands at a 32-bit boundary."""
        writer.write(SSRC.pack(self.ssrc))
        for item_type, text in self.items:
            if not (_END_OF_ITEMS < item_type < 256 and len(text) < 256):
                raise UsageError(f"source description item {item_type} of {len(text)} bytes, 255 of each fit")
            writer.u8(item_type)
            writer.block8(text)
        writer.write(bytes(4 - len(writer) % 4))


@attrs.frozen(kw_only=True)
class SourceDescription:
    """What sources say of themselves (RFC 3550 §6.5)."""

    chunks: tuple[SourceChunk, ...] = ()

    @classmethod
    def read(cls, reader: Reader, count: int) -> Self:
        """Take what is behind the header."""
        return cls(chunks=tuple(SourceChunk.read(reader) for _ in range(count)))

    def write(self, writer: Writer) -> None:
        """Append the packet."""
        body = Writer()
        for chunk in self.chunks:
            chunk.write(body)
        write_packet(writer, _SOURCE_DESCRIPTION, len(self.chunks), body.finish())


@attrs.frozen(kw_only=True)
class Goodbye:
    """Sources that have stopped (RFC 3550 §6.6)."""

    ssrcs: tuple[int, ...] = ()
    reason: bytes | None = None
    """Why, in what should be UTF-8; None when not even an empty reason is given."""

    @classmethod
    def read(cls, reader: Reader, count: int) -> Self:
        """Take what is behind the header."""
        ssrcs = tuple(reader.u32() for _ in range(count))
        reason = None
        if reader.remaining:
            reason = reader.read(reader.u8())
            if any(reader.read(-reader.position % 4)):
                raise WireError("the reason for a goodbye is not padded with zeros")
        return cls(ssrcs=ssrcs, reason=reason)

    def write(self, writer: Writer) -> None:
        """Append the packet."""
        body = Writer()
        for ssrc in self.ssrcs:
            body.write(SSRC.pack(ssrc))
        if self.reason is not None:
            if len(self.reason) > 255:
                raise UsageError(f"a reason of {len(self.reason)} bytes, 255 fit")
            body.block8(self.reason)
            body.write(bytes(-len(body) % 4))
        write_packet(writer, _GOODBYE, len(self.ssrcs), body.finish())


@attrs.frozen(kw_only=True)
class UnknownPacket:
    """A packet of a type that is not taken apart here."""

    packet_type: int
    count: int
    """The five bits of the header, which many types use as a format."""
    body: bytes
    """All behind the header, padding included; whole 32-bit words."""
    has_padding: bool = False
    """Whether the header says that ``body`` ends in padding."""

    def write(self, writer: Writer) -> None:
        """Append the packet."""
        write_packet(writer, self.packet_type, self.count, self.body, has_padding=self.has_padding)


_Known = (
    SenderReport
    | ReceiverReport
    | SourceDescription
    | Goodbye
    | GenericNack
    | TransportFeedback
    | ExtendedReport
)
RtcpPacket = _Known | UnknownPacket

_KNOWN: Final[dict[int, type[_Known]]] = {
    _SENDER_REPORT: SenderReport,
    _RECEIVER_REPORT: ReceiverReport,
    _SOURCE_DESCRIPTION: SourceDescription,
    _GOODBYE: Goodbye,
    EXTENDED_REPORT: ExtendedReport,
}
_FEEDBACK: Final[dict[int, type[_Known]]] = {
    GenericNack.FORMAT: GenericNack,
    TransportFeedback.FORMAT: TransportFeedback,
}


def decode_compound(data: bytes) -> tuple[RtcpPacket, ...]:
    """Take a compound of at least one packet apart; any packet may be the first (RFC 5506).

    Errors: WireError.
    """
    reader = Reader(data)
    packets = [_read_packet(reader)]
    while reader.remaining:
        if len(packets) == MAX_PACKETS:
            raise WireError(f"more than {MAX_PACKETS} packets in an RTCP compound")
        packets.append(_read_packet(reader))
    return tuple(packets)


def encode_compound(packets: Iterable[RtcpPacket]) -> bytes:
    """Put a compound together.

    Errors: UsageError when a field does not fit its place.
    """
    writer = Writer()
    try:
        for packet in packets:
            packet.write(writer)
    except struct_error as error:
        raise UsageError(f"an RTCP field is out of range: {error}") from error
    return writer.finish()


def _read_packet(reader: Reader) -> RtcpPacket:
    first, packet_type, words = reader.unpack(HEADER)
    if first & 0xC0 != VERSION_BITS:
        raise WireError(f"RTCP version {first >> 6}, 2 expected")
    count = first & MAX_COUNT
    has_padding = bool(first & PADDING_BIT)
    body = reader.read(4 * words)
    known = _FEEDBACK.get(count) if packet_type == TRANSPORT_LAYER_FEEDBACK else _KNOWN.get(packet_type)
    if known is None:
        return UnknownPacket(packet_type=packet_type, count=count, body=body, has_padding=has_padding)
    # Transport feedback ends where its last delta does: libwebrtc fills it up to 32 bits with padding.
    unit = 1 if known is TransportFeedback else 4
    child = Reader(_without_padding(body, unit) if has_padding else body)
    packet = known.read(child, count)
    child.finish()
    return packet


def _without_padding(body: bytes, unit: int) -> bytes:
    length = body[-1] if body else 0
    if not 0 < length <= len(body) or length % unit:
        raise WireError(f"{length} bytes of padding in an RTCP packet of {len(body)}")
    return body[:-length]


def _write_reports(body: Writer, reports: tuple[ReportBlock, ...], extension: bytes) -> None:
    for report in reports:
        report.write(body)
    body.write(extension)
