"""Counts the flights of a call from what passed a line, whatever time it took.

The first flight is what the client sends before anything has come to it, the second what the server sends
once some of the first has come to it, and so on. A stall adds flights, since more has come meanwhile than was
waited for; nothing ever takes one away. So the fewest of some calls tell how many are needed.
"""

from collections.abc import Sequence

from voicegate.bench.line import Direction, Line, Passage
from voicegate.wire import PacketKind

__all__ = ["Flights"]

OPPOSITE = {Direction.TO_SERVER: Direction.TO_CLIENT, Direction.TO_CLIENT: Direction.TO_SERVER}


class Flights:
    """The flights of one call."""

    def __init__(self, line: Line, *, round_trip: float) -> None:
        self._delay = round_trip / 2
        self._numbers = _number(line.passages, self._delay)

    def first(self, direction: Direction, kind: PacketKind) -> int:
        """Return the flight with the first datagram of a kind."""
        return next(
            number
            for passage, number in self._numbers
            if passage.direction is direction and passage.kind is kind
        )

    def arrived(self, direction: Direction, at: float) -> int:
        """Return the latest flight of which something had arrived at the end that a direction leads to."""
        return max(
            number
            for passage, number in self._numbers
            if passage.direction is direction and passage.entered_at + self._delay <= at
        )


def _number(passages: Sequence[Passage], delay: float) -> list[tuple[Passage, int]]:
    numbers: list[tuple[Passage, int]] = []
    for passage in sorted(passages, key=lambda each: each.entered_at):
        # Those that the line let out late count from when they were due, which errs on the side of more.
        known = [
            number
            for other, number in numbers
            if other.direction is OPPOSITE[passage.direction]
            and other.entered_at + delay <= passage.entered_at
        ]
        numbers.append((passage, 1 + max(known, default=0)))
    return numbers
