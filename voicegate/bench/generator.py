"""The load generator, a program in C: many clients on one side of a relay, a transceiver on the other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from voicegate.bench.compiler import build
from voicegate.bench.contender import Contender
from voicegate.bench.program import Program, open_program
from voicegate.bench.server import BenchError
from voicegate.bench.traffic import Direction, Load, Run

__all__ = ["Generator", "open_generator"]

_CHECK_SECONDS: Final = 120.0
"""For all flows to be opened; a relay need not admit thousands of checks a second."""

_WARM_UP: Final = 0.15
"""The part of a run's seconds that goes before it and does not count: caches, and loops that adapt."""

_ATTEMPTS: Final = 3

_LETTERS: Final = {Direction.TO_TRANSCEIVER: "u", Direction.TO_CLIENTS: "d"}
_DIRECT: Final = "x"


class Generator:
    """A running generator."""

    def __init__(self, program: Program, transceiver: int) -> None:
        self.transceiver: Final = transceiver
        """Where relays find the transceiver, a port of 127.0.0.1."""
        self._program = program

    async def open_flows(self, contender: Contender, flows: int) -> None:
        """Make a relay know these flows, if it wants connectivity checks for that.

        Errors: BenchError when it does not take them all.
        """
        if contender.checks is None:
            return
        where = f"{contender.public} {contender.hop} {flows}"
        answer = await self._program.ask(f"check {where} {_CHECK_SECONDS} {contender.checks}")
        if answer["opened"] < flows:
            raise BenchError(f"{contender.name} opened {answer['opened']} of {flows} flows")

    async def run(self, contender: Contender, load: Load, *, seconds: float) -> Run:
        """Put a load on a relay.

        Errors: BenchError when packets don't come through at all.
        """
        run = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                await self.open_flows(contender, load.flows)  # they end when nothing comes for a minute
            run = await self._run(contender, load, seconds)
            if contender.processes and not run.cpu:
                raise BenchError(f"{contender.name} has ended")
            if run.touched == load.flows:
                return run
        touched = 0 if run is None else run.touched
        raise BenchError(f"{contender.name} forwarded packets of {touched} of {load.flows} flows")

    async def run_direct(self, load: Load, *, seconds: float) -> Run:
        """Send from clients to the transceiver without a relay."""
        nobody = Contender(name="nobody", public=0, hop=0, processes=[])
        return await self._run(nobody, load, seconds, letter=_DIRECT)

    async def _run(self, contender: Contender, load: Load, seconds: float, *, letter: str = "") -> Run:
        words = [
            "run",
            letter or _LETTERS[load.direction],
            contender.public,
            contender.hop,
            load.flows,
            load.rate,
            round(seconds * _WARM_UP, 6),
            seconds,
            int(contender.is_segmented),
            *contender.processes,
        ]
        return Run.from_json(await self._program.ask(" ".join(map(str, words))))


@asynccontextmanager
async def open_generator(folder: Path, *, processor: int) -> AsyncIterator[Generator]:
    """Build the generator and run it on one processor.

    Errors: BenchError.
    """
    command = [str(await build("load.c", folder))]
    async with open_program("the load generator", command, processor=processor) as (program, said):
        yield Generator(program, said["transceiver"])
