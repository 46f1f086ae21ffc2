"""Extended reports (RFC 3611): blocks of a type, a byte of the type's own, a length in words, and contents.

Known are those that a call can use: the round trip of who sends no media, and a summary of what was
received. The others stay raw.
"""

from struct import Struct
from typing import ClassVar, Final, Self

import attrs

from voicegate.errors import UsageError
from voicegate.rtp.rtcp_header import SSRC, write_packet
from voicegate.wire import Reader, Writer

__all__ = [
    "EXTENDED_REPORT",
    "DelayReport",
    "ExtendedReport",
    "ReceiverReferenceTime",
    "ReceiverReportDelay",
    "ReportedBlock",
    "StatisticsSummary",
    "UnknownBlock",
]

EXTENDED_REPORT: Final = 207
"""The packet type."""

_BLOCK_HEADER: Final = Struct("!BBH")
_NTP: Final = Struct("!Q")
_DELAY: Final = Struct("!III")
_SUMMARY: Final = Struct("!IHHIIIIIIBBBB")
_MAX_WORDS: Final = 0xFFFF


@attrs.frozen(kw_only=True)
class ReceiverReferenceTime:
    """The wallclock of who sends no media, to be told the delay of (RFC 3611 §4.4)."""

    BLOCK_TYPE: ClassVar[int] = 4

    ntp_timestamp: int
    """In 1/2^32 s since 1900, 64 bits."""

    @classmethod
    def read(cls, reader: Reader, _type_specific: int) -> Self:
        """Take what is behind the block's header."""
        (ntp_timestamp,) = reader.unpack(_NTP)
        return cls(ntp_timestamp=ntp_timestamp)

    def write(self, writer: Writer) -> None:
        """Append the block."""
        _write_block(writer, self.BLOCK_TYPE, 0, _NTP.pack(self.ntp_timestamp))


@attrs.frozen(kw_only=True)
class ReceiverReportDelay:
    """How long ago one receiver's reference time came (RFC 3611 §4.5)."""

    ssrc: int
    """The receiver."""
    last_receiver_report: int
    """The middle 32 bits of its reference time, or 0."""
    delay_since_last_receiver_report: int
    """In 1/65536 s."""


@attrs.frozen(kw_only=True)
class DelayReport:
    """Answers to reference times (RFC 3611 §4.5)."""

    BLOCK_TYPE: ClassVar[int] = 5

    delays: tuple[ReceiverReportDelay, ...]

    @classmethod
    def read(cls, reader: Reader, _type_specific: int) -> Self:
        """Take what is behind the block's header."""
        delays = []
        while reader.remaining:
            ssrc, last, delay = reader.unpack(_DELAY)
            delays.append(
                ReceiverReportDelay(
                    ssrc=ssrc, last_receiver_report=last, delay_since_last_receiver_report=delay
                )
            )
        return cls(delays=tuple(delays))

    def write(self, writer: Writer) -> None:
        """Append the block."""
        body = b"".join(
            _DELAY.pack(each.ssrc, each.last_receiver_report, each.delay_since_last_receiver_report)
            for each in self.delays
        )
        _write_block(writer, self.BLOCK_TYPE, 0, body)


@attrs.frozen(kw_only=True)
class StatisticsSummary:
    """What was received of one source between two sequence numbers (RFC 3611 §4.6).

    Which of the figures mean something, the flags say; times are in units of the media clock.
    """

    BLOCK_TYPE: ClassVar[int] = 6

    ssrc: int
    first_sequence_number: int
    end_sequence_number: int
    """Of the last packet, plus one."""
    has_losses: bool = False
    has_duplicates: bool = False
    has_jitter: bool = False
    hops: int = 0
    """What the last four figures are: 0 nothing, 1 IPv4's time to live, 2 IPv6's hop limit."""
    packets_lost: int = 0
    duplicates: int = 0
    min_jitter: int = 0
    max_jitter: int = 0
    mean_jitter: int = 0
    jitter_deviation: int = 0
    min_hops: int = 0
    max_hops: int = 0
    mean_hops: int = 0
    hops_deviation: int = 0

    @classmethod
    def read(cls, reader: Reader, type_specific: int) -> Self:
        """Take what is behind the block's header."""
        ssrc, first, end, lost, duplicates, *figures = reader.unpack(_SUMMARY)
        return cls(
            ssrc=ssrc,
            first_sequence_number=first,
            end_sequence_number=end,
            has_losses=bool(type_specific & 0x80),
            has_duplicates=bool(type_specific & 0x40),
            has_jitter=bool(type_specific & 0x20),
            hops=type_specific >> 3 & 3,
            packets_lost=lost,
            duplicates=duplicates,
            min_jitter=figures[0],
            max_jitter=figures[1],
            mean_jitter=figures[2],
            jitter_deviation=figures[3],
            min_hops=figures[4],
            max_hops=figures[5],
            mean_hops=figures[6],
            hops_deviation=figures[7],
        )

    def write(self, writer: Writer) -> None:
        """Append the block."""
        if not 0 <= self.hops <= 3:
            raise UsageError(f"{self.hops} does not say what hops are, 0..3 possible")
        flags = self.has_losses << 7 | self.has_duplicates << 6 | self.has_jitter << 5 | self.hops << 3
        body = _SUMMARY.pack(
            self.ssrc,
            self.first_sequence_number,
            self.end_sequence_number,
            self.packets_lost,
            self.duplicates,
            self.min_jitter,
            self.max_jitter,
            self.mean_jitter,
            self.jitter_deviation,
            self.min_hops,
            self.max_hops,
            self.mean_hops,
            self.hops_deviation,
        )
        _write_block(writer, self.BLOCK_TYPE, flags, body)


@attrs.frozen(kw_only=True)
class UnknownBlock:
    """A block of a type that is not taken apart here."""

    block_type: int
    type_specific: int
    body: bytes
    """Whole 32-bit words."""

    def write(self, writer: Writer) -> None:
        """Append the block."""
        _write_block(writer, self.block_type, self.type_specific, self.body)


ReportedBlock = ReceiverReferenceTime | DelayReport | StatisticsSummary | UnknownBlock

_KNOWN: Final[dict[int, type[ReceiverReferenceTime | DelayReport | StatisticsSummary]]] = {
    kind.BLOCK_TYPE: kind for kind in (ReceiverReferenceTime, DelayReport, StatisticsSummary)
}


@attrs.frozen(kw_only=True)
class ExtendedReport:
    """What one participant has to say beyond the reports of RFC 3550 (RFC 3611 §2)."""

    ssrc: int
    blocks: tuple[ReportedBlock, ...] = ()
    """In order and with repeats."""

    @classmethod
    def read(cls, reader: Reader, _count: int) -> Self:
        """Take what is behind the header."""
        (ssrc,) = reader.unpack(SSRC)
        blocks = []
        while reader.remaining:
            blocks.append(_read_block(reader))
        return cls(ssrc=ssrc, blocks=tuple(blocks))

    def write(self, writer: Writer) -> None:
        """Append the packet."""
        body = Writer()
        body.write(SSRC.pack(self.ssrc))
        for block in self.blocks:
            block.write(body)
        write_packet(writer, EXTENDED_REPORT, 0, body.finish())


def _read_block(reader: Reader) -> ReportedBlock:
    block_type, type_specific, words = reader.unpack(_BLOCK_HEADER)
    body = reader.read(4 * words)
    known = _KNOWN.get(block_type)
    if known is None:
        return UnknownBlock(block_type=block_type, type_specific=type_specific, body=body)
    child = Reader(body)
    block = known.read(child, type_specific)
    child.finish()
    return block


def _write_block(writer: Writer, block_type: int, type_specific: int, body: bytes) -> None:
    words, rest = divmod(len(body), 4)
    if rest or words > _MAX_WORDS:
        raise UsageError("a block of an extended report has whole 32-bit words, up to 65535")
    writer.write(_BLOCK_HEADER.pack(block_type, type_specific, words))
    writer.write(body)
