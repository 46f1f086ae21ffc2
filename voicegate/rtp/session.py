"""One RTP session: a source of our own, the sources of one peer, and the reports both ways.

Packets come in and go out unprotected: SRTP is the caller's business. Drain rule: after each `handle_*` and
`close`, `poll_transmit` (which gives compounds, not packets) and `poll_event` to None, then `poll_timeout`.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import attrs

from voicegate.errors import WireError
from voicegate.rtp.reception import ReceptionStatistics
from voicegate.rtp.rtcp import (
    CNAME,
    Goodbye,
    ReceiverReport,
    RtcpPacket,
    SenderReport,
    SourceChunk,
    SourceDescription,
    decode_compound,
    encode_compound,
)
from voicegate.rtp.sender import RtpSender

__all__ = ["GoodbyeReceived", "RtpSession", "RtpStatistics"]

MAX_SOURCES: Final = 8
"""Sources of the peer that are kept. A client has one microphone, and now and then a new SSRC for it."""
_REPORT_INTERVAL: Final = 2.5
"""Seconds between reports, on average. Half the recommended minimum (RFC 3550 §6.2): loss and round trip
should be known early in a call that may last a minute, and a report is smaller than an audio packet."""
_FIRST_REPORT_INTERVAL: Final = 1.0
"""Seconds to the first report, on average."""


@attrs.frozen(kw_only=True)
class GoodbyeReceived:
    """The peer has stopped some of its sources; they are forgotten."""

    ssrcs: tuple[int, ...]
    reason: bytes | None
    """In the peer's words."""


@attrs.frozen(kw_only=True)
class RtpStatistics:
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
    ) -> None:
        """Begin; the first report is due within 1.5 s.

        Args:
            sender: Our own source. Its clock rate holds for the peer's sources, too.
            cname: The name of this participant for all of the call (RFC 7022).
            ntp_at_zero: The wallclock, in seconds since 1900, when ``now`` was zero.
            random: Returns as many random bytes as asked for.
            now: The time.
        """
        self._sender = sender
        self._receptions: dict[int, ReceptionStatistics] = {}
        """The peer's sources by SSRC, oldest first."""
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
        self._events: deque[GoodbyeReceived] = deque()
        self._malformed_compounds = 0

    # Input

    def handle_packet(self, ssrc: int, sequence_number: int, timestamp: int, *, now: float) -> None:
        """Take note of a packet of the peer's, of whichever payload type: they share one sequence."""
        reception = self._receptions.get(ssrc)
        if reception is None:
            if len(self._receptions) == MAX_SOURCES:
                del self._receptions[next(iter(self._receptions))]
            reception = ReceptionStatistics(ssrc=ssrc, clock_rate=self._sender.clock_rate)
            self._receptions[ssrc] = reception
        reception.handle_packet(sequence_number, timestamp, now=now)

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

    def handle_timeout(self, *, now: float) -> None:
        """Report, if it is time to."""
        if self._report_at is not None and now >= self._report_at:
            self._report(now)
            self._report_at = now + self._randomised(_REPORT_INTERVAL)

    def close(self, *, now: float) -> None:
        """Report once more and say goodbye, unless the peer has never heard of us (RFC 3550 §6.3.7)."""
        if self._report_at is not None and (self._reports_sent or self._sender.packet_count):
            self._report(now, Goodbye(ssrcs=(self._sender.ssrc,)))
        self._report_at = None

    # Output

    def poll_transmit(self) -> bytes | None:
        """Take the next compound to protect and send."""
        return self._transmits.popleft() if self._transmits else None

    def poll_event(self) -> GoodbyeReceived | None:
        """Take the next event."""
        return self._events.popleft() if self._events else None

    def poll_timeout(self) -> float | None:
        """Tell when `handle_timeout` is due; None once closed."""
        return self._report_at

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

    def _handle_rtcp_packet(self, packet: RtcpPacket, now: float) -> None:
        match packet:
            case SenderReport(ssrc=ssrc, reports=blocks) | ReceiverReport(ssrc=ssrc, reports=blocks):
                if isinstance(packet, SenderReport) and ssrc in self._receptions:
                    self._receptions[ssrc].handle_sender_report(packet, now=now)
                for block in blocks:
                    if block.ssrc == self._sender.ssrc:
                        self._sender.handle_report_block(block, now=now)
            case Goodbye(ssrcs=ssrcs, reason=reason):
                for ssrc in ssrcs:
                    self._receptions.pop(ssrc, None)
                self._events.append(GoodbyeReceived(ssrcs=ssrcs, reason=reason))
            case _:
                pass  # descriptions and feedback ask nothing of an audio source

    def _report(self, now: float, *last: RtcpPacket) -> None:
        """Queue a compound: a report, our description, and what else there is."""
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
        self._transmits.append(encode_compound((report, self._description, *last)))

    def _randomised(self, interval: float) -> float:
        """Vary an interval by half, so that participants do not fall into step (RFC 3550 §6.2)."""
        return interval * (0.5 + int.from_bytes(self._random(4), "big") / 0x100000000)
