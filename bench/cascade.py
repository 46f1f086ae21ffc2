"""What voicegate adds to a turn of a cascade: from the end of the turn to the first packet of the answer.

Speech-to-text, chat and speech are a stub of known delays in this process, which also plays the user; the
server is in a process of its own, and counts from the end of the last voiced frame. Taken off is what nobody
could be quicker than: the silence that ends a turn and, when all begins only then, what the stub has taken.
A packet leaves in the next slot of its call, every 20 ms: that wait is shown apart.
"""

import json
import os
import statistics
import sys
from functools import partial

import trio

from bench.child import open_child, serve_calls
from tests.agents.cascade.stub import Stub, open_stub, say
from tests.harness import make_client
from voicegate.agents.cascade import CascadeOptions, open_cascade
from voicegate.call import Call, CallEvent, TurnAnswered
from voicegate.observability import configure_logging
from voicegate.testing.phone import open_phone
from voicegate.testing.sound import speech_like

TURNS = 20
CALLS = 5
"""Within a call the wait for the slot hardly ever changes: only several calls show it from 0 to 20 ms."""

SPOKEN = 0.8
SILENCE_MS = 500
"""What ends a turn, by default."""

PAUSE = 2.2
"""Seconds from the end of a question to the next: longer than any answer takes."""

DELAYS = {"recognition_seconds": 0.06, "thinking_seconds": 0.09, "voice_seconds": 0.05}
"""As good services have them nearby. Together they fit into the silence that ends a turn."""


async def serve() -> None:
    """Serve calls with a cascade, and tell of each answered turn."""
    agent = open_cascade(CascadeOptions.from_mapping(json.loads(os.environ["CASCADE"])))

    async def watched(call: Call) -> None:
        push_event = call.push_event

        def note(event: CallEvent) -> None:
            if isinstance(event, TurnAnswered):
                print(json.dumps([event.first_audio_ms, event.first_packet_ms]), flush=True)
            push_event(event)

        call.push_event = note  # type: ignore[method-assign]
        await agent(call)

    await serve_calls(watched)


def taken_ms(stub: Stub) -> float:
    """Return what the stub has taken for the last turn, by its own clock, and forget it."""
    taken = sum(each.answered_at - each.at for each in stub.requests)
    stub.requests.clear()
    return 1000 * taken


async def measure(calls: int, turns: int, *, guesses: bool) -> list[tuple[float, float]]:
    """Return for each turn what was added until the first audio, and until the first packet; in ms."""
    added = []
    async with open_stub(**DELAYS, reply=lambda _messages: say("It is noon.")) as stub:
        os.environ["CASCADE"] = json.dumps(stub.options | {"guesses": guesses})
        async with open_child("bench.cascade") as server:
            url = (await server.read())["url"]
            for _ in range(calls):
                async with open_phone(url, make_client(codec="PCMU")) as phone:
                    await phone.wait_connected()
                    await trio.sleep(0.5)
                    for turn in range(turns):
                        stub.requests.clear()
                        phone.say(speech_like(SPOKEN, seed=turn % 7 + 1, rate=8000).pcm)
                        audio_ms, packet_ms = await server.read()
                        least = SILENCE_MS if guesses else SILENCE_MS + taken_ms(stub)
                        added.append((float(audio_ms) - least, float(packet_ms) - least))
                        await trio.sleep(PAUSE - SILENCE_MS / 1000)
    return added


def show(what: str, values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    figures = {"p50_ms": statistics.median(ordered), "p99_ms": ordered[int(0.99 * len(ordered))]}
    print(f"{what:44}{len(ordered):7}{figures['p50_ms']:9.1f}{figures['p99_ms']:9.1f}", flush=True)
    return figures


def main(calls: int = CALLS, turns: int = TURNS) -> dict[str, dict[str, float]]:
    print(f"{'added to a turn of a cascade, ms':44}{'turns':>7}{'p50':>9}{'p99':>9}")
    figures = {}
    for name, guesses in (("ahead", True), ("after", False)):
        added = trio.run(partial(measure, calls, turns, guesses=guesses))
        what = "prepared in the pause" if guesses else "begun at the turn's end"
        figures[f"{name}_audio"] = show(f"{what}: first audio", [audio for audio, _ in added])
        figures[f"{name}_slot"] = show(
            "  wait for the next 20 ms slot", [last - first for first, last in added]
        )
        figures[f"{name}_packet"] = show(f"{what}: first packet", [packet for _, packet in added])
    return figures


if __name__ == "__main__":
    configure_logging(level="error")
    if sys.argv[1:] == ["serve"]:
        trio.run(serve)
    else:
        main(*map(int, sys.argv[1:]))
