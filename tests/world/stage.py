"""One world for all scenarios: it lives in a thread with a Trio of its own, and tests do things to it."""

import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from typing import Any, TypeAlias

import trio

from voicegate.testing.world import CallerState, World, open_world

CALLS = int(os.environ.get("WORLD_CALLS", "200"))

DRAIN_SECONDS = 12.0

Scenario: TypeAlias = Callable[[World], Awaitable[dict[str, Any]]]

LOST_SECONDS = 10.0
"""Of silence, when nothing is broken: longer than any way back to the media takes."""

PATIENCE = 150.0
"""Seconds for a scenario, the longest of which takes 75."""


class Stage:
    """Runs scenarios in the world, and keeps their figures."""

    def __init__(self, world: World, report: Path) -> None:
        self._world = world
        self._token = trio.lowlevel.current_trio_token()
        self._report = report
        self._figures: dict[str, dict[str, Any]] = {}

    def run(self, scenario: Scenario) -> None:
        """Let a scenario happen, and note the figures that it returns."""

        async def act() -> dict[str, Any]:
            with trio.fail_after(PATIENCE):
                return await scenario(self._world)

        name = scenario.__name__
        self._figures[name] = trio.from_thread.run(act, trio_token=self._token)
        self._report.write_text(json.dumps(self._figures, indent=2))
        sys.stderr.write(f"\n{name}: {json.dumps(self._figures[name], indent=2)}\n")


@contextmanager
def open_stage(folder: Path, report: Path) -> Iterator[Stage]:
    """Build the world in a thread, and have its calls made."""
    ready: SimpleQueue[Stage | BaseException] = SimpleQueue()
    over: list[trio.Event] = []

    async def live() -> None:
        async with open_world(folder, drain_seconds=DRAIN_SECONDS) as world:
            await world.call_everywhere(CALLS)
            await trio.sleep(2.0)  # for the machines to be at rest
            over.append(trio.Event())
            ready.put(Stage(world, report))
            await over[0].wait()

    def run() -> None:
        try:
            trio.run(live)
        except BaseException as error:  # the test is to tell of it
            ready.put(error)

    thread = threading.Thread(target=run, name="world")
    thread.start()
    try:
        stage = ready.get()
        if isinstance(stage, BaseException):
            raise stage
        yield stage
        trio.from_thread.run_sync(over[0].set, trio_token=stage._token)
    finally:
        thread.join()


async def top_up(world: World) -> None:
    """Let everybody whose call is over hang up, and make new calls in place of those."""
    states = await world.read()
    over = [each for each in states if each.call_id in lost(states)]
    await world.hang_up(over)
    if (missing := CALLS - len(states) + len(over)) > 0:
        await world.call_everywhere(missing)


def milliseconds(seconds: list[float]) -> dict[str, float]:
    """Sum up some times."""
    ordered = sorted(seconds)
    if not ordered:
        return {"of": 0}
    return {
        "of": len(ordered),
        "median": round(1000 * median(ordered)),
        "p95": round(1000 * ordered[int(0.95 * (len(ordered) - 1))]),
        "longest": round(1000 * ordered[-1]),
    }


def lost(states: list[CallerState]) -> list[str]:
    """Return the ids of the calls that are over, whether somebody has said so or not."""
    return [each.call_id for each in states if each.is_lost or each.silent_for > LOST_SECONDS]
