"""How fast the other end may go: bursts, but not for ever. Layer: core (sans-IO)."""

__all__ = ["Pace"]


class Pace:
    """A bucket of turns, which fills by itself.

    Args:
        rate: Turns a second.
        burst: How many may be taken at once.
        now: The time, in seconds.
    """

    def __init__(self, *, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = now

    def take(self, turns: int, *, now: float, scale: int = 1) -> float:
        """Take turns, and return for how many seconds to take no more; ``scale`` times as many are fine."""
        rate, burst = self._rate * scale, self._burst * scale
        self._left = min(self._left + (now - self._at) * rate, burst) - turns
        self._at = now
        return max(-self._left / rate, 0.0)
