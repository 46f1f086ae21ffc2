"""Decoded audio, of whatever packet time, cut into frames of 20 ms: where each lies, and what was made up."""

from array import array
from collections import deque
from typing import Final, NamedTuple

from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES, audioop

__all__ = ["Cut", "FrameCutter", "Quietness", "blend"]

_BLEND_PER_SECOND: Final = 200
"""Where a frame is left out, what lies around it is blended over 5 ms."""

_ALWAYS_QUIET: Final = 60.0
"""Root mean square, -55 dBFS: nobody speaks that softly."""
_QUIET_BELOW_LOUD: Final = 1 / 16
"""24 dB below the loudest lately there is no speech that would be missed."""
_LOUD_FALL: Final = 0.5 ** (1 / (4 * FRAMES_PER_SECOND))
"""The loudest lately falls by half in four seconds."""
_NOISE_RISE: Final = 10 ** (3 / 20 / FRAMES_PER_SECOND)
"""The background is the softest lately: it falls at once and rises by 3 dB a second."""
_QUIET_OVER_NOISE: Final = 1.5
_NOISE_BELOW_LOUD: Final = 1 / 3
"""Background is at least 10 dB below the loudest, or it is a tone or music."""


class Cut(NamedTuple):
    """A frame of 20 ms."""

    pcm: bytes
    position: int
    """Of its first sample, in samples."""
    made_up: int
    """How many of its samples nobody has sent."""


class FrameCutter:
    """Collects samples and gives them back by the frame."""

    def __init__(self, sample_rate: int) -> None:
        self._frame_bytes = sample_rate // FRAMES_PER_SECOND * SAMPLE_BYTES
        self._pcm = b""
        self._position = 0
        self._inserted = 0
        self._made_up: deque[tuple[int, int]] = deque()

    def use_rate(self, sample_rate: int) -> None:
        """Go on at another sample rate; what is here is thrown away."""
        frame_bytes = sample_rate // FRAMES_PER_SECOND * SAMPLE_BYTES
        self.skip_to(self.position * frame_bytes // self._frame_bytes)
        self._frame_bytes = frame_bytes

    @property
    def lacking(self) -> int:
        """Samples that are lacking for a frame; 0 or less when there is one."""
        return (self._frame_bytes - len(self._pcm)) // SAMPLE_BYTES

    @property
    def length(self) -> int:
        """Samples that are here."""
        return len(self._pcm) // SAMPLE_BYTES

    @property
    def position(self) -> int:
        """Of the sample that comes next."""
        return self._position + (len(self._pcm) - self._inserted) // SAMPLE_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether all samples have come out in frames."""
        return not self._pcm

    def push(self, pcm: bytes, *, is_made_up: bool = False) -> None:
        """Take samples that lie right behind those before."""
        start = len(self._pcm)
        self._pcm += pcm
        if is_made_up:
            self._made_up.append((start, len(self._pcm)))

    def insert(self, pcm: bytes) -> None:
        """Fill a frame up with samples that have no place on the client's clock."""
        self.push(pcm, is_made_up=True)
        self._inserted += len(pcm)

    def pause(self, position: int) -> bool:
        """Leave out the silence before a position; False when a frame has to be taken first.

        A frame begun is filled up with silence.
        """
        silence = max(0, position - self.position)
        if not self._pcm:
            self._position += silence
            return True
        filled = min(silence, self.lacking)
        self.push(bytes(filled * SAMPLE_BYTES))
        return filled == silence

    def skip_to(self, position: int) -> None:
        """Throw away what is here; what comes next lies at a position."""
        self._pcm = b""
        self._made_up.clear()
        self._inserted = 0
        self._position = position

    def pop(self) -> Cut | None:
        """Return the next frame, if it is complete."""
        return self.cut() if len(self._pcm) >= self._frame_bytes else None

    def cut(self) -> Cut:
        """Return the next frame, which has to be complete."""
        size, pcm = self._frame_bytes, self._pcm
        made_up = self._pop_made_up(size) if self._made_up else 0
        cut = Cut(pcm[:size], self._position, made_up // SAMPLE_BYTES)
        self._pcm = pcm[size:]
        self._position += (size - self._inserted) // SAMPLE_BYTES
        self._inserted = 0
        return cut

    def _pop_made_up(self, size: int) -> int:
        """Return how many bytes of the next frame are made up, and move what is behind it up."""
        ranges = self._made_up
        self._made_up = deque((max(0, start - size), end - size) for start, end in ranges if end > size)
        return sum(min(end, size) - start for start, end in ranges if start < size)


class Quietness:
    """Tells frames that may be left out or repeated: pauses, and the background between words."""

    def __init__(self) -> None:
        self._loud = 0.0
        self._noise = _ALWAYS_QUIET

    def is_quiet(self, pcm: bytes) -> bool:
        """Return whether the next frame is quiet; each frame has to be shown once."""
        level = audioop.rms(pcm, SAMPLE_BYTES)
        self._loud = max(level, self._loud * _LOUD_FALL)
        self._noise = max(_ALWAYS_QUIET, min(level, self._noise * _NOISE_RISE))
        if level < max(_ALWAYS_QUIET, self._loud * _QUIET_BELOW_LOUD):
            return True
        return level < self._noise * _QUIET_OVER_NOISE and self._noise < self._loud * _NOISE_BELOW_LOUD


def blend(left_out: bytes, after: bytes, *, sample_rate: int) -> bytes:
    """Let a frame begin like the one left out before it, so that it joins on to what was heard last."""
    old, new = memoryview(left_out).cast("h"), memoryview(after).cast("h")
    length = sample_rate // _BLEND_PER_SECOND
    mixed = [(old[index] * (length - index) + new[index] * index) // length for index in range(length)]
    return array("h", mixed).tobytes() + after[length * SAMPLE_BYTES :]
