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
from typing import Any, Final, TypeAlias

import trio

from voicegate.testing.world import CallerState, World, open_world

CALLS = int(os.environ.get("WORLD_CALLS", "200"))
"""At most: a machine that has nothing left tells us about itself, and not about what is promised."""

FEWEST_CALLS = 48

STEP = 24
"""Calls made before we look again at what is left."""

SPARE = 0.3
"""The part of all processors' time without which no more calls are made: scenarios start and stop things."""

DRAIN_SECONDS = 12.0

Scenario: TypeAlias = Callable[["Stage"], Awaitable[dict[str, Any]]]

LOST_SECONDS = 10.0
"""Of silence, when nothing is broken: longer than any way back to the media takes."""

PATIENCE = 150.0
"""Seconds for a scenario, the longest of which takes 75."""


class Stage:
    """Runs scenarios in the world, and keeps their figures."""

    def __init__(self, world: World, report: Path) -> None:
        self.world: Final = world
        self._token = trio.lowlevel.current_trio_token()
        self._report = report
        self._figures: dict[str, dict[str, Any]] = {}
        self.size = 0
        """How many calls there are, when none has ended."""

    async def fill(self) -> None:
        """Make calls, as many as are wanted and the machine carries with some time to spare."""
        spare = 1.0
        while self.size < CALLS and (self.size < FEWEST_CALLS or spare > SPARE):
            step = min(STEP, CALLS - self.size)
            await self.world.call_everywhere(step)
            self.size += step
            await trio.sleep(1.0)  # for the machines to be at rest
            spare = await measure_spare(2.0)
        self._note("world", {"calls": self.size, "wanted": CALLS, "processors idle": round(spare, 2)})

    async def top_up(self) -> None:
        """Let everybody whose call is over hang up, and make new calls in place of those."""
        states = await self.world.read()
        over = [each for each in states if each.call_id in lost(states)]
        await self.world.hang_up(over)
        if (missing := self.size - len(states) + len(over)) > 0:
            await self.world.call_everywhere(missing)

    def run(self, scenario: Scenario) -> None:
        """Let a scenario happen, and note the figures that it returns."""

        async def act() -> dict[str, Any]:
            with trio.fail_after(PATIENCE):
                return await scenario(self)

        name = scenario.__name__
        self._note(name, trio.from_thread.run(act, trio_token=self._token))

    def _note(self, name: str, figures: dict[str, Any]) -> None:
        self._figures[name] = figures
        self._report.write_text(json.dumps(self._figures, indent=2))
        sys.stderr.write(f"\n{name}: {json.dumps(figures, indent=2)}\n")


@contextmanager
def open_stage(folder: Path, report: Path) -> Iterator[Stage]:
    """Build the world in a thread, and have its calls made."""
    ready: SimpleQueue[Stage | BaseException] = SimpleQueue()
    over: list[trio.Event] = []

    async def live() -> None:
        async with open_world(folder, drain_seconds=DRAIN_SECONDS) as world:
            stage = Stage(world, report)
            await stage.fill()
            over.append(trio.Event())
            ready.put(stage)
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


async def measure_spare(seconds: float) -> float:
    """Return the part of all processors' time that is nobody's."""

    def read() -> tuple[int, int]:
        times = [int(each) for each in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
        return times[3], sum(times)

    idle, total = read()
    await trio.sleep(seconds)
    idle_then, total_then = read()
    return (idle_then - idle) / max(1, total_then - total)


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
