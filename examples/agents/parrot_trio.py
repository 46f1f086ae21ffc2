"""An agent in a server of its own, with voicegate's library: says back what you said, stops when you talk.

    python examples/agents/parrot_trio.py &
    voicegate serve --agent ws://127.0.0.1:8765/

The same function would run inside voicegate: ``voicegate serve --agent parrot_trio:agent``.
"""

import os
import sys
from functools import partial

import trio

import voicegate
from voicegate.agents.link import serve_agent

PRE_ROLL_MS = 300


async def agent(call: voicegate.Call) -> None:
    """Have one call."""
    heard = bytearray()
    is_talking = False

    async def listen() -> None:
        async for frame in call.audio_in:
            heard.extend(frame.pcm)
            if not is_talking:  # Keep a little: speech is noticed when it has begun.
                del heard[: -PRE_ROLL_MS * 2 * call.sample_rate // 1000]

    call.detect_speech()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        async for event in call.events:
            match event:
                case voicegate.SpeechStarted():
                    is_talking = True
                case voicegate.TurnEnded():
                    is_talking = False
                    call.audio_out.send_nowait(bytes(heard))
                    heard.clear()
                case voicegate.Interrupted(interruption=interruption):
                    print(f"{call.id}: you heard {interruption.heard_ms} ms of it")
                case _:
                    pass


async def main(port: int) -> None:
    key = os.environ.get("VOICEGATE_LINK_KEY")
    async with trio.open_nursery() as nursery:
        port = await nursery.start(partial(serve_agent, agent, "127.0.0.1", port, key=key))
        print(f"ws://127.0.0.1:{port}/", flush=True)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if sys.argv[1:] else 8765)
