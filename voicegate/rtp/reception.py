"""How well one remote source is received: loss, jitter and the report block that tells the source.

There is no probation, against RFC 3550 Appendix A.1: behind SRTP every packet is its sender's own, so that
the first one counts, and duplicates are gone already.
"""

from typing import Final

from voicegate.rtp.rtcp import ReportBlock, SenderReport
from voicegate.rtp.sequence import extend_sequence_number

__all__ = ["ReceptionStatistics"]

_MAX_DROPOUT: Final = 3000
"""A packet that is further ahead may come from a sender that has started anew (RFC 3550 Appendix A.1)."""
_MAX_MISORDER: Final = 100
"""A packet that is further behind may come from a sender that has started anew (RFC 3550 Appendix A.1)."""
_JITTER_GAIN: Final = 1 / 16  # RFC 3550 §6.4.1
_MAX_LOST: Final = 0x7FFFFF  # RFC 3550 §6.4.1: signed 24 bits
_MAX_U32: Final = 0xFFFFFFFF


class ReceptionStatistics:
    """What has been received from one SSRC; handle a packet to begin with."""

    __slots__ = (
        "_arrived_at",
        "_expected_reported",
        "_first",
        "_highest",
        "_received_reported",
        "_restart",
        "_sender_report",
        "_sender_report_at",
        "_timestamp",
        "clock_rate",
        "jitter",
        "packets_received",
        "ssrc",
    )

    def __init__(self, *, ssrc: int, clock_rate: int) -> None:
        self.ssrc = ssrc
        self.clock_rate = clock_rate
        """Of the media clock, in Hz."""
        self.packets_received = 0
        """Since the sender has last started anew."""
        self.jitter = 0.0
        """Variation of the transit time, in units of the media clock (RFC 3550 Appendix A.8)."""
        self._highest = 0
        """The highest sequence number, extended."""
        self._timestamp = 0
        self._arrived_at = 0.0
        self._first = 0
        """The sequence number of the first packet."""
        self._restart: int | None = None
        """After a jump, the sequence number that would prove that the sender has started anew."""
        self._expected_reported = 0
        self._received_reported = 0
        self._sender_report = 0
        """The middle 32 bits of the NTP timestamp of the last sender report; 0 before the first."""
        self._sender_report_at = 0.0

    def handle_packet(self, sequence_number: int, timestamp: int, *, now: float) -> None:
        """Take note of a packet that arrived at ``now``."""
        if not self.packets_received:
            self._start(sequence_number, timestamp, now)
            return
        extended = extend_sequence_number(sequence_number, reference=self._highest)
        advance = extended - self._highest
        if not -_MAX_MISORDER <= advance < _MAX_DROPOUT:
            if sequence_number == self._restart:
                self._start(sequence_number, timestamp, now)
            else:
                self._restart = (sequence_number + 1) & 0xFFFF
            return
        if advance > 0:
            self._highest = extended
        self.packets_received += 1
        sent_apart = ((timestamp - self._timestamp + 0x80000000) & _MAX_U32) - 0x80000000
        variation = abs((now - self._arrived_at) * self.clock_rate - sent_apart)
        self.jitter += (variation - self.jitter) * _JITTER_GAIN
        self._timestamp = timestamp
        self._arrived_at = now

    def handle_sender_report(self, report: SenderReport, *, now: float) -> None:
        """Take note of the source's own report, which lets it compute the round trip from our next one."""
        self._sender_report = report.ntp_timestamp >> 16 & _MAX_U32
        self._sender_report_at = now

    @property
    def packets_lost(self) -> int:
        """Packets expected and not received; duplicates and packets from before the first make it smaller."""
        return self._expected - self.packets_received

    @property
    def has_news(self) -> bool:
        """Whether a packet has arrived since the last report block."""
        return self.packets_received != self._received_reported

    def report_block(self, *, now: float) -> ReportBlock:
        """Report on the time since the last call (RFC 3550 Appendix A.3)."""
        expected = self._expected - self._expected_reported
        lost = expected - (self.packets_received - self._received_reported)
        self._expected_reported = self._expected
        self._received_reported = self.packets_received
        delay = round((now - self._sender_report_at) * 0x10000) if self._sender_report else 0
        return ReportBlock(
            ssrc=self.ssrc,
            fraction_lost=min(255, lost * 256 // expected) if lost > 0 else 0,
            packets_lost=max(-_MAX_LOST - 1, min(self.packets_lost, _MAX_LOST)),
            highest_sequence_number=self._highest & _MAX_U32,
            jitter=min(int(self.jitter), _MAX_U32),
            last_sender_report=self._sender_report,
            delay_since_last_sender_report=min(delay, _MAX_U32),
        )

    @property
    def _expected(self) -> int:
        return self._highest - self._first + 1

    def _start(self, sequence_number: int, timestamp: int, now: float) -> None:
        self._first = self._highest = sequence_number
        self._restart = None
        self._timestamp = timestamp
        self._arrived_at = now
        self.packets_received = 1
        self._expected_reported = self._received_reported = 0
