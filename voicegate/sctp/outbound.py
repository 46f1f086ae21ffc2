"""The sending half: messages into DATA chunks, and these again and again until they have arrived.

A chunk is known by its extended TSN. It is in `_missing` from its first transmission until the peer has it,
and in `_gap_acknowledged` from then until the cumulative point has passed it, since the peer may take back
what it has acknowledged in gaps. TSNs are handed out without holes and chunks enter in order: an
acknowledgement costs what it changes, plus the chunks that it reports missing.
"""

from bisect import bisect_right
from collections import Counter
from heapq import heappop, heappush
from typing import Final

import attrs

from voicegate.sctp.chunk import DATA_HEADER_LENGTH, Data, DataFlag, ForwardTsn, Sack
from voicegate.sctp.congestion import CongestionControl
from voicegate.sctp.outbox import Outbox
from voicegate.sctp.packet import PACKET_HEADER_LENGTH
from voicegate.sctp.round_trip import RoundTrip
from voicegate.sctp.send_queue import OutboundMessage, SendQueue
from voicegate.sctp.statistic import DropReason
from voicegate.sctp.tsn import TSN_MASK, extend_tsn

__all__ = ["Outbound"]

_MAX_TIMEOUTS: Final = 20
"""In a row, about a minute: Association.Max.Retrans of RFC 9260 §16, which has ten longer ones."""
_MISSES: Final = 3
"""Reports of a hole until it counts as a loss (RFC 9260 §7.2.4)."""
_MIN_FRAGMENT: Final = 256
"""Bytes of a message for which the rest of a packet is used."""


@attrs.define(eq=False)
class _Transmission:
    """A chunk that was sent."""

    tsn: int
    chunk: bytes = attrs.field(repr=False)
    length: int
    message: OutboundMessage
    sent_at: float
    count: int = 1
    misses: int = 0
    is_in_flight: bool = True
    """Not acknowledged, and not taken for lost."""

    @property
    def is_telling(self) -> bool:
        """Whether its acknowledgement tells the round trip.

        Of what was sent twice it does not say which one has come (Karn's rule, RFC 9260 §6.3.1), and what was
        given up may not have come at all.
        """
        return self.count == 1 and not self.message.is_abandoned


class Outbound:
    """Sends messages, whole or in fragments, reliably or up to their limits."""

    def __init__(self, *, outbox: Outbox, round_trip: RoundTrip, initial_tsn: int) -> None:
        self._outbox = outbox
        self._round_trip = round_trip
        self._queue = SendQueue()
        self._largest = (outbox.mtu - PACKET_HEADER_LENGTH) // 4 * 4
        self.congestion = CongestionControl(self._largest)
        self._next_tsn = initial_tsn
        self._acknowledged = initial_tsn - 1
        self._abandoned_to = initial_tsn - 1
        """The Advanced.Peer.Ack.Point of RFC 3758 §3.5."""
        self._missing: dict[int, _Transmission] = {}
        self._gap_acknowledged: dict[int, _Transmission] = {}
        self._gaps: tuple[tuple[int, int], ...] = ()
        self._lost: list[int] = []
        """A heap of TSNs to send again; those that have come meanwhile are in it, too."""
        self._flight = 0
        self._window = 0
        self._has_rescue = False
        self._timeouts_in_row = 0
        self._forwarded_at: float | None = None
        self._has_forward_tsn = False
        self.deadline: float | None = None
        """When T3 runs out."""
        self.buffered: Counter[int] = Counter()
        """Bytes by stream, queued and not yet acknowledged."""
        self.buffered_bytes = 0
        self.retransmissions = 0
        self.timeouts = 0
        self.abandoned = 0

    @property
    def last_tsn(self) -> int:
        """Extended; the last that was handed out."""
        return self._next_tsn - 1

    @property
    def waiting_messages(self) -> int:
        """Messages that are not yet wholly in fragments."""
        return len(self._queue)

    @property
    def is_done(self) -> bool:
        """Whether all has arrived or was given up."""
        return self._queue.is_empty and self._acknowledged == self._next_tsn - 1

    @property
    def has_failed(self) -> bool:
        """Whether the peer has been silent for too long."""
        return self._timeouts_in_row > _MAX_TIMEOUTS

    @property
    def is_ready(self) -> bool:
        """Whether `transmit` has something to say, as far as can be told without doing it."""
        return bool(self._lost or not self._queue.is_empty) and self._flight < self.congestion.window

    def begin(self, *, window: int, has_forward_tsn: bool) -> None:
        """Learn what the peer's INIT says."""
        self._window = window
        self._has_forward_tsn = has_forward_tsn

    def resume(self, *, now: float) -> None:
        """Begin to wait for what went with the cookie."""
        self._restart(now)

    def push(self, message: OutboundMessage) -> None:
        """Queue a message."""
        self._queue.push(message)
        self.buffered[message.stream_id] += len(message.data)
        self.buffered_bytes += len(message.data)

    def is_waiting(self, stream_id: int) -> bool:
        """Tell whether a stream has data without TSN."""
        return self._queue.is_waiting(stream_id)

    def reset(self, stream_id: int) -> None:
        """Begin a stream anew."""
        self._queue.reset(stream_id)

    # Input

    def handle_sack(self, sack: Sack, *, now: float) -> None:
        """Learn what has arrived (RFC 9260 §6.2.1)."""
        cumulative = extend_tsn(sack.cumulative_tsn, reference=self._acknowledged)
        if cumulative < self._acknowledged:
            self._outbox.drop(DropReason.STALE_ACKNOWLEDGEMENT)
            return
        gaps = tuple(sorted((cumulative + first, cumulative + last) for first, last in sack.gaps))
        if max((last for _first, last in gaps), default=cumulative) >= self._next_tsn:
            self._outbox.drop(DropReason.FALSE_ACKNOWLEDGEMENT)
            return
        was_full = self._flight + self._largest > self.congestion.window
        is_advanced = cumulative > self._acknowledged
        length, sent_at = self._pass_cumulative(cumulative)
        self._gaps = gaps
        if gaps:
            arrived, holes = self._compare(gaps)
            for transmission in arrived:
                length += self._note_arrival(transmission)
                if transmission.is_telling:
                    sent_at = transmission.sent_at
            if arrived:
                self._strike(holes, arrived[-1].tsn, is_advanced=is_advanced, now=now)
        if sent_at is not None:
            self._round_trip.measure(now - sent_at)
        if length or is_advanced or not sack.window:
            # A peer that keeps its window shut, but answers, is alive (RFC 9260 §6.1).
            self._timeouts_in_row = 0
        self.congestion.acknowledge(
            length, cumulative_tsn=cumulative, is_advanced=is_advanced, was_full=was_full
        )
        self._window = sack.window
        if is_advanced:
            self._restart(now)
        self._abandon_further()

    def handle_cumulative(self, tsn: int, *, now: float) -> None:
        """Learn of the cumulative point alone, from a SHUTDOWN."""
        self.handle_sack(Sack(tsn, self._window), now=now)

    def handle_timeout(self, *, now: float) -> None:
        """Let time pass: what was not acknowledged in time is sent again (RFC 9260 §6.3.3)."""
        if self.deadline is None or now < self.deadline:
            return
        self.timeouts += 1
        self._timeouts_in_row += 1
        self.congestion.time_out()
        self._round_trip.back_off()
        self.repeat(now=now)
        self._restart(now)

    def repeat(self, *, now: float) -> None:
        """Take all that is under way for lost."""
        self._take_back()
        for transmission in list(self._missing.values()):
            if transmission.is_in_flight:
                self._lose(transmission, now)
        self._abandon_further()

    # Output

    def transmit(self, *, now: float, is_single: bool = False) -> None:
        """Put what may be sent into packets: FORWARD-TSN, what was lost, what is new.

        Args:
            now: The time.
            is_single: Whether there may be no packet but the one begun.
        """
        if not is_single:
            self._transmit_forward(now)
        limit = min(self.congestion.window, self._flight + self.congestion.burst)
        if self._lost:
            self._transmit_lost(limit, now, is_single=is_single)
        if not self._lost and not self._queue.is_empty:
            self._transmit_new(limit, now, is_single=is_single)
        if self._forwarded_at is None and self._abandoned_to > self._acknowledged and not is_single:
            self._outbox.seal()  # Something was given up just now, and DATA comes last in a packet.
            self._transmit_forward(now)
        if self.deadline is None and self._acknowledged != self._next_tsn - 1:
            self._restart(now)

    def _transmit_forward(self, now: float) -> None:
        if self._abandoned_to <= self._acknowledged:
            return
        pause = self._round_trip.smoothed or 0.0
        if self._forwarded_at is not None and now < self._forwarded_at + pause:
            return
        self._forwarded_at = now
        room = (self._outbox.mtu - PACKET_HEADER_LENGTH - 8) // 4
        streams: dict[int, int] = {}
        tsn = self._acknowledged
        while tsn < self._abandoned_to:
            message = (self._missing.get(tsn + 1) or self._gap_acknowledged[tsn + 1]).message
            if message.is_ordered:
                if message.stream_id not in streams and len(streams) == room:
                    break
                streams[message.stream_id] = message.sequence_number
            tsn += 1
        self._outbox.add(ForwardTsn(tsn & TSN_MASK, tuple(streams.items())).encode())

    def _transmit_lost(self, limit: int, now: float, *, is_single: bool) -> None:
        # One packet goes out at once when a loss is found, whatever the window says (RFC 9260 §7.2.4).
        rescue = self._largest if self._has_rescue else 0
        self._has_rescue = False
        while self._lost:
            transmission = self._missing.get(self._lost[0])
            if transmission is None or transmission.is_in_flight or transmission.message.is_abandoned:
                heappop(self._lost)
                continue
            size = len(transmission.chunk) + 3 & ~3
            if (self._flight >= limit and size > rescue) or (is_single and size > self._outbox.room):
                return
            if self._give_up(transmission, now):
                continue
            rescue -= size
            heappop(self._lost)
            transmission.is_in_flight = True
            transmission.count += 1
            transmission.sent_at = now
            self._flight += transmission.length
            self.retransmissions += 1
            self._outbox.add(transmission.chunk)
            if transmission.tsn == self._acknowledged + 1:
                self._restart(now)

    def _transmit_new(self, limit: int, now: float, *, is_single: bool) -> None:
        outbox, queue = self._outbox, self._queue
        while self._flight < limit and (message := queue.peek()) is not None:
            if message.is_expired(now) and (self._has_forward_tsn or not message.offset):
                self._abandon(message)
                continue
            room = outbox.room - DATA_HEADER_LENGTH
            remaining = message.remaining
            if room < remaining and room < _MIN_FRAGMENT:
                if is_single:
                    return
                outbox.seal()
                room = outbox.room - DATA_HEADER_LENGTH
            length = min(remaining, room & ~3)
            # With nothing under way, one chunk is sent even into a closed window (RFC 9260 §6.1).
            if self._flight and self._flight + length > self._window:
                return
            self._send(message, length, limit, now)

    def _send(self, message: OutboundMessage, length: int, limit: int, now: float) -> None:
        flags = 0 if message.is_ordered else int(DataFlag.UNORDERED)
        tsn = self._next_tsn
        offset = message.offset
        if not offset:
            flags |= DataFlag.BEGIN
            message.first_tsn = tsn
            if message.is_ordered:
                message.sequence_number = self._queue.take_sequence(message.stream_id)
        message.offset = offset + length
        if not message.remaining:
            flags |= DataFlag.END
            self._queue.pop()
        if self._queue.is_empty or self._flight + length >= limit:
            # Nothing will follow that would make the peer answer at once (RFC 9260 §3.3.1).
            flags |= DataFlag.IMMEDIATE
        chunk = Data(
            tsn & TSN_MASK,
            message.stream_id,
            message.sequence_number,
            message.protocol_id,
            message.data[offset : offset + length],
            int(flags),
        ).encode()
        self._missing[tsn] = _Transmission(tsn, chunk, length, message, now)
        self._next_tsn = tsn + 1
        self._flight += length
        self._outbox.add(chunk)

    # Acknowledgements

    def _pass_cumulative(self, cumulative: int) -> tuple[int, float | None]:
        """Forget what has arrived; return the bytes that are news, and when the last of them was sent."""
        length, sent_at = 0, None
        for tsn in range(self._acknowledged + 1, cumulative + 1):
            transmission = self._missing.pop(tsn, None)
            if transmission is None:
                transmission = self._gap_acknowledged.pop(tsn)
            else:
                length += transmission.length
                if transmission.is_in_flight:
                    self._flight -= transmission.length
                if transmission.is_telling:
                    sent_at = transmission.sent_at
            self._release(transmission.message.stream_id, transmission.length)
        self._acknowledged = cumulative
        return length, sent_at

    def _compare(self, gaps: tuple[tuple[int, int], ...]) -> tuple[list[_Transmission], list[_Transmission]]:
        """Sort what is missing, up to the last gap block, into what has arrived and what has not."""
        arrived: list[_Transmission] = []
        holes: list[_Transmission] = []
        index = 0
        for tsn, transmission in self._missing.items():
            while index < len(gaps) and gaps[index][1] < tsn:
                index += 1
            if index == len(gaps):
                break
            (arrived if tsn >= gaps[index][0] else holes).append(transmission)
        return arrived, holes

    def _note_arrival(self, transmission: _Transmission) -> int:
        del self._missing[transmission.tsn]
        self._gap_acknowledged[transmission.tsn] = transmission
        if transmission.is_in_flight:
            transmission.is_in_flight = False
            self._flight -= transmission.length
        return transmission.length

    def _strike(self, holes: list[_Transmission], newest: int, *, is_advanced: bool, now: float) -> None:
        """Count the holes reported, and take those for lost that were reported often enough."""
        is_counted_anyway = self.congestion.is_recovering and is_advanced
        for transmission in holes:
            if not transmission.is_in_flight or transmission.count > 1:
                continue  # A second loss is left to the timer.
            if transmission.tsn < newest or is_counted_anyway:
                transmission.misses += 1
                if transmission.misses >= _MISSES:
                    if not self.congestion.is_recovering:
                        self.congestion.lose(last_tsn=self._next_tsn - 1)
                        self._has_rescue = True
                    self._lose(transmission, now)

    def _take_back(self) -> None:
        """Miss again what was acknowledged in gaps once, but not the last time (RFC 9260 §6.2.1)."""
        starts = [first for first, _last in self._gaps]
        taken = []
        for tsn in self._gap_acknowledged:
            index = bisect_right(starts, tsn) - 1
            if index < 0 or tsn > self._gaps[index][1]:
                taken.append(tsn)
        for tsn in taken:
            transmission = self._missing[tsn] = self._gap_acknowledged.pop(tsn)
            transmission.is_in_flight = True
            self._flight += transmission.length
        if taken:
            self._missing = dict(sorted(self._missing.items()))

    def _restart(self, now: float) -> None:
        is_idle = self._acknowledged == self._next_tsn - 1
        self.deadline = None if is_idle else now + self._round_trip.timeout

    def _release(self, stream_id: int, length: int) -> None:
        self.buffered_bytes -= length
        self.buffered[stream_id] -= length
        if not self.buffered[stream_id]:
            del self.buffered[stream_id]

    # Losses and what is given up

    def _lose(self, transmission: _Transmission, now: float) -> None:
        transmission.is_in_flight = False
        self._flight -= transmission.length
        if not transmission.message.is_abandoned and not self._give_up(transmission, now):
            heappush(self._lost, transmission.tsn)

    def _give_up(self, transmission: _Transmission, now: float) -> bool:
        """Abandon a message that may not be sent again (RFC 3758 §3.5)."""
        message = transmission.message
        most = message.max_retransmits
        if not self._has_forward_tsn or not (
            message.is_expired(now) or (most is not None and transmission.count > most)
        ):
            return False
        self._abandon(message)
        return True

    def _abandon(self, message: OutboundMessage) -> None:
        self.abandoned += 1
        message.is_abandoned = True
        is_begun = bool(message.offset)
        remaining = message.remaining
        if is_begun:
            tsn = max(message.first_tsn, self._acknowledged + 1)
            while tsn < self._next_tsn:
                transmission = self._missing.get(tsn)
                if (transmission or self._gap_acknowledged[tsn]).message is not message:
                    break
                if transmission is not None and transmission.is_in_flight:
                    transmission.is_in_flight = False
                    self._flight -= transmission.length
                tsn += 1
        if remaining:
            self._queue.pop()
            self._release(message.stream_id, remaining)
            message.offset = len(message.data)
            if is_begun:
                # A TSN that is never sent: by it the peer learns that the message has no end.
                unsent = _Transmission(self._next_tsn, b"", 0, message, 0.0, 0, is_in_flight=False)
                self._missing[self._next_tsn] = unsent
                self._next_tsn += 1
        if is_begun:
            self._abandon_further()

    def _abandon_further(self) -> None:
        """Move the point up to which the peer need not wait (RFC 3758 §3.5)."""
        point = before = max(self._abandoned_to, self._acknowledged)
        while point + 1 < self._next_tsn:
            next_one = self._missing.get(point + 1) or self._gap_acknowledged[point + 1]
            if not next_one.message.is_abandoned:
                break
            point += 1
        if point > before:
            self._forwarded_at = None
        self._abandoned_to = point
