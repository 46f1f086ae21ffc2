"""The floor: how late a processor wakes up for an absolute schedule, with nothing else to do on it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs

from voicegate.bench.compiler import build
from voicegate.bench.program import Program, open_program

__all__ = ["Floor", "FloorMeter", "open_floor_meter", "worst"]

_PERIOD: Final = 0.005
"""Seconds, as the slots in which frames leave."""


@attrs.frozen(kw_only=True)
class Floor:
    """Seconds late."""

    wakes: int
    p50: float
    p99: float
    p999: float
    max: float


class FloorMeter:
    """A running program in C that does nothing but sleep."""

    def __init__(self, program: Program) -> None:
        self._program = program

    async def measure(self, seconds: float) -> Floor:
        """Sleep so long, period by period.

        Errors: BenchError when the program ended.
        """
        return Floor(**await self._program.ask(f"{seconds}"))


@asynccontextmanager
async def open_floor_meter(folder: Path, *, processor: int) -> AsyncIterator[FloorMeter]:
    """Build the program and run it on one processor.

    Errors: BenchError.
    """
    command = [str(await build("floor.c", folder)), str(_PERIOD)]
    async with open_program("the floor meter", command, processor=processor) as (program, _):
        yield FloorMeter(program)


def worst(floors: Sequence[Floor]) -> Floor:
    """Return the highest of each figure."""
    return Floor(
        wakes=sum(floor.wakes for floor in floors),
        **{name: max(getattr(floor, name) for floor in floors) for name in ("p50", "p99", "p999", "max")},
    )
