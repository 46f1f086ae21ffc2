"""One timer that wakes one task on time: a timerfd where there is one, since epoll counts whole milliseconds.

The deadline stands in Trio's schedule as well, a moment behind it, so that a virtual clock drives it too.
"""

import ctypes
import os
import struct
import sys
from math import inf
from typing import Final, Self

import trio

__all__ = ["Alarm"]

_CLOCK_MONOTONIC: Final = 1
_MAX_SECONDS: Final = 3600.0
"""What the timer is set to at most: Trio's own schedule will do for what is farther away."""
_TIMER: Final = struct.Struct("=qqqq")
"""``itimerspec``: interval and first expiration, seconds and nanoseconds."""

_libc: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_HAS_TIMER: Final = _libc is not None and hasattr(_libc, "timerfd_create") and struct.calcsize("P") == 8


class Alarm:
    """A deadline that can be moved while somebody waits for it.

    Resources: a file descriptor, until the end of the ``with`` block.
    """

    def __init__(self) -> None:
        self.deadline = inf
        """When `wait` returns, on Trio's clock."""
        self._fd: int | None = None
        self._scope = trio.CancelScope()

    def __enter__(self) -> Self:
        if _HAS_TIMER and _libc is not None:
            fd = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
            self._fd = fd if fd >= 0 else None
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def set(self, deadline: float) -> None:
        """Ring at another time."""
        if deadline == self.deadline:
            return
        self.deadline = self._scope.deadline = deadline
        self._arm()

    async def wait(self) -> None:
        """Wait until the deadline, wherever it is moved meanwhile.

        Cancellation: a checkpoint always.
        """
        with trio.CancelScope(deadline=self.deadline) as self._scope:
            if self._fd is None:
                await trio.sleep_forever()
            else:
                self._arm()
                await trio.lowlevel.wait_readable(self._fd)

    def _arm(self) -> None:
        if self._fd is None or _libc is None:
            return
        # The clock says how long that is in real time; under a virtual one, for ever.
        seconds = trio.lowlevel.current_clock().deadline_to_sleep_time(self.deadline)
        nanoseconds = int(min(max(seconds, 1e-9), _MAX_SECONDS) * 1e9)
        _libc.timerfd_settime(
            self._fd, 0, _TIMER.pack(0, 0, nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000), None
        )
