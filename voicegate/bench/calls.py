"""Calls each server with more and more calls until some do not keep their schedule any more.

The server under test has a processor alone; the callers, and what stands between, are on the other.
"""

import os
import platform
import resource
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import trio

from voicegate.bench.call_figure import (
    OF_CEILING,
    ON_TIME,
    CallConditions,
    CallFigures,
    CallMeasurement,
    CallMemory,
    Ramp,
    Step,
)
from voicegate.bench.callee import Callee, Series, open_callee
from voicegate.bench.floor import Floor, open_floor_meter
from voicegate.bench.frame import judge
from voicegate.bench.server import BenchError
from voicegate.bench.switchboard import Switchboard, open_switchboard
from voicegate.bench.voice import PAYLOADS
from voicegate.transceiver import media

__all__ = ["count_steps", "measure_calls"]

_FIRST_CALLS: Final = 4
"""That bring in what a server loads with its first call."""

_FIRST_SECONDS: Final = 1.0

_HOT_CODE: Final = "interpreted" if str(media.__file__).endswith(".py") else "compiled"


async def measure_calls(conditions: CallConditions, *, advance: Callable[[], None]) -> CallMeasurement:
    """Measure all servers.

    Args:
        conditions: Which, and how.
        advance: Called after each of `count_steps`.

    Errors: BenchError, UsageError: something is missing or went wrong.
    """
    processors = sorted(os.sched_getaffinity(0))
    figures: list[CallFigures] = []
    with TemporaryDirectory(prefix="voicegate-bench-") as name, _keep_to(processors[0]):
        folder = Path(name)
        async with open_floor_meter(folder, processor=processors[-1]) as meter:
            floor = await meter.measure(conditions.floor_seconds)
            advance()
            for series in conditions.series:
                async with (
                    open_callee(
                        series,
                        processor=processors[-1],
                        relay_processor=processors[0],
                        is_direct=conditions.is_direct,
                    ) as callee,
                    open_switchboard(callee, folder, processor=processors[0]) as switchboard,
                ):
                    measuring = _Measuring(
                        series,
                        conditions,
                        floor,
                        callee,
                        switchboard,
                        (processors[-1], processors[0]),
                        advance,
                    )
                    await measuring.run()
                after = await meter.measure(conditions.floor_seconds)
                advance()
                figures.append(measuring.finish([floor, after]))
                floor = after
    return CallMeasurement(
        conditions=conditions,
        machine=f"{platform.system()} {platform.release()}, {len(processors)} processors; {_HOT_CODE}",
        figures=figures,
    )


def count_steps(conditions: CallConditions) -> int:
    """Return how many steps a measurement has: floors, idle calls, ramps, runs below the ceiling."""
    ramp = conditions.steps + 1 if conditions.calls is None else 1
    return 1 + len(conditions.series) * (ramp + 2)


class _Measuring:
    """One server, from its first call to its most."""

    def __init__(
        self,
        series: Series,
        conditions: CallConditions,
        floor: Floor,
        callee: Callee,
        switchboard: Switchboard,
        processors: tuple[int, int],
        advance: Callable[[], None],
    ) -> None:
        self._series = series
        self._conditions = conditions
        self._limit = ON_TIME + floor.p999
        self._callee = callee
        self._switchboard = switchboard
        self._processors = processors  # the server's, the other
        self._advance = advance
        self._steps: list[Step] = []
        self._below: Step | None = None
        self._idle: CallMemory | None = None
        self._dead: Collection[int] = ()

    async def run(self) -> None:
        """Measure all of it."""
        await self._measure_idle()
        self._advance()
        if self._conditions.calls is not None:
            self._below = await self._try(self._conditions.calls, self._conditions.seconds)
            self._steps.append(self._below)
            self._advance()
        else:
            await self._climb()

    def finish(self, floors: Sequence[Floor]) -> CallFigures:
        """Return the figures."""
        return CallFigures(
            series=self._series, floors=floors, steps=self._steps, below=self._below, idle=self._idle
        )

    async def _measure_idle(self) -> None:
        """See what calls take that nobody talks in; what a server loads with its first is not theirs."""
        await self._switchboard.call(_FIRST_CALLS)
        await self._switchboard.run(warm_up=0.0, seconds=_FIRST_SECONDS)
        if self._conditions.idle_calls:
            before = self._callee.resident
            await self._switchboard.call(self._conditions.idle_calls)
            await trio.sleep(_FIRST_SECONDS)
            grown = self._callee.resident - before
            self._idle = CallMemory(calls=self._conditions.idle_calls, bytes=grown)

    async def _climb(self) -> None:
        conditions = self._conditions
        ramp = Ramp(
            first=conditions.first(self._series), growth=conditions.growth, precision=conditions.precision
        )
        for _ in range(conditions.steps):
            if not ramp.is_over:
                step = await self._try_fairly(ramp.calls, conditions.seconds)
                self._steps.append(step)
                ramp.note(step.calls, is_held=step.is_held)
            self._advance()
        if ramp.low:
            below = max(1, round(OF_CEILING * ramp.low))
            self._below = await self._try_fairly(below, 2 * conditions.seconds)
        self._advance()

    async def _try_fairly(self, calls: int, seconds: float) -> Step:
        """Have so many calls at once, and again if the machine may be why they did not hold."""
        step = await self._try(calls, seconds)
        tries = 1
        while not step.is_held and step.deserves_another_try(tries):
            step = await self._try(calls, seconds)
            tries += 1
        return step

    async def _try(self, calls: int, seconds: float) -> Step:
        """Have so many calls at once."""
        switchboard = self._switchboard
        await switchboard.hang_up(len(self._dead), first=self._dead)
        self._dead = ()
        await switchboard.hang_up(switchboard.count - calls)
        has_new = switchboard.count < calls
        if failure := await self._grow(calls):
            return Step(calls=calls, failure=failure)
        if self._series is Series.TRANSCODE and has_new:
            await trio.sleep(self._conditions.settling)
        before = _read_processors()
        recording = await switchboard.run(warm_up=self._conditions.warm_up, seconds=seconds)
        after = _read_processors()
        verdict = judge(
            recording, limit=self._limit, payloads=PAYLOADS, is_verbatim=self._series is Series.ECHO
        )
        self._dead = verdict.unheard
        used, other_used = (after[number].since(before[number]) for number in self._processors)
        return Step(
            calls=calls,
            kept=verdict.kept,
            frames=verdict.frames,
            lost=verdict.lost,
            silent=verdict.silent,
            late=verdict.late,
            verbatim=verdict.verbatim,
            limit=self._limit,
            p50=verdict.percentile(0.5),
            p99=verdict.percentile(0.99),
            max=verdict.percentile(1.0),
            seconds=recording.seconds,
            cpu=recording.cpu[0],
            relay_cpu=sum(recording.cpu[1:]),
            own_cpu=recording.own_cpu,
            own_p99=recording.late_p99,
            own_max=recording.late_max,
            stolen=used.stolen,
            other_idle=other_used.idle,
            resident=self._callee.resident,
            refused=recording.refused,
            damaged=recording.damaged,
            undelivered=recording.undelivered,
        )

    async def _grow(self, calls: int) -> str:
        """Make calls until there are so many; return what went wrong."""
        failure = ""
        try:
            await self._switchboard.call(calls - self._switchboard.count)
        except* BenchError as errors:
            failure = str(errors.exceptions[0])
        return failure


class _Processor(NamedTuple):
    """What became of a processor's time, in the kernel's ticks."""

    idle: float
    stolen: float
    total: float

    def since(self, before: "_Processor") -> "_Processor":
        """Return the shares of the time since."""
        total = self.total - before.total or 1.0
        return _Processor((self.idle - before.idle) / total, (self.stolen - before.stolen) / total, 1.0)


def _read_processors() -> dict[int, _Processor]:
    """Read the time of all processors."""
    found = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdecimal():
            numbers = list(map(float, ticks))
            _, nice, _, idle, _, _, _, stolen = numbers[:8]
            found[int(name[3:])] = _Processor(idle + nice, stolen, sum(numbers[:8]))
    return found


@contextmanager
def _keep_to(processor: int) -> Iterator[None]:
    """Stay on one processor, off the others, and have as many sockets as there may be; so do our programs."""
    processors, limits = os.sched_getaffinity(0), resource.getrlimit(resource.RLIMIT_NOFILE)
    os.sched_setaffinity(0, {processor})
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
