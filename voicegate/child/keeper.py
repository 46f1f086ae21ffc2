"""A place for a worker is kept occupied: a process takes it, is watched, replaced, ended.

One that dies is replaced, at first at once, and later with longer and longer pauses; one that hangs is killed
first. The others go on untouched.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog
import trio

from voicegate.child.channel import ControlChannel, ControlMessage
from voicegate.child.reserve import Reserve
from voicegate.errors import WireError

__all__ = ["Keeper", "start_keepers"]

_START_DEADLINE: Final = 20.0
"""Seconds for a worker to say that it is ready: an interpreter's start, on a machine that is busy."""

_HEARTBEAT_INTERVAL: Final = 1.0
"""Seconds between looks for a sign of life."""

_HEARTBEATS_MISSED: Final = 10
"""Looks in vain until a worker is taken for hung. Looks and not seconds, so that a machine that stood still
itself kills nobody."""

_FIRST_BACK_OFF: Final = 0.1
"""Seconds before a worker is replaced that died soon after its predecessor had. Doubles each time."""

_LAST_BACK_OFF: Final = 5.0
"""Seconds at which doubling ends."""

_STEADY_AFTER: Final = 30.0
"""Seconds of life that make a worker's death an accident again, and not the next of a series."""

_log = structlog.get_logger(__name__)


class Keeper(ABC):
    """The keeper of one place; what its workers are for is a subclass's business.

    A worker's first line configures it. It answers with one of its own, an ``error`` if it cannot start, and
    from then on both say what they like.

    Args:
        kind: What its workers are, in the log.
        number: Which of them, from 0.
        reserve: Where they come from.
        processor: The one that they keep to; None for any.
        start_seconds: For a worker to say that it is ready; None for what an interpreter's start may take.
    """

    def __init__(
        self,
        kind: str,
        number: int,
        *,
        reserve: Reserve,
        processor: int | None = None,
        start_seconds: float | None = None,
    ) -> None:
        self.number: Final = number
        self.pid: int | None = None
        """The present worker's process id; None while there is none."""
        self.workers_started = 0
        """Workers that were ever ready; one more than deaths."""
        self._kind = kind
        self._reserve = reserve
        self._processor = processor
        self._start_seconds = _START_DEADLINE if start_seconds is None else start_seconds

    async def run(self, *, task_status: trio.TaskStatus[str | None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the place occupied, for ever.

        What ``nursery.start`` returns is why the first worker could not start, or None.
        """
        back_off = 0.0
        while True:
            began_at = trio.current_time()
            cause = await self._run_worker(task_status)
            if not self.workers_started:
                task_status.started(cause)
                return
            if trio.current_time() - began_at > _STEADY_AFTER:
                back_off = 0.0
            _log.error(f"{self._kind}_died", worker=self.number, cause=cause, restart_in=back_off)
            await trio.sleep(back_off)
            back_off = min(max(2 * back_off, _FIRST_BACK_OFF), _LAST_BACK_OFF)

    # What a subclass knows

    @abstractmethod
    async def _first_message(self) -> ControlMessage:
        """Return the configuration of a worker that takes this place now."""

    def _welcome(self, reply: ControlMessage) -> None:  # noqa: B027 - not each wants to know
        """Take note that a worker is ready."""

    @abstractmethod
    async def _feed(self, control: ControlChannel) -> None:
        """Tell a worker whatever it must hear, until cancelled.

        Errors: trio.BrokenResourceError when it can't hear, which ends the talk.
        """

    @abstractmethod
    def _handle(self, message: ControlMessage, nursery: trio.Nursery) -> None:
        """Take what a worker says; the nursery lasts as long as the talk."""

    @abstractmethod
    def _count_heartbeats(self) -> int:
        """Return a number that grows as long as the worker lives."""

    @abstractmethod
    def _vacate(self) -> None:
        """Clear up after a worker that is gone."""

    # Internals

    async def _run_worker(self, task_status: trio.TaskStatus[None]) -> str:
        """Run one worker until it ends; return why it did."""
        worker = await self._reserve.take()
        if self._processor is not None:
            with suppress(OSError):
                os.sched_setaffinity(worker.pid, {self._processor})
        cause = await self._converse(worker.control, worker.pid, task_status)
        # Whatever ended the conversation, a worker that nobody talks to must not live on.
        self.pid = None
        status = await worker.dismiss()
        self._vacate()
        return cause or f"the worker ended with exit status {status}"

    async def _converse(
        self, control: ControlChannel, pid: int, task_status: trio.TaskStatus[None]
    ) -> str | None:
        """Talk to a worker until it is gone; return why, unless only its exit status can tell."""
        try:
            with trio.fail_after(self._start_seconds):
                await control.send(await self._first_message())
                reply = await control.receive()
            if reply is None:
                return None
            if "error" in reply:
                return str(reply["error"])
            self.pid = pid
            self.workers_started += 1
            self._welcome(reply)
            if self.workers_started == 1:
                task_status.started()
            return await self._accompany(control)
        except trio.BrokenResourceError:
            return None
        except trio.TooSlowError:
            return f"the worker was not ready within {self._start_seconds:g} s"
        except WireError as error:
            return _nonsense(error)

    async def _accompany(self, control: ControlChannel) -> str | None:
        """Talk to a worker that is ready."""
        causes: list[str] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell, control, nursery.cancel_scope)
            nursery.start_soon(self._watch, causes, nursery.cancel_scope)
            try:
                while (message := await control.receive()) is not None:
                    self._handle(message, nursery)
            except WireError as error:
                causes.append(_nonsense(error))
            nursery.cancel_scope.cancel()
        return causes[0] if causes else None

    async def _tell(self, control: ControlChannel, conversation: trio.CancelScope) -> None:
        with suppress(trio.BrokenResourceError):
            await self._feed(control)
        conversation.cancel()

    async def _watch(self, causes: list[str], conversation: trio.CancelScope) -> None:
        """End the talk when the worker shows no sign of life."""
        seen, missed = 0, 0
        while missed < _HEARTBEATS_MISSED:
            await trio.sleep(_HEARTBEAT_INTERVAL)
            heartbeats = self._count_heartbeats()
            missed = missed + 1 if heartbeats == seen else 0
            seen = heartbeats
        causes.append(f"the worker gave no sign of life for {missed * _HEARTBEAT_INTERVAL:g} s")
        conversation.cancel()


async def start_keepers(nursery: trio.Nursery, keepers: Sequence[Keeper]) -> list[str]:
    """Have all places taken, at the same time; return why some could not be."""
    causes: list[str] = []

    async def start(keeper: Keeper) -> None:
        cause = await nursery.start(keeper.run)
        if cause is not None:
            causes.append(cause)

    async with trio.open_nursery() as starting:
        for keeper in keepers:
            starting.start_soon(start, keeper)
    return causes


def _nonsense(error: WireError) -> str:
    return f"the worker talked nonsense: {error}"
