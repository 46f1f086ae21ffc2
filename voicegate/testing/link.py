"""A link between two cores under virtual time, with the faults of a real network and a seed to repeat them.

Layer: core (sans-IO).
"""

import heapq
from itertools import count
from random import Random  # noqa: TID251 - seeded: a failing run can be repeated

import attrs

__all__ = ["Link"]


@attrs.define(kw_only=True)
class Link:
    """One direction: datagrams go in, and come out later, or not, or twice, or out of order."""

    delay: float = 0.02
    """Seconds one way."""
    jitter: float = 0.0
    """Seconds at most on top, which is also what reorders."""
    loss: float = 0.0
    """Probability that a datagram is lost."""
    duplication: float = 0.0
    """Probability that a datagram arrives twice."""
    mtu: int = 1500
    """Bytes; what is longer is lost."""
    seed: int = 0
    _random: Random = attrs.field(init=False)
    _flying: list[tuple[float, int, bytes]] = attrs.field(init=False, factory=list)
    _order: "count[int]" = attrs.field(init=False, factory=count)

    def __attrs_post_init__(self) -> None:
        self._random = Random(self.seed)  # noqa: S311 - faults, not secrets

    def send(self, data: bytes, *, now: float) -> None:
        """Put a datagram on the link."""
        copies = 1 + (self._random.random() < self.duplication)
        for _ in range(copies):
            if len(data) <= self.mtu and self._random.random() >= self.loss:
                arrival = now + self.delay + self._random.random() * self.jitter
                heapq.heappush(self._flying, (arrival, next(self._order), data))

    def receive(self, *, now: float) -> list[bytes]:
        """Take what has arrived."""
        arrived = []
        while self._flying and self._flying[0][0] <= now:
            arrived.append(heapq.heappop(self._flying)[2])
        return arrived

    def poll_timeout(self) -> float | None:
        """Return when the next datagram arrives."""
        return self._flying[0][0] if self._flying else None
