"""Where a relay spends its time: a profile by ``perf`` while it is under load."""

import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from voicegate.bench.server import BenchError

__all__ = ["PROFILE_SECONDS", "open_profile"]

PROFILE_SECONDS: Final = 2.0
"""Shorter, and there are too few samples to tell anything; perf takes some of it to begin."""

_START_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.02


@asynccontextmanager
async def open_profile(processes: Sequence[int], report: Path) -> AsyncIterator[None]:
    """Take samples of processes as long as this is open, then write what they were at to the file.

    Errors: BenchError when there are none: perf may not, which is usually for want of root.
    """
    samples = report.with_suffix(".data")
    pids = ",".join(map(str, processes))
    command = ["perf", "record", "--quiet", "--call-graph", "fp", "--pid", pids, "--output", str(samples)]
    process = await trio.lowlevel.open_process(command, stderr=subprocess.DEVNULL, process_group=0)
    try:
        with trio.move_on_after(_START_SECONDS):
            # It says nothing when it begins.
            while process.poll() is None and not await trio.Path(samples).exists():  # noqa: ASYNC110
                await trio.sleep(_POLL_SECONDS)
        yield
    finally:
        with trio.CancelScope(shield=True):
            # It writes what it has, and ends.
            process.terminate()
            await process.wait()
    command = ["perf", "report", "--stdio", "--no-children", "--call-graph", "none", "--percent-limit", "0.5"]
    done = await trio.run_process(
        [*command, "--sort", "dso,symbol", "--input", str(samples)],
        check=False,
        capture_stdout=True,
        stderr=subprocess.DEVNULL,
    )
    if done.returncode or b"# Samples:" not in done.stdout:
        raise BenchError("perf took no samples: it wants root, or kernel.perf_event_paranoid at 1 or less")
    await trio.Path(report).write_bytes(done.stdout)
