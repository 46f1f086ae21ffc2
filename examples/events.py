"""Talk and send events beside the voice: JSON over the call's data channel, both ways.

    voicegate serve --agent examples.events:agent

The page lists what arrives. In its console, `voicegate.channel.send('{"type": "beep"}')` makes it beep.
"""

import json
import math
from array import array

import trio

import voicegate
from voicegate import SpeechStarted, SpeechStopped, TurnEnded


async def agent(call: voicegate.Call) -> None:
    """Say hello, tell when the user speaks, and beep when asked to."""
    await call.send(json.dumps({"type": "hello", "sample_rate": call.sample_rate}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell_speech, call)
        async for message in call.messages:
            try:
                kind = json.loads(message.data)["type"]
            except (ValueError, TypeError, LookupError):
                await message.channel.send(
                    '{"type": "error", "message": "a JSON object with a type, please"}'
                )
                continue
            if kind == "beep":
                call.audio_out.send_nowait(beep(call.sample_rate))
                await call.audio_out.drain()
                await message.channel.send('{"type": "beeped"}')


async def tell_speech(call: voicegate.Call) -> None:
    """Turn the user's voice into events."""
    call.detect_speech()
    async for event in call.events:
        match event:
            case SpeechStarted(position_ms=ms):
                await call.send(json.dumps({"type": "speech_started", "at_ms": ms}))
            case SpeechStopped(position_ms=ms):
                await call.send(json.dumps({"type": "speech_stopped", "at_ms": ms}))
            case TurnEnded(position_ms=ms):
                await call.send(json.dumps({"type": "turn_ended", "at_ms": ms}))
            case _:
                pass


def beep(sample_rate: int) -> bytes:
    """Make a tenth of a second of 880 Hz."""
    turn = 2 * math.pi * 880 / sample_rate
    return array("h", (int(8000 * math.sin(turn * n)) for n in range(sample_rate // 10))).tobytes()
