"""A relay worker's place is kept occupied: its workers learn the transceivers, and are found flows."""

import os
from collections import deque
from collections.abc import Collection, Mapping
from typing import Final, Protocol

import trio

from voicegate.child.channel import ControlChannel, ControlMessage
from voicegate.child.keeper import Keeper
from voicegate.child.reserve import Reserve
from voicegate.relay.control import FlowRows, RelayConfig, decode_rows, encode_rows
from voicegate.relay.counter import Count
from voicegate.relay.slot import Slot
from voicegate.wire.path import Address

__all__ = ["FlowStore", "RelayKeeper"]

_LOOKUP_DEADLINE: Final = 1.0
"""Seconds for the directory to find flows; by then, clients' next checks have mostly come."""

_ANSWERS_KEPT: Final = 256
"""Answers that wait for a worker to read them; the oldest are given up, since it will ask again."""


class FlowStore(Protocol):
    """Where flows are kept for other workers to find, by key; it never fails, it only may not know."""

    def write_flows(self, rows: FlowRows, /) -> None:
        """Note where flows lead to; never waits."""
        ...

    async def find_flows(self, keys: Collection[bytes], /) -> Mapping[bytes, int]:
        """Return the transceiver ids of those that are known."""
        ...


class RelayKeeper(Keeper):
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
        # Workers that share a machine keep out of each other's way, and their data in their own caches.
        processors = sorted(os.sched_getaffinity(0)) if config.workers > 1 else [None]
        processor = processors[number % len(processors)]
        super().__init__("relay_worker", number, reserve=reserve, processor=processor)
        self.slot: Final = slot
        self._config = config
        self._directory = directory
        self._transceivers = self._told = config.transceivers
        self._answers: deque[ControlMessage] = deque(maxlen=_ANSWERS_KEPT)
        self._wake = trio.Event()

    def set_transceivers(self, transceivers: Mapping[int, Address]) -> None:
        """Replace the list of transceivers for this worker and each later one."""
        self._transceivers = transceivers
        self._wake.set()

    # Internals

    async def _first_message(self) -> ControlMessage:
        self._told = self._transceivers
        # Those to questions of its predecessor, which counted from 1 too.
        self._answers.clear()
        config = self.slot.worker_config(
            self._config, transceivers=self._told, has_directory=self._directory is not None
        )
        return config.to_json()

    async def _feed(self, control: ControlChannel) -> None:
        """Tell a worker each change, and what it asked for."""
        while True:
            # Taken before looking, so that a change during a send is seen in the next turn.
            wake = self._wake = trio.Event()
            if self._transceivers is not self._told:
                self._told = self._transceivers
                await control.send({"transceivers": self._told})
            while self._answers:
                await control.send(self._answers.popleft())
            await wake.wait()

    def _count_heartbeats(self) -> int:
        return self.slot.counters.get(Count.HEARTBEATS)

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

    def _vacate(self) -> None:
        self.slot.vacate()
