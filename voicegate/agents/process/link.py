"""One end of the socket between a media process and the process of its agent.

What was posted leaves in one write per tick; all that arrived is taken in turns, between which other tasks
have theirs.
"""

from collections.abc import Callable
from typing import Final

import trio

from voicegate.agents.process.message import MessageReader, encode
from voicegate.agents.process.sender import Sender
from voicegate.errors import WireError

__all__ = ["Link"]

_BATCH_BYTES: Final = 131_072
"""In one write, and in one read. The kernel keeps about 200 KB of a socket."""

TURN_MESSAGES: Final = 64
"""Messages that are handled before other tasks have their turn: some tenths of a millisecond."""


class Link(Sender):
    """A connected stream socket, and what waits to be sent on it.

    Args:
        sock: one end of it.
        prepare: as `Sender` has it.
    """

    def __init__(self, sock: trio.socket.SocketType, prepare: Callable[[], bool] | None = None) -> None:
        super().__init__(encode, prepare)
        self._socket = sock

    async def run(self, handle: Callable[[int, object], None]) -> str | None:
        """Send and receive until the other end is gone; return what was wrong with it, None if it just left.

        What ``handle`` makes of a message may be a WireError: then something was wrong with it.
        Cancellation: what waits is not sent.
        """
        with self.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send)
                await self._receive(handle)
                nursery.cancel_scope.cancel()
        return self.fault

    # Internals

    async def _send(self) -> None:
        try:
            while True:
                await self.wait_turn()
                while data := self.outbox.take(_BATCH_BYTES):
                    view = memoryview(data)
                    while view:
                        view = view[await self._socket.send(view) :]
                    self.note_room()
        except OSError:
            self.scope.cancel()

    async def _receive(self, handle: Callable[[int, object], None]) -> None:
        reader = MessageReader()
        try:
            while data := await self._socket.recv(_BATCH_BYTES):
                reader.feed(data)
                turn = 0
                while (message := reader.poll()) is not None:
                    handle(*message)
                    turn += 1
                    if turn % TURN_MESSAGES == 0:
                        await trio.lowlevel.checkpoint()
        except OSError:
            return
        except WireError as error:
            self.fail(f"it talks nonsense: {error}")
