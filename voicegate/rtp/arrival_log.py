"""When the peer's packets came, by the count that it keeps over all of them, told back now and then.

This is the receiver of draft-holmer-rmcat-transport-wide-cc-extensions-01. Taking note of a packet is one
append; sorting, and finding out what is missing, wait until feedback is due.
"""

from typing import Final

from voicegate.rtp.sequence import extend_sequence_number
from voicegate.rtp.transport_feedback import (
    MAX_DELTA,
    REFERENCE_TICKS,
    TICKS_PER_SECOND,
    TransportFeedback,
)

__all__ = ["ArrivalLog"]

FEEDBACK_INTERVAL: Final = 0.2
"""Seconds from a packet to the feedback on it. libwebrtc spends 5 % of what arrives on feedback, with 50 to
250 ms between, which comes to this for a voice; the 100 ms of the draft are for video."""
MAX_NOTED: Final = 100
"""Packets that one feedback is about, so that it fits a datagram: ten times as many as a voice sends."""
MAX_GAP: Final = 500
"""Packets in a row that are reported as lost; beyond, their sender has begun to count anew."""
MAX_FEEDBACKS: Final = 8
"""Messages at a time. One is enough, but for packets that come after those around them were told of."""


class _Row:
    """Packets that one message can be about."""

    __slots__ = ("base", "last", "packets")

    def __init__(self, base: int, last: int, packets: list[tuple[int, int]]) -> None:
        self.base = base
        self.last = last
        self.packets = packets
        """Extended numbers and arrivals in ticks."""


class ArrivalLog:
    """What has arrived since the last feedback."""

    __slots__ = ("_count", "_next", "_noted", "due_at")

    def __init__(self) -> None:
        self.due_at: float | None = None
        """When feedback is wanted; None while there is nothing to tell."""
        self._noted: list[tuple[int, float]] = []
        self._next: int | None = None
        """The first number, extended, that nothing has been said of; None before the first feedback."""
        self._count = 0

    def handle_packet(self, transport_sequence: int, *, now: float) -> None:
        """Take note of a packet; when there is no room for more, feedback is due at once."""
        noted = self._noted
        if len(noted) < MAX_NOTED:
            noted.append((transport_sequence, now))
            if self.due_at is None:
                self.due_at = now + FEEDBACK_INTERVAL
        else:
            self.due_at = now

    def take_feedbacks(self, *, ssrc: int, media_ssrc: int) -> list[TransportFeedback]:
        """Say what there is to say, in the order of the packets, and forget it."""
        feedbacks = []
        for row in self._rows()[-MAX_FEEDBACKS:]:
            reference_time = row.packets[0][1] // REFERENCE_TICKS
            previous = reference_time * REFERENCE_TICKS
            arrivals = []
            for number, ticks in row.packets:
                arrivals.append((number - row.base, ticks - previous))
                previous = ticks
            feedbacks.append(
                TransportFeedback(
                    ssrc=ssrc,
                    media_ssrc=media_ssrc,
                    base_sequence_number=row.base & 0xFFFF,
                    packet_count=row.last - row.base + 1,
                    reference_time=((reference_time + 0x800000) & 0xFFFFFF) - 0x800000,
                    feedback_count=self._count,
                    arrivals=tuple(arrivals),
                )
            )
            self._count = (self._count + 1) & 0xFF
        return feedbacks

    def _rows(self) -> list[_Row]:
        noted, self._noted, self.due_at = self._noted, [], None
        rows: list[_Row] = []
        if not noted:
            return rows
        untold = noted[0][0] if self._next is None else self._next
        packets = {}
        for number, at in reversed(noted):  # of copies the first one counts
            packets[extend_sequence_number(number, reference=untold)] = int(at * TICKS_PER_SECOND)
        for number, ticks in sorted(packets.items()):
            if rows and _continues(rows[-1], number, ticks, untold):
                rows[-1].packets.append((number, ticks))
                rows[-1].last = number
            else:
                first = max(untold, rows[-1].last + 1) if rows else untold
                base = first if first <= number <= first + MAX_GAP else number
                rows.append(_Row(base, number, [(number, ticks)]))
        self._next = max(untold, rows[-1].last + 1)
        return rows


def _continues(row: _Row, number: int, ticks: int, untold: int) -> bool:
    """Tell whether a packet can stand in a row, and what is missing between really is."""
    missing = number - row.last - 1
    is_told = missing and row.last + 1 < untold
    return not is_told and missing <= MAX_GAP and abs(ticks - row.packets[-1][1]) <= MAX_DELTA
