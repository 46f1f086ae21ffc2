"""What a bad line does to a client's packets on their way to the server: loss, jitter, reordering.

Everything is drawn from a seed, so that each server gets the same line. Only RTP is impaired: set-up is what
`voicegate bench setup` measures.
"""

import math
from random import Random  # noqa: TID251 - seeded: the same line for all servers

import attrs

__all__ = ["Impairment", "ImpairedLine"]

_OVERTAKEN_SECONDS = 0.05
"""How much later a reordered packet comes: two or three others overtake it."""


@attrs.frozen(kw_only=True)
class Impairment:
    """A bad line, or a good one."""

    loss: float = 0.0
    """Share of packets that are lost."""
    burst: float = 1.0
    """How many are lost in a row, on average (Gilbert's model); 1: each by itself."""
    jitter: float = 0.0
    """Seconds at most by which a packet comes later, each by itself, but none overtakes another."""
    reorder: float = 0.0
    """Share of packets that others overtake."""
    drift: float = 0.0
    """How much faster than the server's the client's clock runs."""
    begins: float = 0.0
    """Seconds after the first packet when all this begins, but for the drift."""
    ends: float = math.inf


class ImpairedLine:
    """One call's way to the server."""

    def __init__(self, impairment: Impairment, *, seed: int) -> None:
        self._impairment = impairment
        self._random = Random(seed)  # noqa: S311 - faults, not secrets
        self._is_losing = False
        self._began_at: float | None = None
        self._latest = -math.inf

    def arrival(self, now: float) -> float | None:
        """Return when a packet arrives that is sent now; None: never."""
        impairment = self._impairment
        if self._began_at is None:
            self._began_at = now
        # As many draws for each packet, whatever happens to it.
        lose, delay, overtake = (self._random.random() for _ in range(3))
        if not impairment.begins <= now - self._began_at < impairment.ends:
            return max(now, self._latest)
        self._is_losing = lose < self._loss_probability()
        if self._is_losing:
            return None
        due = max(now + impairment.jitter * delay, self._latest)
        if overtake < impairment.reorder:
            return due + _OVERTAKEN_SECONDS
        self._latest = due
        return due

    def _loss_probability(self) -> float:
        """Return how likely the next packet is lost, which depends on what became of the last one."""
        loss, burst = self._impairment.loss, self._impairment.burst
        if burst <= 1 or not loss:
            return loss
        return 1 - 1 / burst if self._is_losing else loss / (burst * (1 - loss))
