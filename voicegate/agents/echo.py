"""Says everything back at once: the shortest agent, and a measure of the delay that voicegate itself adds."""

from typing import Final

from voicegate.call import Call

__all__ = ["echo"]

_AHEAD_MS: Final = 80
"""When so much is queued, a frame is left out: else one stall would delay all that follows, for ever.

Frames come and go on two clocks, so that one or two are often queued without any stall."""


async def echo(call: Call) -> None:
    """Return each frame as it comes, until the call ends."""
    async for frame in call.audio_in:
        if call.audio_out.queued_ms < _AHEAD_MS:
            call.audio_out.send_nowait(frame.pcm)
