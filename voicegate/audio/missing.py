"""Packets that have not come, and when to ask for them again (generic NACK, RFC 4585 §6.2.1)."""

from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Final

__all__ = ["MissingPackets"]

MAX_MISSING: Final = 32
"""Numbers kept, the latest: more packets than the longest delay has room for, if they have 10 ms or more."""

MAX_ASKED: Final = 3 * MAX_MISSING
"""Numbers asked for that are remembered, to know an answer by."""

MAX_ASKS: Final = 3
"""How often one packet is asked for."""

_MIN_INTERVAL: Final = 0.020
"""Between two requests for the same packet, where the round trip is shorter."""


class _Missing:
    __slots__ = ("ask_at", "asks", "found_at")

    def __init__(self, found_at: float) -> None:
        self.found_at = self.ask_at = found_at
        self.asks = 0


class MissingPackets:
    """Sequence numbers (16 bits) of one stream that somebody may still send again."""

    def __init__(self) -> None:
        self._missing: dict[int, _Missing] = {}
        self._asked: deque[int] = deque(maxlen=MAX_ASKED)

    def __len__(self) -> int:
        return len(self._missing)

    def update(self, numbers: Sequence[int], *, now: float) -> None:
        """Take note of what is missing now, in order; the rest has come, or has been given up."""
        known = self._missing
        self._missing = {number: known.get(number) or _Missing(now) for number in numbers[-MAX_MISSING:]}

    def was_asked_for(self, number: int) -> bool:
        """Return whether a packet that comes has lately been asked for."""
        return number in self._asked

    def clear(self) -> None:
        """Forget all, for another stream."""
        self._missing.clear()
        self._asked.clear()

    def ask(self, *, now: float, round_trip: float, patience: float) -> tuple[int, ...]:
        """Return what to ask for now.

        Args:
            now: the time.
            round_trip: how long an answer takes.
            patience: how long after it was found missing a packet is still of use.
        """
        asked = []
        for number, missing in self._missing.items():
            if missing.ask_at > now:
                continue
            if missing.asks < MAX_ASKS and now + round_trip <= missing.found_at + patience:
                missing.asks += 1
                missing.ask_at = now + max(round_trip, _MIN_INTERVAL)
                asked.append(number)
                self._asked.append(number)
            else:
                missing.ask_at = inf
        return tuple(asked)

    def poll_timeout(self) -> float | None:
        """Return when `ask` may have something to say next."""
        return min(
            (missing.ask_at for missing in self._missing.values() if missing.ask_at < inf), default=None
        )
