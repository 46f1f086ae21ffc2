"""How much may be under way (RFC 9260 §7)."""

from typing import Final

__all__ = ["CongestionControl"]

_INITIAL_PACKETS: Final = 10
"""As TCP begins (RFC 6928 §2), and as browsers do with SCTP; against RFC 9260 §7.2.1, which has four."""
_MIN_THRESHOLD_PACKETS: Final = 4
_SLOW_START_PACKETS: Final = 2
"""Growth for one acknowledgement, of which there is one for two packets (RFC 3465 §2.2)."""


class CongestionControl:
    """The congestion window, in bytes of user data."""

    def __init__(self, packet: int) -> None:
        self._packet = packet
        self.window = _INITIAL_PACKETS * packet
        self._threshold: float = float("inf")
        self._partial = 0
        self._recovery_exit: int | None = None

    @property
    def is_recovering(self) -> bool:
        """Whether a loss found by fast retransmission is being mended."""
        return self._recovery_exit is not None

    @property
    def burst(self) -> int:
        """Bytes that may be put on the line at once (RFC 9260 §6.1)."""
        return _INITIAL_PACKETS * self._packet

    def acknowledge(self, length: int, *, cumulative_tsn: int, is_advanced: bool, was_full: bool) -> None:
        """Learn that bytes have arrived, where the cumulative point is and whether it has moved.

        Args:
            length: Bytes newly acknowledged.
            cumulative_tsn: The cumulative point, extended.
            is_advanced: Whether it has moved.
            was_full: Whether all that was allowed was under way; a window that is not used does not grow.
        """
        if self._recovery_exit is not None:
            if cumulative_tsn >= self._recovery_exit:
                self._recovery_exit = None
            return
        if not is_advanced or not was_full:
            return
        if self.window <= self._threshold:
            self.window += min(length, _SLOW_START_PACKETS * self._packet)
            return
        self._partial += length
        if self._partial >= self.window:
            self._partial -= self.window
            self.window += self._packet

    def lose(self, *, last_tsn: int) -> None:
        """Learn of a loss while later packets arrive: reduce, and recover until ``last_tsn`` is there."""
        self._recovery_exit = last_tsn
        self._reduce()
        self.window = int(self._threshold)

    def time_out(self) -> None:
        """Learn that nothing came back: begin again with one packet."""
        self._recovery_exit = None
        self._reduce()
        self.window = self._packet

    def _reduce(self) -> None:
        self._threshold = max(self.window // 2, _MIN_THRESHOLD_PACKETS * self._packet)
        self._partial = 0
