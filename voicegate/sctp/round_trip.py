"""How long to wait for an answer before sending again (RFC 9260 §6.3)."""

from typing import Final

__all__ = ["RoundTrip"]

_INITIAL: Final = 1.0
"""When nothing is known of the path (RFC 9260 §16)."""
_MARGIN: Final = 0.2
"""Seconds above the round trip, at least: for so long may a peer keep an acknowledgement back (RFC 9260
§6.2). It stands in place of a lower limit of one second, which a caller would hear: against RFC 9260 §16."""
_MAX: Final = 3.0
"""Where doubling ends, unless the path is slower. Against RFC 9260 §16, which has a minute: a conversation is
to go on soon after the network does, and ICE gives a silent peer up after half of one."""
_MIN_HANDSHAKE: Final = 0.1
_MAX_HANDSHAKE: Final = 3.0
_ALPHA: Final = 1 / 8
_BETA: Final = 1 / 4


class RoundTrip:
    """The estimate of the round trip, and the retransmission timeout that follows from it."""

    def __init__(self) -> None:
        self.smoothed: float | None = None
        self._variation = 0.0
        self._is_measured = False
        self._factor = 1.0

    def suppose(self, seconds: float) -> None:
        """Take somebody else's word, ICE's, until there is a measurement of our own."""
        if not self._is_measured:
            self.smoothed = seconds
            self._variation = seconds / 2

    def measure(self, seconds: float) -> None:
        """Learn from a packet that was sent once and acknowledged."""
        if self.smoothed is None or not self._is_measured:
            self.smoothed = seconds
            self._variation = seconds / 2
            self._is_measured = True
        else:
            self._variation += _BETA * (abs(self.smoothed - seconds) - self._variation)
            self.smoothed += _ALPHA * (seconds - self.smoothed)
        self._factor = 1.0

    def back_off(self) -> None:
        """Wait twice as long, until the next measurement."""
        self._factor = min(2 * self._factor, _MAX / _MARGIN)

    @property
    def timeout(self) -> float:
        """Seconds until what was not acknowledged is sent again."""
        first = _INITIAL
        if self.smoothed is not None:
            first = self.smoothed + max(4 * self._variation, _MARGIN)
        return min(first * self._factor, max(2 * first, _MAX))

    def handshake_timeout(self, attempt: int) -> float:
        """Seconds until an unanswered chunk of the handshake, which nobody keeps back, is sent again."""
        first = _INITIAL if self.smoothed is None else max(2 * self.smoothed, _MIN_HANDSHAKE)
        return min(first * 2.0**attempt, max(first, _MAX_HANDSHAKE))
