"""Worker processes, one of them started before it is needed.

To load what a worker is made of takes a quarter of a second of processor time, on a busy machine seconds, and
meanwhile its clients hear nothing. So one process more than there are places waits, all loaded, for its first
line; which place it takes is only said there.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from typing import Final, cast

import trio

from voicegate.relay.control import ControlChannel

__all__ = ["Reserve", "WorkerProcess"]

_RESERVE_DELAY: Final = 1.0
"""Seconds until one that was taken is replaced: it has the processor first."""


class WorkerProcess:
    """A child process and the way to talk to it."""

    def __init__(self, process: trio.Process, control: ControlChannel, scope: trio.CancelScope) -> None:
        self.pid: Final = process.pid
        self.control: Final = control
        self.ended: Final = trio.Event()
        """Set when it is gone and its pipes are closed."""
        self._process = process
        self._scope = scope

    async def dismiss(self) -> int | None:
        """End it, unless it has ended by itself, and return its exit status."""
        self._scope.cancel()
        await self.ended.wait()
        return self._process.returncode


class Reserve:
    """Where processes for workers come from.

    Args:
        nursery: Where they live; cancelling it kills them all.
        descriptors: What each inherits, which is what any place may need.
    """

    def __init__(self, nursery: trio.Nursery, descriptors: Sequence[int]) -> None:
        self._nursery = nursery
        self._descriptors = descriptors
        self._waiting: WorkerProcess | None = None
        self._taken = trio.Event()

    async def run(self) -> None:
        """Keep one process waiting, for ever."""
        while True:
            await trio.sleep(_RESERVE_DELAY)
            self._taken = trio.Event()
            self._waiting = await self._nursery.start(self._keep)
            await self._taken.wait()

    async def take(self) -> WorkerProcess:
        """Return the one that waits, or a new one."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._taken.set()
            return waiting
        started: WorkerProcess = await self._nursery.start(self._keep)
        return started

    async def _keep(self, *, task_status: trio.TaskStatus[WorkerProcess]) -> None:
        """Be the parent of one process until it is dismissed."""
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                process: trio.Process = await nursery.start(
                    partial(
                        trio.run_process,
                        [sys.executable, "-m", "voicegate.relay"],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        check=False,
                        deliver_cancel=_kill,
                        # Out of reach of the terminal's Ctrl-C from its first instruction on.
                        process_group=0,
                        pass_fds=self._descriptors,
                        # No linear algebra is done, so threads for it would only cost time to start.
                        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                    )
                )
                async with ControlChannel(cast("trio.abc.Stream", process.stdio)) as control:
                    worker = WorkerProcess(process, control, scope)
                    task_status.started(worker)
                    await trio.sleep_forever()
        worker.ended.set()


async def _kill(process: trio.Process) -> None:
    """End a worker the short way: it has nothing to put in order."""
    process.kill()
