"""What came back of some speech: how good it sounds, and how late it is.

The speech is taken apart at its pauses, and each part is looked for in what was heard: a server may make a
pause shorter, to be in time again, and nobody minds. What is found is scored against the original by
zimtohrli, a model of hearing that gives a mean opinion score from 1 to 5.
"""

import math
from collections.abc import Sequence
from importlib.resources import files
from importlib.util import find_spec
from typing import Final, NamedTuple

import attrs
import numpy as np
import soxr
from numpy.typing import NDArray

from voicegate.audio.opus import OpusDecoder
from voicegate.audio.opus_packet import CLOCK_RATE
from voicegate.audio.pcm import SAMPLE_BYTES
from voicegate.errors import UsageError
from voicegate.testing.sound import Sound, correlate

__all__ = ["Arrival", "Heard", "Part", "Score", "find_parts", "read_speech", "require_zimtohrli", "score"]

_PAUSE_SECONDS: Final = 0.1
_LEAST_SECONDS: Final = 0.25
"""Shorter parts would be found by chance anywhere."""
_LOUDNESS: Final = 0.01
"""Of a speaking voice at least; the speech peaks at 0.5."""
_STEP: Final = CLOCK_RATE // 100

_EARLIEST: Final = 0.1
_LATEST: Final = 1.2
"""Seconds in which a part is looked for, around the moment it was said."""
_LIKENESS: Final = 0.25
"""Below this, a part was not found: what is heard at its time is scored, whatever it is."""
_WORST: Final = 1.0
_LONGEST_GAP: Final = 2 * CLOCK_RATE
_CONCEALABLE: Final = CLOCK_RATE * 60 // 1000


class Arrival(NamedTuple):
    """A packet that came back."""

    at: float
    timestamp: int
    payload: bytes


class Part(NamedTuple):
    """A part of the speech, in samples."""

    start: int
    stop: int


@attrs.frozen(kw_only=True)
class Score:
    """How a call sounded."""

    opinion: float
    """From 1, bad, to 5, the same."""
    delays: Sequence[float | None]
    """Of each part, in seconds from said to heard; None: not found."""


def require_zimtohrli() -> None:
    """See that speech can be scored.

    Errors: UsageError, saying what to install.
    """
    if find_spec("zimtohrli") is None:
        raise UsageError("zimtohrli is missing: pip install 'voicegate-server[bench]'")


def read_speech() -> Sound:
    """Return 8.3 seconds: two sentences, said by two synthetic voices (flite's slt and rms), at 48 kHz."""
    sound = Sound.decode(files("voicegate.bench").joinpath("speech.wav").read_bytes())
    return Sound(soxr.resample(sound.samples, sound.rate, CLOCK_RATE), rate=CLOCK_RATE)


def find_parts(speech: Sound, *, longest: float = math.inf) -> list[Part]:
    """Take speech apart at its pauses, and what is longer than so many seconds into equal pieces."""
    steps = speech.samples[: len(speech.samples) // _STEP * _STEP].reshape(-1, _STEP)
    parts: list[Part] = []
    for step in np.flatnonzero(np.abs(steps).max(axis=1) > _LOUDNESS).tolist():
        start, stop = step * _STEP, (step + 1) * _STEP
        if parts and start - parts[-1].stop < _PAUSE_SECONDS * CLOCK_RATE:
            parts[-1] = Part(parts[-1].start, stop)
        else:
            parts.append(Part(start, stop))
    pieces: list[Part] = []
    for start, stop in parts:
        count = math.ceil((stop - start) / CLOCK_RATE / longest) or 1
        edges = [start + (stop - start) * index // count for index in range(count + 1)]
        pieces += map(Part, edges, edges[1:])
    return [part for part in pieces if part.stop - part.start >= _LEAST_SECONDS * CLOCK_RATE]


class Heard:
    """All that came back in a call, put together by its timestamps, as by a client that is never late."""

    def __init__(self, arrivals: Sequence[Arrival]) -> None:
        decoder = OpusDecoder()
        pcm = bytearray()
        self._arrived_at: list[float] = []
        self._starts: list[int] = []
        expected: int | None = None
        for arrival in _in_order(arrivals):
            gap = 0 if expected is None else (arrival.timestamp - expected) & 0xFFFFFFFF
            if gap > _LONGEST_GAP:  # so far ahead is behind: it came twice
                continue
            while gap > 0:
                samples = min(gap, _CONCEALABLE) // 120 * 120 or gap
                pcm += decoder.conceal(samples) if samples % 120 == 0 else bytes(samples * SAMPLE_BYTES)
                gap -= samples
            self._starts.append(len(pcm) // SAMPLE_BYTES)
            self._arrived_at.append(arrival.at)
            decoded = decoder.decode(arrival.payload)
            pcm += decoded
            expected = (arrival.timestamp + len(decoded) // SAMPLE_BYTES) & 0xFFFFFFFF
        self.sound = Sound.from_pcm(bytes(pcm), rate=CLOCK_RATE)
        ready_at = np.array(self._arrived_at) - np.array(self._starts) / CLOCK_RATE
        # What a client has to wait on top of the fastest packet to play 95 % in time.
        self.lateness = float(np.percentile(ready_at - ready_at.min(), 95)) if len(ready_at) else 0.0

    def find(self, spoken: Sound, at: float) -> tuple[int, float | None]:
        """Find what was said at a moment: its first sample here, and how much later it was heard.

        The delay is None when nothing is like it; then it is as if it had been heard at once.
        """
        first, last = self._position(at - _EARLIEST), self._position(at + _LATEST)
        place = Sound(self.sound.samples[first : last + len(spoken.samples)], rate=CLOCK_RATE)
        if len(place.samples) > len(spoken.samples):
            match = correlate(spoken, place)
            if match.peak > _LIKENESS:
                start = first + round(match.lag * CLOCK_RATE)
                return start, self._arrived_at_sample(start) - at
        return self._position(at), None

    def delays(self, speech: Sound, parts: Sequence[Part], said_at: Sequence[float]) -> list[float | None]:
        """Return how much later each part was heard than said; None for those that are not found."""
        return [
            self.find(Sound(speech.samples[part.start : part.stop], rate=CLOCK_RATE), at)[1]
            for part, at in zip(parts, said_at, strict=True)
        ]

    def _position(self, at: float) -> int:
        """Return which sample was the last to arrive by a moment."""
        index = int(np.searchsorted(self._arrived_at, at, side="right")) - 1
        return self._starts[max(0, index)]

    def _arrived_at_sample(self, position: int) -> float:
        index = int(np.searchsorted(self._starts, position, side="right")) - 1
        return self._arrived_at[max(0, index)]


def score(speech: Sound, parts: Sequence[Part], said_at: Sequence[float], heard: Heard) -> Score:
    """Compare what was heard with parts of the speech, of which each was said at its time."""
    if not heard.sound.samples.any():
        return Score(opinion=_WORST, delays=[None] * len(parts))
    delays: list[float | None] = []
    found: list[NDArray[np.float32]] = []
    for part, at in zip(parts, said_at, strict=True):
        spoken = Sound(speech.samples[part.start : part.stop], rate=CLOCK_RATE)
        start, delay = heard.find(spoken, at)
        delays.append(delay)
        excerpt = heard.sound.samples[start : start + len(spoken.samples)]
        found.append(np.pad(excerpt, (0, len(spoken.samples) - len(excerpt))))
    original = np.concatenate([speech.samples[part.start : part.stop] for part in parts])
    return Score(opinion=_opinion(original, np.concatenate(found)), delays=delays)


def _opinion(original: NDArray[np.float32], heard: NDArray[np.float32]) -> float:
    import zimtohrli

    return float(zimtohrli.mos_from_signals(original, heard))


def _in_order(arrivals: Sequence[Arrival]) -> list[Arrival]:
    if not arrivals:
        return []
    first = arrivals[0].timestamp - (1 << 31)
    return sorted(arrivals, key=lambda arrival: (arrival.timestamp - first) & 0xFFFFFFFF)
