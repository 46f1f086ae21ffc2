"""What agents that block, raise, flood or never read do to the calls beside them: how late frames leave.

All agents of a server share the one process that `voicegate serve --agent` gives them. In it the first call
has an agent that behaves as told, the others say back what they hear, sample by sample. How late each frame
was is what the server itself reports, by bucket: half a millisecond, one, two, three, five.
"""

import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import count

import httpx2
import trio

from bench.child import open_child, serve_calls
from tests.harness import make_client
from voicegate.call import Call
from voicegate.observability import configure_logging
from voicegate.testing.phone import open_phone
from voicegate.testing.sound import speech_like

CALLS = 20
SECONDS = 15.0

FLOOD_SECONDS = 600

_calls = count()


async def echo(call: Call) -> None:
    """Say back what is heard."""
    async for frame in call.audio_in:
        call.audio_out.send_nowait(frame.pcm)


async def block(_call: Call) -> None:
    """Stop the whole process for 200 ms of every second."""
    while True:
        time.sleep(0.2)  # noqa: ASYNC251 - that is the point
        await trio.sleep(0.8)


async def fail(call: Call) -> None:
    """Raise as soon as something is heard."""
    await call.audio_in.receive()
    raise RuntimeError("as it was told")


async def flood(call: Call) -> None:
    """Send ten minutes of audio at once."""
    call.audio_out.send_nowait(speech_like(1.0).pcm * FLOOD_SECONDS)
    await trio.sleep_forever()


async def ignore(_call: Call) -> None:
    """Never read anything."""
    await trio.sleep_forever()


BEHAVIOURS: dict[str, Callable[[Call], Awaitable[None]]] = {
    "echoes": echo,
    "blocks": block,
    "raises": fail,
    "floods": flood,
    "never reads": ignore,
}


async def agent(call: Call) -> None:
    """Misbehave in the first call, and say back what is heard in all others."""
    await (echo if next(_calls) else BEHAVIOURS[os.environ["BEHAVIOUR"]])(call)


async def serve() -> None:
    await serve_calls(agent="bench.misbehaviour:agent")


async def measure(behaviour: str, calls: int) -> dict[str, float]:
    """Return how late the frames of the calls beside a misbehaving one left, the worst of each figure."""
    os.environ["BEHAVIOUR"] = behaviour
    voice = speech_like(SECONDS + 5).pcm
    async with open_child("bench.misbehaviour") as server, AsyncExitStack() as stack:
        url = (await server.read())["url"]
        phones = []
        for _ in range(calls + 1):
            phone = await stack.enter_async_context(open_phone(url, make_client()))
            await phone.wait_connected()
            phone.say(voice)
            phones.append(phone)
        await trio.sleep(SECONDS)
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
            ids = [phone.call_id for phone in phones[1:]]
            described = [(await http.get(f"/v1/sessions/{each}")).json() for each in ids]
    late = [each["lateness_ms"] for each in described if each["state"] == "connected"]
    worst = {figure: max(each[figure] for each in late) for figure in ("p50", "p99", "max")}
    return {"calls": len(late), **worst}


def main(calls: int = CALLS) -> dict[str, dict[str, float]]:
    print(f"{'the agent beside':18}{'calls':>7}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    figures = {}
    for behaviour in BEHAVIOURS:
        figures[behaviour] = of = trio.run(measure, behaviour, calls)
        print(f"{behaviour:18}{of['calls']:7}{of['p50']:9.1f}{of['p99']:9.1f}{of['max']:9.1f}", flush=True)
    return figures


if __name__ == "__main__":
    configure_logging(level="critical")
    if sys.argv[1:] == ["serve"]:
        trio.run(serve)
    else:
        main(*map(int, sys.argv[1:]))
