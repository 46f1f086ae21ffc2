"""One RTP session: a source of our own, the sources of one peer, and the reports both ways.

Packets come in and go out unprotected: SRTP is the caller's business. Drain rule: after each `handle_*` and
`close`, `poll_transmit` (which gives compounds, not packets) and `poll_event` to None, then `poll_timeout`.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from voicegate.errors import WireError
from voicegate.rtp.arrival_log import ArrivalLog
from voicegate.rtp.extended_report import (
    DelayReport,
    ExtendedReport,
    ReceiverReferenceTime,
    ReceiverReportDelay,
)
from voicegate.rtp.feedback import GenericNack
from voicegate.rtp.packet import RtpPacket
from voicegate.rtp.reception import ReceptionStatistics
from voicegate.rtp.rtcp import (
    CNAME,
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceChunk,
    SourceDescription,
    decode_compound,
    encode_compound,
)
from voicegate.rtp.sender import RtpSender

__all__ = [
    "GoodbyeReceived",
    "ReportReceived",
    "RetransmissionRequested",
    "RtpEvent",
    "RtpSession",
    "RtpStatistics",
]

MAX_SOURCES: Final = 8
"""Sources of the peer that are kept. A client has one microphone, and now and then a new SSRC for it."""
_REPORT_INTERVAL: Final = 2.5
"""Seconds between reports, on average. Half the recommended minimum (RFC 3550 §6.2): loss and round trip
should be known early in a call that may last a minute, and a report is smaller than an audio packet."""
_FIRST_REPORT_INTERVAL: Final = 1.0
"""Seconds to the first report, on average."""
MAX_REQUESTED: Final = 128
"""Packets asked for at a time, so that the request fits a datagram; who misses more has lost the thread."""
_MAX_U32: Final = 0xFFFFFFFF


class GoodbyeReceived(NamedTuple):
    """The peer has stopped some of its sources; they are forgotten."""

    ssrcs: tuple[int, ...]
    reason: bytes | None
    """In the peer's words."""


class ReportReceived(NamedTuple):
    """The peer has told how it receives our source (RFC 3550 §6.4.1)."""

    fraction_lost: float
    """The part of our packets, 0 to 1, that it has missed since its previous report."""
    highest_sequence: int
    """The highest sequence number it has received, below 16 bits of how often it wrapped."""
    round_trip: float | None
    """Seconds to the peer and back; None until it has reported on a report of ours."""
    jitter: float
    """Variation of the transit time, in seconds."""


class RetransmissionRequested(NamedTuple):
    """The peer misses packets of our source (RFC 4585 §6.2.1)."""

    sequence_numbers: tuple[int, ...]
    """As it has listed them, perhaps with repeats."""


RtpEvent = GoodbyeReceived | ReportReceived | RetransmissionRequested


class RtpStatistics(NamedTuple):
    """What a session has done so far."""

    packets_sent: int
    octets_sent: int
    """Payload bytes."""
    packets_received: int
    """From the sources that are still kept, as is the next."""
    packets_lost: int
    jitter: float | None
    """Seconds, of the newest source; None before the first packet."""
    round_trip: float | None
    """Seconds; None until the peer has reported on a report of ours."""
    remote_fraction_lost: float | None
    """The part of our packets, 0 to 1, that the peer missed in its last reporting interval."""
    malformed_compounds: int
    """Compounds that were dropped because they could not be decoded."""


class RtpSession:
    """What we send, what the peer sends, and what both say of it."""

    def __init__(
        self,
        sender: RtpSender,
        *,
        cname: str,
        ntp_at_zero: float,
        random: Callable[[int], bytes],
        now: float,
        has_reduced_size: bool = False,
    ) -> None:
        """Begin; the first report is due within 1.5 s.

        Args:
            sender: Our own source. Its clock rate holds for the peer's sources, too.
            cname: The name of this participant for all of the call (RFC 7022).
            ntp_at_zero: The wallclock, in seconds since 1900, when ``now`` was zero.
            random: Returns as many random bytes as asked for.
            now: The time.
            has_reduced_size: Whether feedback may go without a report before it (RFC 5506 §5).
        """
        self._newest: ReceptionStatistics | None = None
        """The one of `_receptions` whose packets come."""
        self._arrivals = ArrivalLog()
        self._sender = sender
        self._receptions: dict[int, ReceptionStatistics] = {}
        """The peer's sources by SSRC, oldest first."""
        self._reference_times: dict[int, tuple[int, float]] = {}
        """The middle 32 bits of what receivers have asked the delay of, by SSRC, and when it came."""
        self._has_reduced_size = has_reduced_size
        self._description = SourceDescription(
            chunks=(SourceChunk(ssrc=sender.ssrc, items=((CNAME, cname.encode()),)),)
        )
        self._ntp_at_zero = ntp_at_zero
        self._random = random
        self._reports_sent = 0
        self._packet_counts = (0, 0)
        """Of our source, at the report before the last and at the last."""
        self._report_at: float | None = now + self._randomised(_FIRST_REPORT_INTERVAL)
        self._transmits: deque[bytes] = deque()
        self._events: deque[RtpEvent] = deque()
        self._malformed_compounds = 0

    # Input

    def handle_packet(self, packet: RtpPacket, *, transport_sequence: int | None = None, now: float) -> None:
        """Take note of a packet of the peer's, of whichever payload type: they share one sequence.

        Args:
            packet: What came.
            transport_sequence: Which of all its packets the peer says that this is; None if it does not.
            now: When it came.
        """
        reception = self._newest
        if reception is None or reception.ssrc != packet.ssrc:
            reception = self._newest = self._reception(packet.ssrc)
        reception.handle_packet(packet.sequence_number, packet.timestamp, now=now)
        if transport_sequence is not None:
            self._arrivals.handle_packet(transport_sequence, now=now)

    def handle_compound(self, data: bytes, *, now: float) -> None:
        """Take in a compound of the peer's; one that cannot be decoded is counted and dropped whole."""
        try:
            packets = decode_compound(data)
        except WireError:
            self._malformed_compounds += 1
            return
        for packet in packets:
            self._handle_rtcp_packet(packet, now)

    def next_packet(self, payload: bytes, *, samples: int, now: float, marker: bool = False) -> bytes:
        """Build the next packet of our source; see `RtpSender.next_packet`."""
        return self._sender.next_packet(payload, samples=samples, now=now, marker=marker)

    def skip(self, samples: int) -> None:
        """Let time pass on the media clock without a packet."""
        self._sender.skip(samples)

    def request(self, sequence_numbers: tuple[int, ...], *, now: float) -> None:  # noqa: ARG002 - as all commands
        """Ask for packets of the peer's newest source again (RFC 4585 §6.2.1): the last 128 of these."""
        if self._newest is not None and sequence_numbers and self._report_at is not None:
            nack = GenericNack(
                ssrc=self._sender.ssrc,
                media_ssrc=self._newest.ssrc,
                sequence_numbers=sequence_numbers[-MAX_REQUESTED:],
            )
            self._transmit_feedback([nack, *self._transport_feedbacks()])

    def handle_timeout(self, *, now: float) -> None:
        """Report, and tell what has arrived, as far as it is time to."""
        if self._report_at is None:
            return
        if now >= self._report_at:
            self._report(now)
            self._report_at = now + self._randomised(_REPORT_INTERVAL)
        elif self._arrivals.due_at is not None and now >= self._arrivals.due_at:
            self._transmit_feedback(self._transport_feedbacks())

    def close(self, *, now: float) -> None:
        """Report once more and say goodbye, unless the peer has never heard of us (RFC 3550 §6.3.7)."""
        if self._report_at is not None and (self._reports_sent or self._sender.packet_count):
            self._report(now, Goodbye(ssrcs=(self._sender.ssrc,)))
        self._report_at = None

    # Output

    def poll_transmit(self) -> bytes | None:
        """Take the next compound to protect and send."""
        return self._transmits.popleft() if self._transmits else None

    def poll_event(self) -> RtpEvent | None:
        """Take the next event."""
        return self._events.popleft() if self._events else None

    def poll_timeout(self) -> float | None:
        """Tell when `handle_timeout` is due; None once closed."""
        report_at, feedback_at = self._report_at, self._arrivals.due_at
        if report_at is None or feedback_at is None or report_at <= feedback_at:
            return report_at
        return feedback_at

    def statistics(self) -> RtpStatistics:
        """Tell what has been done so far."""
        receptions = list(self._receptions.values())
        sender = self._sender
        return RtpStatistics(
            packets_sent=sender.packet_count,
            octets_sent=sender.octet_count,
            packets_received=sum(reception.packets_received for reception in receptions),
            packets_lost=sum(reception.packets_lost for reception in receptions),
            jitter=receptions[-1].jitter / sender.clock_rate if receptions else None,
            round_trip=sender.round_trip,
            remote_fraction_lost=sender.remote_fraction_lost,
            malformed_compounds=self._malformed_compounds,
        )

    # Internals

    def _reception(self, ssrc: int) -> ReceptionStatistics:
        reception = self._receptions.get(ssrc)
        if reception is None:
            if len(self._receptions) == MAX_SOURCES:
                del self._receptions[next(iter(self._receptions))]
            reception = ReceptionStatistics(ssrc=ssrc, clock_rate=self._sender.clock_rate)
            self._receptions[ssrc] = reception
        return reception

    def _handle_rtcp_packet(self, packet: RtcpPacket, now: float) -> None:
        match packet:
            case SenderReport(ssrc=ssrc, reports=blocks) | ReceiverReport(ssrc=ssrc, reports=blocks):
                if isinstance(packet, SenderReport) and ssrc in self._receptions:
                    self._receptions[ssrc].handle_sender_report(packet, now=now)
                ours = [block for block in blocks if block.ssrc == self._sender.ssrc]
                if ours:
                    self._handle_report_block(ours[-1], now)
            case GenericNack(media_ssrc=self._sender.ssrc, sequence_numbers=numbers) if numbers:
                self._events.append(RetransmissionRequested(sequence_numbers=numbers))
            case ExtendedReport(ssrc=ssrc, blocks=blocks):
                for block in blocks:
                    if isinstance(block, ReceiverReferenceTime):
                        self._handle_reference_time(ssrc, block.ntp_timestamp, now)
            case Goodbye(ssrcs=ssrcs, reason=reason):
                for ssrc in ssrcs:
                    self._forget(ssrc)
                self._events.append(GoodbyeReceived(ssrcs=ssrcs, reason=reason))
            case _:
                pass  # descriptions and other feedback ask nothing of an audio source

    def _handle_report_block(self, block: ReportBlock, now: float) -> None:
        self._sender.handle_report_block(block, now=now)
        self._events.append(
            ReportReceived(
                fraction_lost=block.fraction_lost / 256,
                highest_sequence=block.highest_sequence_number,
                round_trip=self._sender.round_trip,
                jitter=block.jitter / self._sender.clock_rate,
            )
        )

    def _handle_reference_time(self, ssrc: int, ntp_timestamp: int, now: float) -> None:
        if ssrc not in self._reference_times and len(self._reference_times) == MAX_SOURCES:
            del self._reference_times[next(iter(self._reference_times))]
        self._reference_times[ssrc] = (ntp_timestamp >> 16 & _MAX_U32, now)

    def _forget(self, ssrc: int) -> None:
        self._receptions.pop(ssrc, None)
        if self._newest is not None and self._newest.ssrc == ssrc:
            self._newest = None

    def _transport_feedbacks(self) -> list[RtcpPacket]:
        if self._arrivals.due_at is None:
            return []
        media_ssrc = self._newest.ssrc if self._newest else 0
        return [*self._arrivals.take_feedbacks(ssrc=self._sender.ssrc, media_ssrc=media_ssrc)]

    def _transmit_feedback(self, feedback: list[RtcpPacket]) -> None:
        """Queue feedback, with the least before it that makes it a compound where it must be one."""
        if not self._has_reduced_size:
            feedback = [ReceiverReport(ssrc=self._sender.ssrc), self._description, *feedback]
        self._transmits.append(encode_compound(feedback))

    def _delay_report(self, now: float) -> list[RtcpPacket]:
        """Answer the reference times that have come since the last report (RFC 3611 §4.5)."""
        if not self._reference_times:
            return []
        delays = tuple(
            ReceiverReportDelay(
                ssrc=ssrc,
                last_receiver_report=reference,
                delay_since_last_receiver_report=min(round((now - at) * 0x10000), _MAX_U32),
            )
            for ssrc, (reference, at) in self._reference_times.items()
        )
        self._reference_times.clear()
        return [ExtendedReport(ssrc=self._sender.ssrc, blocks=(DelayReport(delays=delays),))]

    def _report(self, now: float, *last: RtcpPacket) -> None:
        """Queue a compound: a report, our description, and what else there is to say."""
        blocks = tuple(
            reception.report_block(now=now) for reception in self._receptions.values() if reception.has_news
        )
        sender = self._sender
        report: RtcpPacket
        # Who has sent since the report before the last is a sender (RFC 3550 §6.4).
        if sender.packet_count > self._packet_counts[0]:
            report = sender.sender_report(now=now, wallclock_ntp=self._ntp_at_zero + now, reports=blocks)
        else:
            report = ReceiverReport(ssrc=sender.ssrc, reports=blocks)
        self._packet_counts = (self._packet_counts[1], sender.packet_count)
        self._reports_sent += 1
        self._transmits.append(
            encode_compound(
                (report, self._description, *self._delay_report(now), *self._transport_feedbacks(), *last)
            )
        )

    def _randomised(self, interval: float) -> float:
        """Vary an interval by half, so that participants do not fall into step (RFC 3550 §6.2)."""
        return interval * (0.5 + int.from_bytes(self._random(4), "big") / 0x100000000)
