"""A place for a worker is kept occupied: a process takes it, is watched, replaced, ended.

One that dies is replaced, at first at once, and later with longer and longer pauses; one that hangs is killed
first. The others go on untouched.
"""

import os
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Final, Protocol

import structlog
import trio

from voicegate.errors import WireError
from voicegate.relay.control import (
    ControlChannel,
    ControlMessage,
    FlowRows,
    RelayConfig,
    decode_rows,
    encode_rows,
)
from voicegate.relay.counter import Count
from voicegate.relay.reserve import Reserve
from voicegate.relay.slot import Slot
from voicegate.wire.path import Address

__all__ = ["FlowStore", "Keeper"]

_START_DEADLINE: Final = 20.0
"""Seconds for a worker to say that it is ready: an interpreter's start, on a machine that is busy."""

_HEARTBEAT_INTERVAL: Final = 1.0
"""Seconds between looks for a sign of life."""

_HEARTBEATS_MISSED: Final = 10
"""Looks in vain until a worker is taken for hung. Looks and not seconds, so that a machine that stood still
itself kills nobody."""

_LOOKUP_DEADLINE: Final = 1.0
"""Seconds for the directory to find flows; by then, clients' next checks have mostly come."""

_ANSWERS_KEPT: Final = 256
"""Answers that wait for a worker to read them; the oldest are given up, since it will ask again."""

_FIRST_BACK_OFF: Final = 0.1
"""Seconds before a worker is replaced that died soon after its predecessor had. Doubles each time."""

_LAST_BACK_OFF: Final = 5.0
"""Seconds at which doubling ends."""

_STEADY_AFTER: Final = 30.0
"""Seconds of life that make a worker's death an accident again, and not the next of a series."""

_log = structlog.get_logger(__name__)


class FlowStore(Protocol):
    """Where flows are kept for other workers to find, by key; it never fails, it only may not know."""

    def write_flows(self, rows: FlowRows, /) -> None:
        """Note where flows lead to; never waits."""
        ...

    async def find_flows(self, keys: Collection[bytes], /) -> Mapping[bytes, int]:
        """Return the transceiver ids of those that are known."""
        ...


class Keeper:
    """The keeper of one place.

    Args:
        number: Which worker of the relay, from 0.
        slot: The place.
        config: The relay's.
        reserve: Where workers come from.
        directory: Where flows are written to and looked up; None where there is none.
    """

    def __init__(
        self,
        number: int,
        slot: Slot,
        config: RelayConfig,
        *,
        reserve: Reserve,
        directory: FlowStore | None,
    ) -> None:
        self.slot: Final = slot
        self.pid: int | None = None
        """The present worker's process id; None while there is none."""
        self.workers_started = 0
        """Workers that were ever ready; one more than deaths."""
        self._number = number
        self._config = config
        self._reserve = reserve
        self._directory = directory
        self._transceivers = config.transceivers
        self._answers: deque[ControlMessage] = deque(maxlen=_ANSWERS_KEPT)
        self._wake = trio.Event()

    def set_transceivers(self, transceivers: Mapping[int, Address]) -> None:
        """Replace the list of transceivers for this worker and each later one."""
        self._transceivers = transceivers
        self._wake.set()

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
            _log.error("relay_worker_died", worker=self._number, cause=cause, restart_in=back_off)
            await trio.sleep(back_off)
            back_off = min(max(2 * back_off, _FIRST_BACK_OFF), _LAST_BACK_OFF)

    # Internals

    async def _run_worker(self, task_status: trio.TaskStatus[None]) -> str:
        """Run one worker until it ends; return why it did."""
        worker = await self._reserve.take()
        self._pin(worker.pid)
        cause = await self._converse(worker.control, worker.pid, task_status)
        # Whatever ended the conversation, a worker that nobody talks to must not live on.
        self.pid = None
        status = await worker.dismiss()
        self.slot.vacate()
        return cause or f"the worker ended with exit status {status}"

    def _pin(self, pid: int) -> None:
        """Keep workers that share a machine out of each other's way, and their data in their own caches."""
        processors = sorted(os.sched_getaffinity(0))
        if self._config.workers > 1:
            with suppress(OSError):
                os.sched_setaffinity(pid, {processors[self._number % len(processors)]})

    async def _converse(
        self, control: ControlChannel, pid: int, task_status: trio.TaskStatus[None]
    ) -> str | None:
        """Talk to a worker until it is gone; return why, unless only its exit status can tell."""
        known = self._transceivers
        config = self.slot.worker_config(
            self._config, transceivers=known, has_directory=self._directory is not None
        )
        try:
            with trio.fail_after(_START_DEADLINE):
                await control.send(config.to_json())
                reply = await control.receive()
            if reply is None:
                return None
            if "error" in reply:
                return str(reply["error"])
            self.pid = pid
            self.workers_started += 1
            if self.workers_started == 1:
                task_status.started()
            return await self._accompany(control, known)
        except trio.BrokenResourceError:
            return None
        except trio.TooSlowError:
            return f"the worker was not ready within {_START_DEADLINE:g} s"
        except WireError as error:
            return _nonsense(error)

    async def _accompany(self, control: ControlChannel, known: Mapping[int, Address]) -> str | None:
        """Talk to a worker that is ready."""
        causes: list[str] = []
        # Those to questions of its predecessor, which counted from 1 too.
        self._answers.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feed, control, known, nursery.cancel_scope)
            nursery.start_soon(self._watch, causes, nursery.cancel_scope)
            try:
                while (message := await control.receive()) is not None:
                    self._handle(message, nursery)
            except WireError as error:
                causes.append(_nonsense(error))
            nursery.cancel_scope.cancel()
        return causes[0] if causes else None

    async def _feed(
        self, control: ControlChannel, known: Mapping[int, Address], conversation: trio.CancelScope
    ) -> None:
        """Tell a worker each change, and what it asked for; end the talk when it can't hear."""
        try:
            while True:
                # Taken before looking, so that a change during a send is seen in the next turn.
                wake = self._wake = trio.Event()
                if self._transceivers is not known:
                    known = self._transceivers
                    await control.send({"transceivers": known})
                while self._answers:
                    await control.send(self._answers.popleft())
                await wake.wait()
        except trio.BrokenResourceError:
            conversation.cancel()

    async def _watch(self, causes: list[str], conversation: trio.CancelScope) -> None:
        """End the talk when the worker shows no sign of life."""
        seen, missed = 0, 0
        while missed < _HEARTBEATS_MISSED:
            await trio.sleep(_HEARTBEAT_INTERVAL)
            heartbeats = self.slot.counters.get(Count.HEARTBEATS)
            missed = missed + 1 if heartbeats == seen else 0
            seen = heartbeats
        causes.append(f"the worker gave no sign of life for {missed * _HEARTBEAT_INTERVAL:g} s")
        conversation.cancel()

    def _handle(self, message: ControlMessage, nursery: trio.Nursery) -> None:
        if self._directory is None:
            return
        if "rows" in message:
            self._directory.write_flows(decode_rows(message["rows"]))
        if "lookup" in message:
            keys = [bytes.fromhex(key) for key in message["keys"]]
            nursery.start_soon(self._look_up, self._directory, message["lookup"], keys)

    async def _look_up(self, directory: FlowStore, number: int, keys: Collection[bytes]) -> None:
        with trio.move_on_after(_LOOKUP_DEADLINE):
            found = await directory.find_flows(keys)
            self._answers.append({"found": number, "flows": encode_rows(found)})
            self._wake.set()


def _nonsense(error: WireError) -> str:
    return f"the worker talked nonsense: {error}"
