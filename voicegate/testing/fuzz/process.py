"""A worker process, watched from outside: what it is on, how it does, and why it ended.

Layer: shell (Trio).
"""

import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from voicegate.testing.fuzz.recorder import Recorder

__all__ = ["Worker", "explain"]

_POLL_INTERVAL: Final = 0.2
_START_LIMIT: Final = 120.0
"""Seconds of work until the first input: imports, instrumented."""
_STALL_LIMIT: Final = 300.0
"""Seconds without progress nor work: what it waits for does not come. Long, since machines stall."""
_DUMP_TIME: Final = 10.0
"""Seconds for a process that hangs to say where; deep inside C code it cannot."""
_DUMP_PAUSE: Final = 0.5
"""Seconds of silence after which it has said it all."""
_LINES: Final = 400
"""Lines of its log that are kept: a traceback and what libFuzzer says around it."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_STATUS: Final = re.compile(r"cov: (\d+) .*corp: (\d+)/(\d+)(\w*)b ")
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20}
_BEGIN: Final = re.compile(r"Traceback \(most recent call last|most recent call first|Fatal Python error")
_ERROR: Final = re.compile(r"[A-Za-z_][\w.]*(: .*)?")


class Worker:
    """A worker and what is known of it; `open` starts it."""

    def __init__(self, process: trio.Process, recorder: Recorder, *, hang_limit: float) -> None:
        self.coverage: int | None = None
        """Branches that were seen, if the engine counts them."""
        self.corpus = 0
        """Inputs that the engine found worth keeping."""
        self.corpus_bytes = 0
        self.memory = 0
        """Bytes of RAM, now."""
        self.memory_peak = 0
        self.is_hanging = False
        self._process = process
        self._recorder = recorder
        self._hang_limit = hang_limit
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._count = 0
        self._worked_before = 0.0
        self._stirred_at = trio.current_time()
        self._said_at = self._stirred_at

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        engine: str,
        target: str,
        arguments: Sequence[str],
        *,
        folder: Path,
        memory_mib: int,
        hang_limit: float,
    ) -> "AsyncIterator[Worker]":
        """Start a worker, with its recorder in ``folder``.

        Resources: leaving kills it and whatever it has started.
        """
        path = folder / "recorder"
        path.unlink(missing_ok=True)
        command = [sys.executable, "-m", "voicegate.testing.fuzz.worker"]
        worker = cls(
            await trio.lowlevel.open_process(
                [*command, engine, target, str(path), str(memory_mib), *arguments],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                process_group=0,
            ),
            Recorder(path),
            hang_limit=hang_limit,
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker._read_log)
                yield worker
                worker._kill()
        finally:
            worker._kill()
            with trio.CancelScope(shield=True):
                await worker._process.wait()

    @property
    def executions(self) -> int:
        """How many inputs were begun."""
        return self._recorder.count

    @property
    def data(self) -> bytes:
        """The input it is on, or was on when it ended."""
        return self._recorder.data

    @property
    def log(self) -> list[str]:
        """The last lines it said."""
        return list(self._lines)

    @property
    def returncode(self) -> int | None:
        """How it ended, if it did."""
        return self._process.returncode

    async def is_running(self) -> bool:
        """Wait for a moment, look at it, and tell whether it is at work; one that hangs is killed."""
        with trio.move_on_after(_POLL_INTERVAL):
            await self._process.wait()
        if self._process.returncode is None:
            with suppress(FileNotFoundError, ProcessLookupError):
                self._look()
        if self.is_hanging:
            await self._end_hanging()
        return self._process.returncode is None

    def _look(self) -> None:
        proc = Path("/proc") / str(self._process.pid)
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        # A process that is about to be reaped has no memory any more.
        self.memory = int(status.get("VmRSS", "0").split()[0]) << 10 or self.memory
        self.memory_peak = max(self.memory_peak, int(status.get("VmHWM", "0").split()[0]) << 10)
        # Its own time: on a machine that is busy with other things, the clock on the wall says nothing.
        stat = (proc / "stat").read_text().rpartition(")")[2].split()
        worked, now = (int(stat[11]) + int(stat[12])) / _TICKS, trio.current_time()
        if self._count != self._recorder.count:
            self._count, self._worked_before, self._stirred_at = self._recorder.count, worked, now
        limit = self._hang_limit if self._count else _START_LIMIT
        self.is_hanging = worked - self._worked_before > limit or now - self._stirred_at > _STALL_LIMIT

    async def _end_hanging(self) -> None:
        asked_at = trio.current_time()
        self._process.send_signal(signal.SIGUSR1)
        with trio.move_on_after(_DUMP_TIME):
            while self._said_at <= asked_at or trio.current_time() - self._said_at < _DUMP_PAUSE:
                with trio.move_on_after(_POLL_INTERVAL):
                    await self._process.wait()
                    break
        self._kill()
        await self._process.wait()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _read_log(self) -> None:
        if (stderr := self._process.stderr) is None:
            return
        rest = ""
        async for chunk in stderr:
            self._said_at = trio.current_time()
            *lines, rest = (rest + chunk.decode(errors="replace")).split("\n")
            self._lines.extend(lines)
            for status in filter(None, map(_STATUS.search, lines)):
                self.coverage, self.corpus = int(status[1]), int(status[2])
                self.corpus_bytes = int(status[3]) * _UNITS.get(status[4].upper(), 1)


def explain(log: Sequence[str]) -> tuple[str, str]:
    """Return what went wrong, in a line, and the traceback, of a worker that has said ``log``."""
    start = next((at for at, line in enumerate(log) if _BEGIN.search(line)), len(log))
    stop = next((at for at in range(start, len(log)) if log[at].startswith("==")), len(log))
    trace = [line for line in log[start:stop] if line]
    errors = [line for line in trace if _ERROR.fullmatch(line)]
    places = [line.strip() for line in trace if line.startswith("  File ")]
    return (errors[-1:] or places[:1] or [line for line in log if "ERROR" in line][-1:] or [""])[
        0
    ], "\n".join(trace)
