"""Says everything back, decoded and encoded again: what a call costs whose agent wants samples."""

from typing import Final

import trio

from voicegate.call import AudioFrame, AudioOutput, Call, EncodedFrame

__all__ = ["transcode"]

_AHEAD_MS: Final = 80
"""When so much is queued, a frame is left out: else one stall would delay all that follows, for ever.

Frames come and go on two clocks, so that one or two are often queued without any stall."""

_SPARE_MS: Final = 40
"""What has been queued for a whole window without being needed is left out, frame by frame."""

_WINDOW: Final = 50
"""Frames: a second of them."""


async def transcode(call: Call) -> None:
    """Return the samples of each frame as they come, until the call ends."""
    call.listen(_Loop(call.audio_out))
    await trio.sleep_forever()


class _Loop:
    is_encoded: Final = False

    def __init__(self, output: AudioOutput) -> None:
        self._output = output
        self._least = _AHEAD_MS
        self._until = _WINDOW

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        if not isinstance(frame, AudioFrame):
            return
        queued = self._output.queued_ms
        self._least = min(self._least, queued)
        self._until -= 1
        is_spare = not self._until and self._least >= _SPARE_MS
        if not self._until:
            self._least, self._until = _AHEAD_MS, _WINDOW
        if queued < _AHEAD_MS and not is_spare:
            self._output.send_nowait(frame.pcm)
