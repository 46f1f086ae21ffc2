"""Says everything back at once: the shortest agent, and a measure of the delay that voicegate itself adds."""

import trio

from voicegate.call import Call

__all__ = ["echo"]


async def echo(call: Call) -> None:
    """Return each packet as it came, until the call ends."""
    call.loop_back()
    await trio.sleep_forever()
