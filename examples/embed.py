"""Serve calls from inside your own Trio program, with your own agent.

    python examples/embed.py        # then open the printed address and talk

`agent` gets one `Call`: 20 ms frames of 16-bit mono PCM in, bytes of the same out. Returning hangs up.
"""

import math
import sys
from array import array
from functools import partial

import trio

import voicegate


async def agent(call: voicegate.Call) -> None:
    """Greet with two notes, then say everything back a second later."""
    notes = (tone(frequency, seconds=0.15, sample_rate=call.sample_rate) for frequency in (660, 880))
    await call.say(b"".join(notes), transcript="Hello!")
    call.audio_out.send_nowait(bytes(2 * call.sample_rate))
    async for frame in call.audio_in:
        call.audio_out.send_nowait(frame.pcm)


def tone(frequency: float, *, seconds: float, sample_rate: int) -> bytes:
    """Make a sine of a quarter of full scale."""
    turn = 2 * math.pi * frequency / sample_rate
    return array("h", (int(8000 * math.sin(turn * n)) for n in range(int(seconds * sample_rate)))).tobytes()


async def main(http: str = "127.0.0.1:8080", udp: str = "127.0.0.1:3478") -> None:
    """Serve until Ctrl-C, beside whatever else your program does in this nursery."""
    async with trio.open_nursery() as nursery:
        config = voicegate.Config(http=http, udp=udp)
        server: voicegate.Server = await nursery.start(partial(voicegate.serve, agent, config))
        print(f"open {server.url}", flush=True)


if __name__ == "__main__":
    try:
        trio.run(partial(main, **dict(zip(("http", "udp"), sys.argv[1:], strict=False))))
    except* KeyboardInterrupt:
        pass
