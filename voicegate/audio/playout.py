"""The output queue of a call: speech comes in bursts, and goes out one 20 ms frame per slot.

There is no clock here: whoever keeps the time calls `PlayoutQueue.pull` once per slot.
"""

from typing import Final

from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES, fade_out
from voicegate.errors import UsageError

__all__ = ["PlayoutQueue"]

CAPACITY_SECONDS: Final = 60.0
"""Synthetic speech comes faster than it is spoken; a minute of it is a long answer, and 5.8 MB at 48 kHz."""

FADES_PER_SECOND: Final = 200
"""An interruption fades out over 5 ms: too short to be heard as sound, too long to be heard as a click."""


class PlayoutQueue:
    """Samples in order of arrival; each is played, dropped by overflow, or dropped by `clear`, exactly once.

    Args:
        sample_rate: samples per second, a multiple of 200.
        capacity_seconds: how much may be queued.
    """

    __slots__ = (
        "_capacity_bytes",
        "_dropped_bytes",
        "_fade",
        "_fade_bytes",
        "_frame_bytes",
        "_is_sounding",
        "_played_bytes",
        "_queue",
    )

    def __init__(self, *, sample_rate: int, capacity_seconds: float = CAPACITY_SECONDS) -> None:
        self._frame_bytes = sample_rate // FRAMES_PER_SECOND * SAMPLE_BYTES
        self._fade_bytes = sample_rate // FADES_PER_SECOND * SAMPLE_BYTES
        self._capacity_bytes = int(sample_rate * capacity_seconds) * SAMPLE_BYTES
        # CPython drops the front of a bytearray by moving its start: a frame taken is all that is copied.
        self._queue = bytearray()
        self._fade = b""
        self._is_sounding = False
        self._played_bytes = 0
        self._dropped_bytes = 0

    @property
    def queued_samples(self) -> int:
        """Samples that wait."""
        return len(self._queue) // SAMPLE_BYTES

    @property
    def played_samples(self) -> int:
        """Samples pulled so far; neither padding nor a fade-out counts."""
        return self._played_bytes // SAMPLE_BYTES

    @property
    def dropped_samples(self) -> int:
        """Samples lost to overflow so far."""
        return self._dropped_bytes // SAMPLE_BYTES

    def has_room(self, samples: int) -> bool:
        """Tell whether so many samples can be pushed without dropping any."""
        return len(self._queue) + samples * SAMPLE_BYTES <= self._capacity_bytes

    def push(self, pcm: bytes) -> None:
        """Queue any number of samples; past the capacity the oldest are dropped and counted.

        Errors: UsageError when the last sample is incomplete.
        """
        if len(pcm) % SAMPLE_BYTES:
            raise UsageError(f"{len(pcm)} bytes of PCM end within a sample")
        self._queue += pcm
        overflow = len(self._queue) - self._capacity_bytes
        if overflow > 0:
            del self._queue[:overflow]
            self._dropped_bytes += overflow

    def pull(self) -> bytes | None:
        """Return the next frame, filled up with silence when it is the last; None when there is nothing."""
        fade = self._fade
        wanted = self._frame_bytes - len(fade)
        pcm = bytes(self._queue[:wanted])
        self._is_sounding = len(pcm) == wanted
        if not pcm and not fade:
            return None
        del self._queue[:wanted]
        self._played_bytes += len(pcm)
        self._fade = b""
        return (fade + pcm).ljust(self._frame_bytes, b"\0")

    def clear(self) -> int:
        """Fall silent now; return how many samples will never be played.

        If the last frame did not end in silence, the next one begins with 5 ms in which the sound dies away;
        what is pushed from now on follows right behind.
        """
        dropped = self.queued_samples
        if self._is_sounding and not self._fade:
            self._fade = fade_out(bytes(self._queue[: self._fade_bytes]))
        self._queue.clear()
        return dropped
