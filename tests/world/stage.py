"""One world for all scenarios: it lives in a thread with a Trio of its own, and tests do things to it."""

import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from typing import Any, Final, TypeAlias

import attrs
import trio

from tests.watch import Watch, open_watch, read_processors
from voicegate.testing.world import CallerState, World, open_world

CALLS = int(os.environ.get("WORLD_CALLS", "200"))
"""At most: a machine that has nothing left tells us about itself, and not about what is promised."""

FEWEST_CALLS = 48

STEP = 24
"""Calls made before we look again at what is left."""

SPARE = 0.3
"""The part of all processors' time without which no more calls are made: scenarios start and stop things."""

DRAIN_SECONDS = 9.0

USUAL_SILENCE = 0.2
"""Seconds between two packets, at most, while the machine has time for everybody."""

ATTEMPTS = 4
"""At doing something while the machine is not late."""

Scenario: TypeAlias = Callable[["Stage"], Awaitable[dict[str, Any]]]

LOST_SECONDS = 10.0
"""Of silence, when nothing is broken: longer than any way back to the media takes."""

PATIENCE = 500.0
"""Seconds for a scenario, the longest of which takes 75 on a machine that is not late."""


@attrs.frozen(kw_only=True)
class Attempt:
    """Something that is promised to take no longer than it may."""

    seconds: list[float]
    """What it took, for each call that it was done to."""
    bound: float
    others: list[float]
    """Silences of the calls that it was not done to."""
    figures: dict[str, Any]


class Stage:
    """Runs scenarios in the world, and keeps their figures."""

    def __init__(self, world: World, watch: Watch, report: Path) -> None:
        self.world: Final = world
        self.watch: Final = watch
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
            if self.size >= FEWEST_CALLS:
                await trio.sleep(0.5)  # for the machines to be at rest
                spare = await measure_spare(1.5)
        self._note("world", {"calls": self.size, "wanted": CALLS, "processors idle": round(spare, 2)})

    async def top_up(self) -> None:
        """Let everybody whose call is over hang up, and make new calls in place of those."""
        states = await self.world.read()
        over = [each for each in states if each.call_id in lost(states)]
        await self.world.hang_up(over)
        if (missing := self.size - len(states) + len(over)) > 0:
            await self.world.call_everywhere(missing)

    async def in_time(self, act: Callable[[], Awaitable[Attempt]]) -> dict[str, Any]:
        """Do something that is to be done in time, and once more if it was not because the machine was late.

        A machine that is late makes what is promised take longer, and never shorter. If it always is, it may
        be later by what the machine was late itself, by the watch or by the calls that nothing was done to.
        """
        for _ in range(ATTEMPTS):
            self.watch.anew()
            attempt = await act()
            was_late, lateness = self.watch.was_late, self.watch.lateness
            figures = {**attempt.figures, "machine late, ms": round(1000 * lateness)}
            assert attempt.seconds, figures
            if max(attempt.seconds) <= attempt.bound:
                return figures
            assert was_late, figures
        lateness = max(lateness, max(attempt.others, default=0.0) - USUAL_SILENCE)
        assert max(attempt.seconds) <= attempt.bound + lateness, figures
        return figures

    async def wait_heard(self, calls: Collection[str]) -> list[CallerState]:
        """Wait until all these calls are heard again, however late the machine is; return how they are."""
        while True:
            states = [each for each in await self.world.read() if each.call_id in calls]
            assert not lost(states)
            if all(each.silent_for < 1.0 for each in states):
                return states
            await trio.sleep(0.5)

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
        with open_watch() as watch:
            async with open_world(folder, drain_seconds=DRAIN_SECONDS) as world:
                stage = Stage(world, watch, report)
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
    idle, total = read_processors()
    await trio.sleep(seconds)
    idle_then, total_then = read_processors()
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
