"""Says everything back at once: the shortest agent, and a measure of the delay that voicegate itself adds."""

from voicegate.call import Call

__all__ = ["echo"]


async def echo(call: Call) -> None:
    """Return each frame as it comes, until the call ends."""
    async for frame in call.audio_in:
        call.audio_out.send_nowait(frame.pcm)
