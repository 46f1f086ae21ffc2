"""Where the present snapshot hangs, for whoever watches."""

from collections.abc import Callable

import trio

from voicegate.directory.base import Snapshot

__all__ = ["Board"]


class Board:
    """Those who wait for the next snapshot.

    Args:
        read: Returns the present one.
    """

    def __init__(self, read: Callable[[], Snapshot]) -> None:
        self.read = read
        self.edition = 0
        """Counts the news."""
        self._changed = trio.Event()

    def tell_news(self) -> None:
        """Let watchers have the present snapshot."""
        self.edition += 1
        self.wake()

    def watch(self) -> trio.abc.ReceiveChannel[Snapshot]:
        """Open a channel of snapshots, which never ends by itself."""
        return _Watch(self)

    async def wait_changed(self) -> None:
        """Wait until somebody wakes all."""
        await self._changed.wait()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        self._changed.set()
        self._changed = trio.Event()


class _Watch(trio.abc.ReceiveChannel[Snapshot]):
    """What one watcher has seen. The board doesn't know it, so one that is given up leaves nothing."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._seen = -1
        self._is_closed = False

    async def receive(self) -> Snapshot:
        await trio.lowlevel.checkpoint()
        while not self._is_closed:
            if self._seen != self._board.edition:
                self._seen = self._board.edition
                return self._board.read()
            await self._board.wait_changed()
        raise trio.ClosedResourceError

    async def aclose(self) -> None:
        self._is_closed = True
        self._board.wake()
        await trio.lowlevel.checkpoint()
