"""One source of our own: its packets, its sender reports, and what the far side reports of it."""

from collections import deque
from collections.abc import Callable
from typing import Final, Self

from voicegate.errors import UsageError
from voicegate.rtp.packet import HEADER, VERSION_BITS
from voicegate.rtp.rtcp import ReportBlock, SenderReport

__all__ = ["RtpSender"]

_MAX_U32: Final = 0xFFFFFFFF
_pack: Final = HEADER.pack
_REMEMBERED_REPORTS: Final = 8
"""Sender reports that a report block may refer to: some 20 s of them, longer than any round trip."""


class RtpSender:
    """A source with one SSRC, one payload type and one media clock; made by `begin`."""

    __slots__ = (
        "_reports",
        "_sent_at",
        "_sent_timestamp",
        "clock_rate",
        "octet_count",
        "packet_count",
        "payload_type",
        "remote_fraction_lost",
        "round_trip",
        "sequence_number",
        "ssrc",
        "timestamp",
    )

    def __init__(
        self, *, ssrc: int, payload_type: int, clock_rate: int, sequence_number: int, timestamp: int
    ) -> None:
        if not 0 <= payload_type < 128:
            raise UsageError(f"RTP payload type {payload_type}, 0..127 possible")
        self.ssrc = ssrc
        self.payload_type = payload_type
        self.sequence_number = sequence_number
        """Of the next packet, 16 bits."""
        self.timestamp = timestamp
        """Of the next packet on the media clock, 32 bits."""
        self.packet_count = 0
        self.octet_count = 0
        """Payload bytes sent."""
        self._sent_timestamp = 0
        self._sent_at = 0.0
        self.clock_rate = clock_rate
        """Of the media clock, in Hz."""
        self.round_trip: float | None = None
        """Seconds to the receiver and back, as of its last report (RFC 3550 §6.4.1)."""
        self.remote_fraction_lost: float | None = None
        """The part of our packets, 0 to 1, that the receiver has missed in its last reporting interval."""
        self._reports: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED_REPORTS)
        """The middle 32 bits of the NTP timestamps of our last reports, and when they were made."""

    @classmethod
    def begin(cls, *, ssrc: int, payload_type: int, clock_rate: int, random: Callable[[int], bytes]) -> Self:
        """Begin a source at a random sequence number and timestamp (RFC 3550 §5.1)."""
        # The number is from the lower half: a receiver that misses the first packets must not miss a wrap of
        # it with them, which SRTP would not survive (RFC 3711 §3.3.1).
        return cls(
            ssrc=ssrc,
            payload_type=payload_type,
            clock_rate=clock_rate,
            sequence_number=int.from_bytes(random(2), "big") & 0x7FFF,
            timestamp=int.from_bytes(random(4), "big"),
        )

    def next_packet(self, payload: bytes, *, samples: int, now: float, marker: bool = False) -> bytes:
        """Build the next packet.

        Args:
            payload: One encoded frame.
            samples: How long the frame lasts, in units of the media clock.
            now: When it is sent.
            marker: Whether this is the first packet after silence (RFC 3551 §4.1).
        """
        timestamp = self.timestamp
        second = self.payload_type | 0x80 if marker else self.payload_type
        header = _pack(VERSION_BITS, second, self.sequence_number, timestamp, self.ssrc)
        self.sequence_number = (self.sequence_number + 1) & 0xFFFF
        self.timestamp = (timestamp + samples) & _MAX_U32
        self.packet_count += 1
        self.octet_count += len(payload)
        self._sent_timestamp = timestamp
        self._sent_at = now
        return header + payload

    def skip(self, samples: int) -> None:
        """Let time pass on the media clock without a packet."""
        self.timestamp = (self.timestamp + samples) & _MAX_U32

    def sender_report(
        self, *, now: float, wallclock_ntp: float, reports: tuple[ReportBlock, ...] = ()
    ) -> SenderReport:
        """Report what has been sent, after the first packet.

        Args:
            now: The time of the report.
            wallclock_ntp: The same instant in seconds since 1900.
            reports: What we have received ourselves.
        """
        ntp_timestamp = round(wallclock_ntp * 0x100000000) & 0xFFFFFFFFFFFFFFFF
        self._reports.append((ntp_timestamp >> 16 & _MAX_U32, now))
        elapsed = round((now - self._sent_at) * self.clock_rate)
        return SenderReport(
            ssrc=self.ssrc,
            ntp_timestamp=ntp_timestamp,
            rtp_timestamp=(self._sent_timestamp + elapsed) & _MAX_U32,
            packet_count=self.packet_count & _MAX_U32,
            octet_count=self.octet_count & _MAX_U32,
            reports=reports,
        )

    def handle_report_block(self, block: ReportBlock, *, now: float) -> None:
        """Take note of what a receiver says of this source.

        The round trip is measured on our own clock, from the report of ours that the block names; a block
        that names none of the last few does not change it.
        """
        self.remote_fraction_lost = block.fraction_lost / 256
        for reference, made_at in self._reports:
            if reference == block.last_sender_report:
                delay = block.delay_since_last_sender_report / 0x10000
                self.round_trip = max(0.0, now - made_at - delay)
