"""Child processes, one of them, where that is wanted, started before it is needed.

To load what a worker is made of takes a quarter of a second of processor time, on a busy machine seconds, and
meanwhile its clients hear nothing. So one process more than there are places may wait, all loaded, for its
first line; which place it takes is only said there.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, cast

import trio

from voicegate.child.channel import ControlChannel

__all__ = ["Reserve", "ChildProcess"]

_RESERVE_DELAY: Final = 1.0
"""Seconds until one that was taken is replaced: it has the processor first."""


class ChildProcess:
    """A child process and the way to talk to it."""

    def __init__(self, process: trio.Process, control: ControlChannel, scope: trio.CancelScope) -> None:
        self.pid: Final = process.pid
        self.control: Final = control
        self.ended: Final = trio.Event()
        """Set when it is gone and its pipes are closed."""
        self._process = process
        self._scope = scope

    async def dismiss(self) -> int | None:
        """Kill it, unless it has ended by itself, and return its exit status."""
        self._process.kill()
        self._scope.cancel()
        await self.ended.wait()
        return self._process.returncode


class Reserve:
    """Where processes for workers come from.

    Args:
        nursery: Where they live; cancelling it ends them all.
        module: What each runs, as by ``python -m``, with a `ControlChannel` on its stdio.
        descriptors: What each inherits, which is what any place may need.
        environment: Variables that each has besides ours.
        patience: Seconds for one to end by itself, at the end of its stdin, before it is killed.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        module: str,
        *,
        descriptors: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        patience: float = 0.0,
    ) -> None:
        self._nursery = nursery
        self._module = module
        self._descriptors = descriptors
        self._environment = environment or {}
        self._patience = patience
        self._waiting: ChildProcess | None = None
        self._taken = trio.Event()

    async def run(self) -> None:
        """Keep one process waiting, for ever."""
        while True:
            await trio.sleep(_RESERVE_DELAY)
            self._taken = trio.Event()
            self._waiting = await self._nursery.start(self._keep)
            await self._taken.wait()

    async def take(self) -> ChildProcess:
        """Return the one that waits, or a new one."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._taken.set()
            return waiting
        started: ChildProcess = await self._nursery.start(self._keep)
        return started

    async def _keep(self, *, task_status: trio.TaskStatus[ChildProcess]) -> None:
        """Be the parent of one process until it is dismissed."""
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                process: trio.Process = await nursery.start(
                    partial(
                        trio.run_process,
                        [sys.executable, "-m", self._module],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        check=False,
                        deliver_cancel=self._end,
                        # Out of reach of the terminal's Ctrl-C from its first instruction on.
                        process_group=0,
                        pass_fds=self._descriptors,
                        env={**os.environ, **self._environment},
                    )
                )
                async with ControlChannel(cast("trio.abc.Stream", process.stdio)) as control:
                    worker = ChildProcess(process, control, scope)
                    task_status.started(worker)
                    await trio.sleep_forever()
        worker.ended.set()

    async def _end(self, process: trio.Process) -> None:
        """End a child that has been left; its stdin ends at the same time."""
        await trio.sleep(self._patience)
        process.kill()
