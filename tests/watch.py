"""A watch over the machine: how late it was by itself, whatever runs on it."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_TICK: Final = 0.01

_LATE: Final = 0.05
"""Seconds: what wakes so much after its time was kept from a processor, and so may be all else."""

_FULL: Final = 0.15
"""The part of all processors' time without which whoever wants one has to wait."""


class Watch:
    """What a thread on each processor sees that only sleeps; made by `open_watch`."""

    def __init__(self) -> None:
        self._is_over = threading.Event()
        self._late: dict[int, float] = {}
        self._idle, self._total = read_processors()

    def anew(self) -> None:
        """Forget what was seen so far."""
        self._late.clear()
        self._idle, self._total = read_processors()

    @property
    def lateness(self) -> float:
        """Seconds that a wake-up was late, at most."""
        return max(self._late.values(), default=0.0)

    @property
    def was_late(self) -> bool:
        """Whether what took long meanwhile may have done so because of the machine."""
        idle, total = read_processors()
        return self.lateness > _LATE or idle - self._idle < _FULL * (total - self._total)

    def run(self, processor: int) -> None:
        """Look at a processor, from a thread of its own, until it is over."""
        os.sched_setaffinity(0, {processor})
        while not self._is_over.is_set():
            due = time.perf_counter() + _TICK
            time.sleep(_TICK)
            self._late[processor] = max(self._late.get(processor, 0.0), time.perf_counter() - due)

    def end(self) -> None:
        """Let all threads end."""
        self._is_over.set()


@contextmanager
def open_watch() -> Iterator[Watch]:
    """Watch all processors that we may use."""
    watch = Watch()
    threads = [threading.Thread(target=watch.run, args=(each,)) for each in os.sched_getaffinity(0)]
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        watch.end()
        for thread in threads:
            thread.join()


def read_processors() -> Sequence[int]:
    """Return how many ticks of all processors were nobody's, and how many there were."""
    times = [int(each) for each in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
    return times[3], sum(times)
