"""How late packets are, and how fast the client's clock runs.

A packet's transit is its arrival on our clock less its place on the client's. Nobody knows the offset between
the two, but the fastest packets show it: how much later than them another is, is its relative delay.

1. Transits are gathered in blocks of half a second.
2. The lowest of each block are what the clocks alone do: the median slope between those half the memory apart
   is the drift, and the lowest of the last ten seconds, moved along with the drift, the base.
3. The spread is the relative delay that 96 of 100 packets of the last three seconds stayed below.

So a burst of jitter is forgotten three seconds after it.
"""

from bisect import bisect_left
from collections import deque
from math import inf
from statistics import median
from typing import Final

__all__ = ["DelayEstimate"]

BLOCK_SECONDS: Final = 0.5

_TOGETHER_SECONDS: Final = 0.001
"""Packets this close have come together; it bounds what is kept of a block, too."""

_BASE_BLOCKS: Final = 20
_SPREAD_BLOCKS: Final = 6
_DRIFT_BLOCKS: Final = 80
_DRIFT_EVERY: Final = 8
"""Blocks from one look at the drift to the next; also how many it takes for a first one."""
_FORGET_SECONDS: Final = 60.0
"""A base from before a longer pause is worth nothing: the drift is known to some 100 ppm."""
_FORGET_SPREAD_SECONDS: Final = 10.0

_QUANTILE: Final = 0.96
_STEP_SECONDS: Final = 1.0
"""Farther from the base, a whole block means that the client has set its clock anew."""
_MAX_DRIFT: Final = 0.01
"""No clock is that wrong: RFC 3550 senders drift by some 100 ppm, cheap sound cards by a few 1000."""


class DelayEstimate:
    """The transits of one stream's packets.

    `measure` each packet that came by itself; duplicates and retransmissions tell nothing of the path.
    """

    __slots__ = (
        "_block",
        "_block_end",
        "_blocks",
        "_closed",
        "_drift",
        "_ends",
        "_last_at",
        "_lowest",
        "_minima",
        "_spread",
        "base",
    )

    def __init__(self) -> None:
        self.base = inf
        """The transit of the fastest packets; infinite before the first."""
        self._block: list[float] = []
        self._block_end = -inf
        self._last_at = -inf
        self._lowest = inf
        self._blocks: deque[tuple[float, list[float]]] = deque(maxlen=_SPREAD_BLOCKS)
        self._ends: list[float] = []
        self._minima: list[float] = []
        """The lowest transits of the last `_DRIFT_BLOCKS`, and when those ended."""
        self._drift = 0.0
        self._spread: float | None = None
        self._closed = 0

    def measure(self, transit: float, *, now: float) -> None:
        """Take note of a packet that arrives now."""
        if now >= self._block_end:
            self._close_block(now)
        # Of packets that a stall let go together the first says how long it was.
        if now - self._last_at >= _TOGETHER_SECONDS:
            self._last_at = now
            self._block.append(transit)
        if transit < self._lowest:
            self._lowest = transit
            if transit < self.base:
                self.base = transit

    def restart(self) -> None:
        """Forget the transits, for a stream with another clock; its drift is likely the same."""
        self.base = self._lowest = inf
        self._block_end = self._last_at = -inf
        self._block.clear()
        self._forget()
        self._spread = None

    @property
    def has_settled(self) -> bool:
        """Whether enough packets have come to go by."""
        return bool(self._blocks)

    @property
    def drift_ppm(self) -> float:
        """How much slower than ours the client's clock runs, in millionths."""
        return self._drift * 1e6

    @property
    def spread(self) -> float:
        """The relative delay that nearly all packets stay below."""
        if self._spread is None:
            blocks = self._blocks
            # Until the first block is full, what it has so far has to do.
            newest = blocks[-1][0] if blocks else 0.0
            relative = sorted(
                transit + self._drift * (newest - end) - self.base
                for end, transits in blocks or ((0.0, self._block),)
                for transit in transits
            )
            spread = max(0.0, relative[int(_QUANTILE * (len(relative) - 1))]) if relative else 0.0
            if not blocks:
                return spread
            self._spread = spread
        return self._spread

    def _close_block(self, now: float) -> None:
        """Learn from a full block, and begin another."""
        block, self._block = self._block, []
        lowest, self._lowest = self._lowest, inf
        self._block_end = now + BLOCK_SECONDS
        if not block:
            return
        ends, minima, blocks, end = self._ends, self._minima, self._blocks, self._last_at
        if minima and abs(lowest - self._base(end)) > _STEP_SECONDS:
            self._forget()
        ends.append(end)
        minima.append(lowest)
        blocks.append((end, block))
        if len(minima) > _DRIFT_BLOCKS or ends[0] < now - _FORGET_SECONDS:
            outdated = max(len(minima) - _DRIFT_BLOCKS, bisect_left(ends, now - _FORGET_SECONDS))
            del ends[:outdated], minima[:outdated]
        while blocks and blocks[0][0] < now - _FORGET_SPREAD_SECONDS:
            blocks.popleft()
        self._spread = None
        self._closed += 1
        if self._closed % _DRIFT_EVERY == 0:
            self._learn_drift()
        self.base = self._base(now) if minima else inf

    def _forget(self) -> None:
        self._ends.clear()
        self._minima.clear()
        self._blocks.clear()

    def _base(self, now: float) -> float:
        ends, minima, drift = self._ends, self._minima, self._drift
        base = inf
        for index in range(max(0, len(minima) - _BASE_BLOCKS), len(minima)):
            transit = minima[index] + drift * (now - ends[index])
            if transit < base:
                base = transit
        return base

    def _learn_drift(self) -> None:
        ends, minima = self._ends, self._minima
        half = len(minima) // 2
        if half < _DRIFT_EVERY // 2:
            return
        slopes = [
            (minima[index + half] - minima[index]) / (ends[index + half] - ends[index])
            for index in range(len(minima) - half)
        ]
        self._drift = max(-_MAX_DRIFT, min(median(slopes), _MAX_DRIFT))
