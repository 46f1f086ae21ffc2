"""The user's voice on its way to a server: at its rate, some frames to a message, without holes."""

from collections import deque
from math import inf
from typing import Final, NamedTuple

from voicegate.agents.realtime.options import RealtimeOptions
from voicegate.audio import Resampler
from voicegate.audio.pcm import SAMPLE_BYTES
from voicegate.call import AudioFrame

__all__ = ["Batch", "VoiceUp"]

_SILENT_SECONDS: Final = 0.1
"""A client from which nothing has come for so long sends nothing: it is muted, or does not send silence."""

_FILLED_SECONDS: Final = 4.0
"""Of silence that a server hears then: enough for any to find that the user's turn is over."""

_FILL_SECONDS: Final = 0.1
"""Of silence in one message."""


class Batch(NamedTuple):
    """Samples for one message."""

    pcm: bytes
    position_ms: float
    """Where in the call they begin."""


class VoiceUp:
    """One call's voice.

    Drain rule: after each `hear` and `handle_timeout`, `poll` to None, then `wait_seconds`.
    """

    def __init__(self, options: RealtimeOptions) -> None:
        self.is_open_ended = True
        """Whether the server finds out for itself when the user's turn is over."""
        self.was_open = False
        """Whether there was a server to hear it."""
        self._rate = options.input_rate
        self._source_rate = options.output_rate
        self._resampler = Resampler(options.output_rate, options.input_rate)
        self._batch_bytes = options.input_rate * options.batch_ms // 1000 * SAMPLE_BYTES
        self._pending = bytearray()
        self._position_ms = 0.0
        """Of the end of what is pending."""
        self._heard_at = -inf
        self._filled = _FILLED_SECONDS
        self._batches: deque[Batch] = deque()

    def hear(self, frame: AudioFrame, *, now: float) -> None:
        """Take a frame."""
        self._heard_at = now
        self._filled = 0.0
        pcm = self._resampler.process(frame.pcm)
        length = len(frame.pcm) // SAMPLE_BYTES
        self._position_ms = (frame.position + length) * 1000 / frame.sample_rate
        self._add(pcm)

    def handle_timeout(self, *, now: float) -> None:
        """Go on with silence, or give what is pending if the server waits for none."""
        if not self.is_open_ended:
            self._filled = _FILLED_SECONDS
            self._flush()
            return
        self._filled += _FILL_SECONDS
        self._heard_at = now
        self._position_ms += _FILL_SECONDS * 1000
        self._add(bytes(int(self._rate * _FILL_SECONDS) * SAMPLE_BYTES))

    def wait_seconds(self, *, now: float) -> float:
        """Return how long to wait for a frame until `handle_timeout`."""
        if self._filled >= _FILLED_SECONDS:
            return inf
        return max(0.0, self._heard_at + _SILENT_SECONDS - now)

    def poll(self) -> Batch | None:
        """Return what goes into the next message."""
        return self._batches.popleft() if self._batches else None

    def _add(self, pcm: bytes) -> None:
        self._pending += pcm
        if len(self._pending) >= self._batch_bytes:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            length_ms = len(self._pending) * 1000 / (SAMPLE_BYTES * self._rate)
            self._batches.append(Batch(bytes(self._pending), self._position_ms - length_ms))
            self._pending.clear()
