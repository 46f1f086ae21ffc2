"""Says everything back, decoded and encoded again: what a call costs whose agent wants samples."""

from typing import Final

import trio

from voicegate.call import AudioFrame, AudioOutput, Call, EncodedFrame

__all__ = ["transcode"]

_AHEAD_MS: Final = 80
"""When so much is queued, a frame is left out: else one stall would delay all that follows, for ever.

Frames come and go on two clocks, so that one or two are often queued without any stall."""


async def transcode(call: Call) -> None:
    """Return the samples of each frame as they come, until the call ends."""
    call.listen(_Loop(call.audio_out))
    await trio.sleep_forever()


class _Loop:
    is_encoded: Final = False

    def __init__(self, output: AudioOutput) -> None:
        self._output = output

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        if isinstance(frame, AudioFrame) and self._output.queued_ms < _AHEAD_MS:
            self._output.send_nowait(frame.pcm)
