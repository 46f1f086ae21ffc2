"""How far behind schedule frames leave: counts by bucket, cheap enough for every frame of every call."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["BOUNDS_MS", "Lateness"]

BOUNDS_MS: Final = (0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 15, 20, 50, 100, 200, 500)
"""Upper bounds of the buckets, in milliseconds; above the last is one more."""

_BOUNDS: Final = tuple(bound / 1000 for bound in BOUNDS_MS)


class Lateness:
    """A histogram of one call's frames, or of all."""

    __slots__ = ("_bucket", "_counts", "_run", "longest", "total")

    def __init__(self) -> None:
        self.longest = 0.0
        """Seconds."""
        self.total = 0.0
        """Seconds of all frames together."""
        self._bucket = self._run = 0
        """The last bucket, and how many frames in a row were in it: they are not in `_counts` yet."""
        self._counts = [0] * (len(_BOUNDS) + 1)

    def reset(self) -> None:
        """Forget all, as when what came before was set-up."""
        self._counts = [0] * len(self._counts)
        self._run = 0
        self.longest = self.total = 0.0

    @property
    def counts(self) -> Sequence[int]:
        """Frames by bucket."""
        self._counts[self._bucket] += self._run
        self._run = 0
        return self._counts

    @staticmethod
    def bucket(seconds: float) -> int:
        """Return which bucket a lateness belongs to; frames that leave together need ask only once."""
        return bisect_left(_BOUNDS, seconds)

    def note(self, seconds: float, bucket: int, *, frames: int = 1) -> None:
        """Count frames that left so late."""
        if bucket != self._bucket:
            self._counts[self._bucket] += self._run
            self._bucket, self._run = bucket, 0
        self._run += frames
        self.total += seconds * frames
        if frames and seconds > self.longest:
            self.longest = seconds

    def quantile_ms(self, part: float) -> float:
        """Return the bound that so many of the frames (0 to 1) did not exceed, in milliseconds."""
        counts = self.counts
        wanted = part * sum(counts)
        seen = 0
        for bound, count in zip(BOUNDS_MS, counts, strict=False):
            seen += count
            if seen >= wanted:
                return min(bound, self.longest * 1000)
        return self.longest * 1000

    def describe(self) -> Mapping[str, float]:
        """Return what people ask for, in milliseconds."""
        figures = {"p50": self.quantile_ms(0.5), "p99": self.quantile_ms(0.99), "max": self.longest * 1000}
        return {name: round(ms, 3) for name, ms in figures.items()}
