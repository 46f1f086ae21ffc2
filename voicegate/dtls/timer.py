"""When to send a flight again (RFC 6347 §4.2.4.1)."""

from typing import Final

__all__ = ["RetransmissionTimer"]

_START: Final = 0.1
"""First wait when nothing is known of the path; the RFC's second would be heard at a call's start."""
_MIN_START: Final = 0.05
_MAX_START: Final = 3.0
_MAX_BACK_OFF: Final = 1.0
"""Where doubling ends, unless the path is slower: a lost flight must not cost a caller many seconds."""


class RetransmissionTimer:
    """One timer with exponential back-off.

    Against RFC 6347 §4.2.4.1 each flight starts anew from the first wait instead of keeping the doubled one.
    """

    def __init__(self) -> None:
        self._start = _START
        self._wait = _START
        self.deadline: float | None = None

    @property
    def first_wait(self) -> float:
        """How long a new flight waits."""
        return self._start

    def set_round_trip(self, seconds: float) -> None:
        """Learn the path's round trip; counts from the next flight on."""
        self._start = min(max(2 * seconds, _MIN_START), _MAX_START)

    def arm(self, now: float) -> None:
        """Start for a new flight."""
        self._wait = self._start
        self.deadline = now + self._wait

    def back_off(self, now: float) -> None:
        """Start again for the same flight, with twice the wait."""
        self._wait = min(2 * self._wait, max(self._start, _MAX_BACK_OFF))
        self.deadline = now + self._wait

    def stop(self) -> None:
        """Stop; nothing is owed."""
        self.deadline = None
