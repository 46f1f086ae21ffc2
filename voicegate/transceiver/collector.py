"""The garbage collector, tamed: it runs between slots and never in the middle of one.

A collection stops everything. CPython starts one whenever so many objects were made, and one of all objects,
with hundreds of calls in memory, takes longer than a frame. So the automatic ones are switched off. What is
there at the start is never looked at again; the young are collected when there is time before the next slot;
what survives is set aside as well, and all of it is looked at when that has become so much that it might
matter, the sooner when no call is on.

This is for a process that is ours: `open_collector` changes the whole interpreter until it is left.
"""

import gc
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from voicegate.observability import Histogram

__all__ = ["Collector", "open_collector"]

_PAUSE_SECONDS: Final = 0.0005
"""What a collection is to take, and up to twice that when there is no gap: it comes so often."""

_INTERVALS: Final = (0.005, 5.0)
"""Seconds from one to the next: a slot, and as many when next to nothing is made."""

_YOUNG: Final = 2000
"""Objects made, more than gone, after which it is time whatever the last collection took. While as many go as
are made, the number says nothing of how many there are: so the time counts, too."""

_MAX_ASIDE_IDLE: Final = 100_000
_MAX_ASIDE: Final = 2_000_000
"""Objects set aside that bring about a full collection: the first while there is no call, the second always.
An ended call leaves no cycles, so it takes an agent that does, and even the second is some hundred megabytes;
it costs half a second's stall, in a process that is never idle."""

_PAUSE_BOUNDS_MS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Collector:
    """Collects when it is told that there is time; see `open_collector`."""

    def __init__(self) -> None:
        self.pauses: Final = {"young": Histogram(_PAUSE_BOUNDS_MS), "full": Histogram(_PAUSE_BOUNDS_MS)}
        """Milliseconds that the process stood still."""
        self.collected: Counter[str] = Counter()
        """Objects that were garbage, by kind of collection."""
        self._aside = 0
        self._blocks = 0
        """Pieces of memory in use when all objects were last looked at."""
        self._began = 0.0
        self._pause = 0.0
        self._collected_at = 0.0
        self._interval = _INTERVALS[1]

    def collect(self, *, until: float, is_idle: bool) -> None:
        """Collect what is worth it. To be called between slots.

        Args:
            until: When the next slot begins, on Trio's clock.
            is_idle: Whether there is no call at all.
        """
        now = trio.current_time()
        since, made = now - self._collected_at, gc.get_count()[0]
        due = max(since / self._interval, made / _YOUNG)
        if due < 1 or (due < 2 and until - now < 2 * _PAUSE_SECONDS):
            return
        self._collected_at = now
        self._aside += max(0, made - gc.collect(1))
        shortest, longest = _INTERVALS
        wanted = min(since * _PAUSE_SECONDS / max(self._pause, 1e-6), 2 * self._interval)
        self._interval = min(max(wanted, shortest), longest)
        # What is young is looked at once: the oldest generation stays empty.
        gc.freeze()
        if self._aside > (_MAX_ASIDE_IDLE if is_idle else _MAX_ASIDE):
            self._aside = 0
            # Most of what was set aside has gone by itself: what is left shows in the memory that is used.
            if is_idle or sys.getallocatedblocks() - self._blocks > _MAX_ASIDE:
                self.collect_all()

    def collect_all(self) -> None:
        """Look at all objects there are."""
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._blocks = sys.getallocatedblocks()

    def note(self, phase: str, info: dict[str, int]) -> None:
        """Measure a collection; what `gc.callbacks` calls."""
        if phase == "start":
            self._began = time.perf_counter()
            return
        kind = "full" if info["generation"] == 2 else "young"
        self._pause = time.perf_counter() - self._began
        self.pauses[kind].observe(self._pause * 1000)
        self.collected[kind] += info["collected"]


@contextmanager
def open_collector() -> Iterator[Collector]:
    """Take garbage collection of this process over; afterwards everything is as it was."""
    was_enabled = gc.isenabled()
    collector = Collector()
    gc.disable()
    gc.callbacks.append(collector.note)
    collector.collect_all()
    try:
        yield collector
    finally:
        gc.callbacks.remove(collector.note)
        gc.unfreeze()
        if was_enabled:
            gc.enable()
