"""Loads relays in turn, ours and the references, and notes what a packet costs and how many get through.

All relays run from the beginning to the end, on one processor, and sleep while others have their turn; the
generator runs on the other. So each figure of one was taken within seconds of the others'.
"""

import math
import os
import platform
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs
import trio

from voicegate.bench.contender import Contender, open_contenders
from voicegate.bench.flow_memory import measure_memory
from voicegate.bench.generator import Generator, open_generator
from voicegate.bench.profile import PROFILE_SECONDS, open_profile
from voicegate.bench.traffic import (
    SATURATION,
    Ceiling,
    Direction,
    Load,
    Point,
    RelayConditions,
    RelayMeasurement,
    Run,
)

__all__ = ["Bisection", "count_steps", "measure_relays"]

_SEARCH_STEPS: Final = 6
_LOWEST: Final = 0.1
_HIGHEST: Final = 1.6
"""Where the search for the highest rate begins, as parts of what passed at saturation; six steps narrow
these sixteen times to 4.5 %."""

_GENERATORS: Final = 0.97
"""A generator that came to less of what it was asked for is at its own limit."""

_DIRECT: Final = "direct"


async def measure_relays(conditions: RelayConditions, *, advance: Callable[[], None]) -> RelayMeasurement:
    """Measure all relays under all loads.

    Args:
        conditions: Which, and for how long.
        advance: Called after each of `count_steps`.

    Errors: BenchError, UsageError: something is missing or went wrong.
    """
    processors = sorted(os.sched_getaffinity(0))
    memory = None
    if conditions.memory_flows:
        memory = await measure_memory(conditions.memory_flows)
        advance()
    with TemporaryDirectory(prefix="voicegate-bench-") as name:
        folder = Path(name)
        async with (
            open_generator(folder, processor=processors[0]) as generator,
            open_contenders(
                conditions.relays,
                transceiver=generator.transceiver,
                flows=max(conditions.flows),
                folder=folder,
                processor=processors[-1],
            ) as contenders,
        ):
            series = _Series(conditions, generator, contenders, advance)
            await series.run()
            if conditions.has_search:
                await series.search()
            if conditions.profile is not None:
                await series.profile(conditions.profile)
    return RelayMeasurement(
        conditions=conditions,
        machine=f"{platform.system()} {platform.release()}, {len(processors)} processors",
        points=series.points,
        direct=series.direct,
        ceilings=series.ceilings,
        memory=memory,
    )


def count_steps(conditions: RelayConditions) -> int:
    """Return how many steps a measurement has: runs, searches, profiles, that of memory."""
    runs = len(conditions.loads) * len(conditions.relays) + sum(map(bool, conditions.rates))
    searches = len(conditions.flows) * len(conditions.directions) * len(conditions.relays)
    profiles = len(conditions.directions) * len(conditions.relays)
    return (
        runs * conditions.repeats
        + searches * conditions.has_search
        + bool(conditions.memory_flows)
        + profiles * (conditions.profile is not None)
    )


@attrs.define(kw_only=True)
class Bisection:
    """The search for the highest rate that passes, between two; each step halves what is left, as a ratio."""

    low: float
    high: float

    @property
    def rate(self) -> float:
        """What to try next."""
        return math.sqrt(self.low * self.high)

    def note(self, *, is_passed: bool) -> None:
        """Take in how that went."""
        if is_passed:
            self.low = self.rate
        else:
            self.high = self.rate


class _Series:
    """All runs, one after the other."""

    def __init__(
        self,
        conditions: RelayConditions,
        generator: Generator,
        contenders: list[Contender],
        advance: Callable[[], None],
    ) -> None:
        self.ceilings: list[Ceiling] = []
        self._conditions = conditions
        self._generator = generator
        self._contenders = contenders
        self._advance = advance
        self._runs: dict[tuple[str, Load], list[Run]] = defaultdict(list)

    @property
    def points(self) -> list[Point]:
        """What relays did."""
        return [
            Point(relay=relay, load=load, runs=runs)
            for (relay, load), runs in self._runs.items()
            if relay != _DIRECT
        ]

    @property
    def direct(self) -> dict[int, Point]:
        """What the way without a relay did, by rate."""
        return {
            load.rate: Point(relay=relay, load=load, runs=runs)
            for (relay, load), runs in self._runs.items()
            if relay == _DIRECT
        }

    async def run(self) -> None:
        """Make all of them."""
        conditions = self._conditions
        for _ in range(conditions.repeats):
            await self._run_direct()
            known = 0
            for load in conditions.loads:
                for contender in self._contenders:
                    if load.flows != known:
                        await self._generator.open_flows(contender, load.flows)
                    run = await self._generator.run(contender, load, seconds=conditions.seconds)
                    self._runs[contender.name, load].append(run)
                    self._advance()
                known = load.flows

    async def search(self) -> None:
        """Look for the highest rate without loss of each relay."""
        for flows in self._conditions.flows:
            for direction in self._conditions.directions:
                for contender in self._contenders:
                    await self._generator.open_flows(contender, flows)
                    self.ceilings.append(await self._search(contender, direction, flows))
                    self._advance()

    async def profile(self, folder: Path) -> None:
        """Write a profile of each relay, saturated, in each direction."""
        await trio.Path(folder).mkdir(parents=True, exist_ok=True)
        flows = self._conditions.main_flows
        seconds = max(self._conditions.seconds, PROFILE_SECONDS)
        for direction in self._conditions.directions:
            load = Load(direction=direction, flows=flows, rate=SATURATION)
            for contender in self._contenders:
                name = contender.name.replace(" ", "-")
                await self._generator.open_flows(contender, flows)
                async with open_profile(contender.processes, folder / f"{name}-{direction.value}.txt"):
                    await self._generator.run(contender, load, seconds=seconds)
                self._advance()

    async def _run_direct(self) -> None:
        for rate in filter(None, self._conditions.rates):
            load = Load(direction=Direction.TO_TRANSCEIVER, flows=self._conditions.main_flows, rate=rate)
            run = await self._generator.run_direct(load, seconds=self._conditions.seconds)
            self._runs[_DIRECT, load].append(run)
            self._advance()

    async def _search(self, contender: Contender, direction: Direction, flows: int) -> Ceiling:
        """Look for the highest rate without loss; a rate has two tries, since the machine may stall."""
        seconds = self._conditions.seconds
        saturated = Load(direction=direction, flows=flows, rate=SATURATION)
        passed = await self._generator.run(contender, saturated, seconds=seconds)
        bisection = Bisection(low=_LOWEST * passed.rate, high=_HIGHEST * passed.rate)
        highest, is_generators = 0.0, False
        for _ in range(_SEARCH_STEPS):
            load = Load(direction=direction, flows=flows, rate=max(1, round(bisection.rate)))
            run = await self._generator.run(contender, load, seconds=seconds)
            if not run.is_loss_free:
                run = await self._generator.run(contender, load, seconds=seconds)
            bisection.note(is_passed=run.is_loss_free)
            if run.is_loss_free and run.rate > highest:
                highest, is_generators = run.rate, run.sent < _GENERATORS * load.rate * seconds
        return Ceiling(
            relay=contender.name,
            direction=direction,
            flows=flows,
            rate=highest,
            is_generators=is_generators,
        )
