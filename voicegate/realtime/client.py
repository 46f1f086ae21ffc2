"""One connection of a client, as far as a session looks at it: how much it says."""

from typing import Final

__all__ = ["Client"]

EVENTS_PER_SECOND: Final = 200
"""Audio in events of 20 ms is 50 a second, and there is little else."""

BURST: Final = 1000
"""A history that is restored, or seconds of audio at once."""


class Client:
    """A bucket of events that a client may send."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._filled_at: float | None = None
        self.is_refused = False
        """Whether its last event was one too many."""

    def take(self, *, now: float) -> bool:
        """Tell whether another event may come now."""
        if self._filled_at is not None:
            self._left = min(BURST, self._left + (now - self._filled_at) * EVENTS_PER_SECOND)
        self._filled_at = now
        self.is_refused = self._left < 1
        if not self.is_refused:
            self._left -= 1
        return not self.is_refused
