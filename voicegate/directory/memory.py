"""The directory of a single process."""

from types import MappingProxyType

import trio

from voicegate.directory.base import Address, Snapshot

__all__ = ["MemoryDirectory"]


class MemoryDirectory:
    """A directory that lives and dies with this process."""

    def __init__(self) -> None:
        self._snapshot: Snapshot = MappingProxyType({})
        self._changed = trio.Event()

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
