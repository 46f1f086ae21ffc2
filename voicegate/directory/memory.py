"""The directory of a single process."""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

import trio

from voicegate.directory.base import FLOW_ROW_SECONDS, Address, Snapshot

__all__ = ["FLOW_ROW_LIMIT", "MemoryDirectory"]

FLOW_ROW_LIMIT: Final = 262_144
"""Flow rows kept, in some 60 MB: the flows of four workers. Beyond it the oldest go first."""


class MemoryDirectory:
    """A directory that lives and dies with this process."""

    def __init__(self) -> None:
        self._snapshot: Snapshot = MappingProxyType({})
        self._changed = trio.Event()
        # Transceiver id and the time of expiry, in the order of that time.
        self._flows: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def register(self, transceiver_id: int, address: Address) -> None:
        """Announce that a transceiver serves at this address."""
        if self._snapshot.get(transceiver_id) != address:
            self._publish({**self._snapshot, transceiver_id: address})

    def unregister(self, transceiver_id: int) -> None:
        """Take a transceiver off; nothing happens when it isn't there."""
        if transceiver_id in self._snapshot:
            self._publish({id_: address for id_, address in self._snapshot.items() if id_ != transceiver_id})

    def transceivers(self) -> Snapshot:
        """Return the present snapshot."""
        return self._snapshot

    def watch(self) -> trio.abc.ReceiveChannel[Snapshot]:
        """Open a channel of snapshots, which never ends by itself."""
        return _Watch(self)

    def write_flows(self, rows: Mapping[bytes, int | None]) -> None:
        """Note the transceiver ids that flows lead to, by the keys of their clients; None deletes a row."""
        now = trio.current_time()
        for key, transceiver_id in rows.items():
            self._flows.pop(key, None)
            if transceiver_id is not None:
                self._flows[key] = transceiver_id, now + FLOW_ROW_SECONDS
        while self._flows and (
            len(self._flows) > FLOW_ROW_LIMIT or next(iter(self._flows.values()))[1] <= now
        ):
            self._flows.popitem(last=False)

    async def find_flows(self, keys: Collection[bytes]) -> Mapping[bytes, int]:
        """Return the transceiver ids of those flows that are known. Always checkpoints."""
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        rows = ((key, self._flows.get(key)) for key in keys)
        return {key: row[0] for key, row in rows if row is not None and row[1] > now}

    async def wait_changed(self) -> None:
        """Wait for the next snapshot."""
        await self._changed.wait()

    def wake(self) -> None:
        """Let everybody who waits for a change look again."""
        self._changed.set()
        self._changed = trio.Event()

    def _publish(self, transceivers: dict[int, Address]) -> None:
        self._snapshot = MappingProxyType(transceivers)
        self.wake()


class _Watch(trio.abc.ReceiveChannel[Snapshot]):
    """What one watcher has seen. The directory doesn't know it, so one that is given up leaves nothing."""

    def __init__(self, directory: MemoryDirectory) -> None:
        self._directory = directory
        self._seen: Snapshot | None = None
        self._is_closed = False

    async def receive(self) -> Snapshot:
        await trio.lowlevel.checkpoint()
        while not self._is_closed:
            snapshot = self._directory.transceivers()
            if snapshot is not self._seen:
                self._seen = snapshot
                return snapshot
            await self._directory.wait_changed()
        raise trio.ClosedResourceError

    async def aclose(self) -> None:
        self._is_closed = True
        self._directory.wake()
        await trio.lowlevel.checkpoint()
