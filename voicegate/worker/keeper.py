"""The place of one worker, and what its supervisor tells all of them.

Layer: shell (Trio).
"""

import os
from pathlib import Path
from typing import Final

import attrs
import structlog
import trio

from voicegate.access import share
from voicegate.child.channel import ControlChannel, ControlMessage
from voicegate.child.keeper import Keeper
from voicegate.child.reserve import Reserve
from voicegate.config import Address, Config
from voicegate.directory import Directory, TransceiverLease
from voicegate.signalling import RemoteCalls, UnixDoor
from voicegate.signalling.relays import RelayList
from voicegate.worker.control import WorkerSettings, worker_socket

__all__ = ["ANSWER_SECONDS", "Orders", "WorkerKeeper"]

_START_SECONDS: Final = 90.0
"""For a worker to be ready: some agents load a model first."""

ANSWER_SECONDS: Final = 2.0
"""For a worker to answer its supervisor: whoever asks that one waits for five, and should hear from the
others at least."""

_log = structlog.get_logger(__name__)


class Orders:
    """What all workers are told, and what the directory is told of all of them."""

    def __init__(self, *, hop_host: str, relays: RelayList) -> None:
        self.hop_host = hop_host
        """The address of this machine, where a worker's own is a wildcard."""
        self.peer: Address | None = None
        """Where other machines of the cluster ask about the calls, if they may."""
        self.drains_until: float | None = None
        self.relays = relays
        self.changed = trio.Event()
        """Set, and replaced, when there is something to tell."""

    @property
    def drain_seconds(self) -> float | None:
        """What is left of the time that calls have; None without a drain."""
        return None if self.drains_until is None else max(0.0, self.drains_until - trio.current_time())

    def note_change(self) -> None:
        """Wake whoever tells it."""
        self.changed.set()
        self.changed = trio.Event()


class WorkerKeeper(Keeper):
    """Keeps one worker running, and the directory up to date about it."""

    def __init__(
        self,
        number: int,
        settings: WorkerSettings,
        orders: Orders,
        directory: Directory,
        *,
        reserve: Reserve,
    ) -> None:
        # From the other end than the relay's workers, so that they meet only where they must.
        processors = sorted(os.sched_getaffinity(0), reverse=True)
        super().__init__(
            "worker",
            number,
            reserve=reserve,
            processor=processors[number % len(processors)],
            start_seconds=_START_SECONDS,
        )
        self.transceiver_id: int | None = None
        """The present worker's; None while there is none."""
        self.calls: RemoteCalls | None = None
        """Those of the present worker; None while there is none."""
        host, port = settings.hop
        self._settings = attrs.evolve(
            settings,
            number=number,
            config=_share(settings.config, number),
            hop=Address(host, port + number if port else 0),
        )
        self._orders = orders
        self._told = orders.drains_until, orders.relays
        self._directory = directory
        self._hop: Address | None = None
        self._beats = 0
        self.call_count = 0
        """Of the present worker, when it was last heard of."""
        self._asked = 0
        """How often it was asked since to take one."""
        self._is_draining = self._is_retired = False
        self._heard = trio.Event()

    @property
    def room(self) -> int:
        """Calls that the present worker could still take, as far as is known here."""
        return self._settings.config.max_calls - self.call_count - self._asked

    def note_asked(self) -> None:
        """Take note of a call that the present worker may have, and has not told of."""
        self._asked += 1

    def retire(self) -> bool:
        """Have the present worker take no new calls; False when it was told so already."""
        if self._is_retired:
            return False
        self._is_retired = True
        id_ = self._settings.transceiver_id
        _log.error("transceiver_id_conflict", worker=self.number, transceiver=f"{id_:08x}")
        self.announce()
        self._orders.note_change()
        return True

    def announce(self) -> None:
        """Tell the directory how things stand with the present worker."""
        if self.transceiver_id is None or self._hop is None:
            return
        host, port = self._hop
        lease = TransceiverLease(
            hop=(self._orders.hop_host if self._hop.is_wildcard else host, port),
            peer=self._orders.peer,
            region=self._settings.config.region,
            calls=self.call_count,
            max_calls=self._settings.config.max_calls,
            is_draining=self._is_retired or self._orders.drains_until is not None,
        )
        self._directory.register(self.transceiver_id, lease)

    async def wait_obeyed(self) -> None:
        """Wait until the present worker, if there is one, takes calls or does not, as it is to."""
        while self.calls is not None and self._is_draining != self._wants_draining:
            await self._heard.wait()

    async def wait_empty(self) -> None:
        """Wait until the present worker has no calls."""
        while self.call_count:
            await self._heard.wait()

    @property
    def _wants_draining(self) -> bool:
        return self._is_retired or self._orders.drains_until is not None

    async def _first_message(self) -> ControlMessage:
        # Each worker has an id of its own: what led to its predecessor's calls leads nowhere any more.
        id_ = await self._directory.claim(self._settings.config.cluster)
        self._settings = attrs.evolve(
            self._settings,
            transceiver_id=id_,
            drain_seconds=self._orders.drain_seconds,
            relays=self._orders.relays,
        )
        self._told = self._orders.drains_until, self._orders.relays
        self._is_draining = self._orders.drains_until is not None
        return self._settings.to_json()

    def _welcome(self, reply: ControlMessage) -> None:
        self._hop = Address(*reply["hop"])
        self.transceiver_id = self._settings.transceiver_id
        self.calls = RemoteCalls(
            UnixDoor(self._socket), agent_name=self._settings.config.agent, patience=ANSWER_SECONDS
        )
        self.announce()

    async def _feed(self, control: ControlChannel) -> None:
        """Tell the worker what is new, until it has retired and has no calls any more."""
        is_told = False
        while not (self._is_retired and self._is_draining and not self.call_count):
            orders = self._orders
            changed = orders.changed
            drains_until, relays = self._told
            self._told = orders.drains_until, orders.relays
            if orders.drains_until != drains_until:
                await control.send({"drain": orders.drain_seconds})
            if orders.relays != relays:
                await control.send({"relays": orders.relays.encode()})
            if self._is_retired and not is_told:
                is_told = True
                await control.send({"retire": True})
            await changed.wait()

    def _handle(self, message: ControlMessage, _nursery: trio.Nursery) -> None:
        self._beats += 1
        told = self.call_count, self._is_draining
        self.call_count, self._is_draining = message["calls"], message["is_draining"]
        self._asked = 0
        if told != (self.call_count, self._is_draining):
            self.announce()
            self._note_heard()
            if self._is_retired:
                self._orders.note_change()

    def _note_heard(self) -> None:
        self._heard.set()
        self._heard = trio.Event()

    def _count_heartbeats(self) -> int:
        return self._beats

    def _vacate(self) -> None:
        self._directory.unregister(self._settings.transceiver_id)
        self._socket.unlink(missing_ok=True)
        self.transceiver_id = self.calls = self._hop = None
        self.call_count, self._asked, self._is_retired = 0, 0, False
        self._note_heard()

    @property
    def _socket(self) -> Path:
        return worker_socket(self._settings.folder, self._settings.transceiver_id)


def _share(config: Config, number: int) -> Config:
    """Give a worker its part of what the server as a whole may have; the first ones get the remainder."""
    return attrs.evolve(
        config,
        workers=1,
        max_calls=share(config.max_calls, number, config.workers),
        max_pending_calls=share(config.max_pending_calls, number, config.workers),
    )
