"""How long a user who talks over the agent still hears it: from the detection of speech to silence.

The agent says a tone for ever and speech detection empties its output. Silence is measured at the end of a
client of our own, whose last packet that is not silent left the server a moment before, and in Chromium,
where what its speakers would play has fallen silent. All share the wall clock of one machine. A machine that
stalls makes both later, and Chromium's buffer longer for minutes; so a program that only sleeps tells
meanwhile how late it is woken.
"""

import json
import math
import os
import sys
import tempfile
import time
from array import array
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

import trio

from bench.child import Child, open_child, serve_calls
from tests.harness import make_client
from voicegate.bench.floor import Floor, FloorMeter, open_floor_meter, worst
from voicegate.call import Call, Interrupted, SpeechStopped
from voicegate.observability import configure_logging
from voicegate.testing.browser import open_browser
from voicegate.testing.phone import open_phone
from voicegate.testing.sound import Sound, silence, speech_like

TRIALS = 50
SPOKEN = 0.8
PAUSE = 1.6
"""Seconds that the user speaks, and is silent: longer than the detector needs to take the turn for over."""

SPARE = 5
"""Sentences more than trials, for what the browser needs to begin."""

LOUD = 2000
"""Of 32767: the tone is louder, what a fade leaves is not."""

SCRIPT = (Path(__file__).parent / "barge_in.js").read_text()


async def talk(call: Call) -> None:
    """Say a tone for ever; report when it is cut short, and begin again when the user is silent."""
    wave = call.sample_rate // 500
    second = (
        array("h", [round(12_000 * math.sin(2 * math.pi * n / wave)) for n in range(wave)]).tobytes() * 500
    )
    call.detect_speech(silence_ms=400, barge_in=True)
    call.audio_out.send_nowait(20 * second)
    async for event in call.events:
        match event:
            case Interrupted():
                print(json.dumps({"interrupted": time.time()}), flush=True)
            case SpeechStopped():
                call.audio_out.send_nowait(20 * second)
            case _:
                pass


async def serve() -> None:
    await serve_calls(talk)


async def interruptions(server: Child, times: list[float], trials: int) -> None:
    while len(times) < trials:
        times.append((await server.read())["interrupted"])


async def measure_socket(trials: int) -> list[float]:
    """Return seconds from each detection to the last packet that was not silent."""
    async with (
        open_child("bench.barge_in") as server,
        open_phone((await server.read())["url"], make_client(codec="PCMU")) as phone,
    ):
        await phone.wait_connected()
        loud: list[float] = []
        times: list[float] = []

        async def listen() -> None:
            """Note when a frame came that is not silent; G.711 keeps each frame to itself."""
            while True:
                await phone.wait_until(lambda: len(phone.core.heard) >= 320)
                samples = array("h", bytes(phone.core.heard))
                phone.core.heard.clear()
                if max(map(abs, samples)) > LOUD:
                    loud.append(time.time())

        async def speak() -> None:
            spoken = speech_like(SPOKEN, rate=8000)
            while True:
                await trio.sleep(PAUSE)
                phone.say(spoken.pcm)
                await trio.sleep(SPOKEN)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            nursery.start_soon(speak)
            await interruptions(server, times, trials)
            await trio.sleep(0.5)
            nursery.cancel_scope.cancel()
    return [max([at - began for at in loud if began <= at < began + 0.4], default=0.0) for began in times]


async def measure_browser(trials: int) -> list[float]:
    """Return seconds from each detection to silence in Chromium."""
    with tempfile.TemporaryDirectory() as folder:
        microphone = Path(folder, "voice.wav")
        voice = speech_like(SPOKEN).samples.tolist() + silence(PAUSE).samples.tolist()
        Sound((trials + SPARE) * voice).write_wav(microphone)
        async with (
            open_child("bench.barge_in") as server,
            open_browser("chromium", microphone=microphone) as browser,
        ):
            url = (await server.read())["url"]
            page = await browser.open_page(url)
            await page.evaluate(f"await ({SCRIPT})({json.dumps(url + 'v1/realtime/calls')})")
            times: list[float] = []
            await interruptions(server, times, trials)
            await trio.sleep(0.5)
            changes = await page.evaluate("window.changes")
    quiet = [at / 1000 for at, is_loud in changes if not is_loud]
    found = [min([at - began for at in quiet if at >= began], default=math.inf) for began in times]
    return [seconds for seconds in found if seconds < PAUSE]


async def measure_with_floor(
    measure: Callable[[int], Awaitable[list[float]]], trials: int
) -> tuple[list[float], Floor]:
    """Measure, and how late each processor wakes up in about the same time."""
    floors: list[Floor] = []

    async def sleep(meter: FloorMeter) -> None:
        floors.append(await meter.measure(trials * (SPOKEN + PAUSE)))

    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        meters = [
            await stack.enter_async_context(open_floor_meter(folder, processor=processor))
            for processor in os.sched_getaffinity(0)
        ]
        async with trio.open_nursery() as nursery:
            for meter in meters:
                nursery.start_soon(sleep, meter)
            delays = await measure(trials)
    return delays, worst(floors)


def show(where: str, delays: list[float], floor: Floor) -> dict[str, float]:
    ordered = sorted(1000 * seconds for seconds in delays)
    figures = {
        "trials": len(ordered),
        "median_ms": median(ordered),
        "p95_ms": ordered[int(0.95 * len(ordered))],
        "longest_ms": ordered[-1],
        "floor_p99_ms": 1000 * floor.p99,
        "floor_longest_ms": 1000 * floor.max,
    }
    line = "".join(f"{figure:10.1f}" for name, figure in figures.items() if name != "trials")
    print(f"{where:26}{len(ordered):7}{line}", flush=True)
    return figures


def main(trials: int = TRIALS) -> dict[str, dict[str, float]]:
    columns = ("median", "p95", "longest", "floor p99", "longest")
    print(f"{'from speech to silence, ms':26}{'trials':>7}" + "".join(f"{name:>10}" for name in columns))
    return {
        "socket": show("at the server's socket", *trio.run(measure_with_floor, measure_socket, trials)),
        "chromium": show("in Chromium", *trio.run(measure_with_floor, measure_browser, trials)),
    }


if __name__ == "__main__":
    configure_logging(level="error")
    if sys.argv[1:] == ["serve"]:
        trio.run(serve)
    else:
        main(*map(int, sys.argv[1:]))
