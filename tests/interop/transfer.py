"""An agent that says back every message, so that a client can compare what it gets with what it said."""

import voicegate


async def say_back(call: voicegate.Call) -> None:
    async for message in call.messages:
        await message.channel.send(message.data)
