"""Which TSNs have arrived."""

from bisect import bisect_right
from typing import Final

__all__ = ["MAX_AHEAD", "ReceivedTsns"]

MAX_AHEAD: Final = 8192
"""TSNs that may be ahead of the first hole: eight megabytes of full packets, more than any window here."""
_MAX_DUPLICATES: Final = 8
"""Duplicates told of in one acknowledgement; nobody does more than count them."""


class ReceivedTsns:
    """The cumulative point and the blocks behind it, as extended numbers."""

    def __init__(self, cumulative_tsn: int) -> None:
        self.cumulative_tsn = cumulative_tsn
        # First and last of each block, ascending, none touching another.
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._duplicates: list[int] = []

    @property
    def has_holes(self) -> bool:
        """Whether something is missing."""
        return bool(self._starts)

    def has(self, tsn: int) -> bool:
        """Tell whether a TSN has arrived."""
        if tsn <= self.cumulative_tsn:
            return True
        index = bisect_right(self._starts, tsn) - 1
        return index >= 0 and tsn <= self._ends[index]

    def add(self, tsn: int) -> None:
        """Note a TSN that had not arrived."""
        starts, ends = self._starts, self._ends
        if tsn == self.cumulative_tsn + 1:
            self.cumulative_tsn = tsn
            if starts and starts[0] == tsn + 1:
                del starts[0]
                self.cumulative_tsn = ends.pop(0)
            return
        index = bisect_right(starts, tsn)
        touches_left = index > 0 and ends[index - 1] == tsn - 1
        touches_right = index < len(starts) and starts[index] == tsn + 1
        if touches_left and touches_right:
            del starts[index]
            del ends[index - 1]
        elif touches_left:
            ends[index - 1] = tsn
        elif touches_right:
            starts[index] = tsn
        else:
            starts.insert(index, tsn)
            ends.insert(index, tsn)

    def note_duplicate(self, tsn: int) -> None:
        """Note a TSN that came again, for the next acknowledgement."""
        if len(self._duplicates) < _MAX_DUPLICATES:
            self._duplicates.append(tsn)

    def forward(self, tsn: int) -> None:
        """Behave as if all up to ``tsn`` had arrived."""
        index = bisect_right(self._starts, tsn + 1)
        if index:
            tsn = max(tsn, self._ends[index - 1])
            del self._starts[:index]
            del self._ends[:index]
        self.cumulative_tsn = tsn

    def gaps(self, limit: int) -> tuple[tuple[int, int], ...]:
        """Return the blocks behind the cumulative point, relative to it, the first ``limit``."""
        base = self.cumulative_tsn
        pairs = zip(self._starts[:limit], self._ends[:limit], strict=True)
        return tuple((start - base, end - base) for start, end in pairs)

    def take_duplicates(self) -> tuple[int, ...]:
        """Return the duplicates noted since the last time."""
        duplicates, self._duplicates = tuple(self._duplicates), []
        return duplicates
