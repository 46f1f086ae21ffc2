"""A program that is measured or measures: a process of its own on a processor of its own.

It prints a JSON object in a line when it is ready, may answer lines of its standard input with more of them,
and ends with its standard input, so that it does not outlive us.
"""

import json
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import trio

from voicegate.bench.server import BenchError

__all__ = ["Program", "open_program", "pin"]


class Program:
    """A running program."""

    def __init__(self, name: str, process: trio.Process) -> None:
        self.pid: Final = process.pid
        self._name = name
        self._process = process
        self._buffer = b""

    async def ask(self, line: str) -> dict[str, Any]:
        """Send a line and wait for the answer.

        Errors: BenchError when the program ended.
        """
        if self._process.stdin is None:
            raise BenchError("a process without its input")
        with suppress(trio.BrokenResourceError):  # what has ended says so when it is read from
            await self._process.stdin.send_all(line.encode() + b"\n")
        return await self.read()

    async def read(self) -> dict[str, Any]:
        """Wait for the next line.

        Errors: BenchError when the program ended.
        """
        if self._process.stdout is None:
            raise BenchError("a process without its output")
        while b"\n" not in self._buffer:
            chunk = await self._process.stdout.receive_some()
            if not chunk:
                raise BenchError(f"{self._name} ended with exit status {await self._process.wait()}")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        return said

    async def close(self) -> None:
        """End its input, and wait until it has ended."""
        if self._process.stdin is not None:
            await self._process.stdin.aclose()
        await self._process.wait()


@asynccontextmanager
async def open_program(
    name: str, command: Sequence[str], *, processor: int
) -> AsyncIterator[tuple[Program, dict[str, Any]]]:
    """Run a program on one processor; it is ready when this is entered, with what it said first.

    Errors: BenchError when it ended instead.
    """
    # Out of reach of the terminal's Ctrl-C: it is ended here, when nobody needs it any more.
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    )
    try:
        pin(process.pid, processor)
        program = Program(name, process)
        yield program, await program.read()
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()


def pin(pid: int, processor: int) -> None:
    """Give all threads of a process one processor; what they start later stays there too."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {processor})
