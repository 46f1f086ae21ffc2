"""An agent that says back every message, so that a client can compare what it gets with what it said."""

import voicegate
from tests.interop.process import run_module


async def say_back(_server: voicegate.Server, call: voicegate.Call) -> None:
    async for message in call.messages:
        await message.channel.send(message.data)


if __name__ == "__main__":
    run_module(say_back)
