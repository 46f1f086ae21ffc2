"""One end of the socket between a media process and the process of its agent.

Nothing that posts ever waits. All that was posted within a tick leaves in one write; all that arrived is
taken in turns, between which other tasks have theirs.
"""

from collections.abc import Callable
from typing import Final

import trio

from voicegate.agents.process.message import MessageReader, encode
from voicegate.agents.process.outbox import Outbox
from voicegate.call import AUDIO_IN_FRAMES
from voicegate.errors import WireError

__all__ = ["Link"]

_TICK: Final = 0.005
"""Seconds between two writes. A write wakes two processes, at some 0.1 ms of processor time each: once per
frame of a hundred calls would be half a core, once per tick is two hundredths."""

_CONTROL_LIMIT: Final = 32 * 1024 * 1024
"""Bytes of all that is not audio that may wait to be read. Events and messages are held back long before, so
it is thousands of calls that came and went unseen, or a few of the longest messages."""

_SLACK_BYTES: Final = 65_536
"""So much may wait before `Link.wait_room` waits: some hundred events."""

_BATCH_BYTES: Final = 131_072
"""In one write, and in one read. The kernel keeps about 200 KB of a socket."""

_TURN_MESSAGES: Final = 64
"""Messages that are handled before other tasks have their turn: some tenths of a millisecond."""


class Link:
    """A connected stream socket, and what waits to be sent on it.

    Args:
        sock: one end of it.
        prepare: called before each write, to post what is to be as new as can be; it says whether it wants to
            be called again in a tick even if nothing else is posted.
    """

    def __init__(self, sock: trio.socket.SocketType, prepare: Callable[[], bool] | None = None) -> None:
        self.outbox: Final = Outbox(audio_limit=AUDIO_IN_FRAMES, control_limit=_CONTROL_LIMIT)
        self._socket = sock
        self._prepare = prepare
        self._scope = trio.CancelScope()
        self._fault: str | None = None
        self._posted = trio.Event()
        self._sent_at = 0.0
        self._waiting = trio.lowlevel.ParkingLot()

    def post(self, call: int, message: object) -> None:
        """Send a message before all audio.

        Errors: UsageError for one that can't be sent.
        """
        self.outbox.push(encode(call, message))
        self._posted.set()
        if self.outbox.is_overrun:
            self.fail("it does not read what it is sent")

    def post_audio(self, call: int, message: object) -> bool:
        """Send a message in its place within a call's audio; False if an older one made way for it.

        Errors: UsageError for one that can't be sent.
        """
        has_room = self.outbox.push_audio(call, encode(call, message))
        self._posted.set()
        return has_room

    def stir(self) -> None:
        """Have a write prepared."""
        self._posted.set()

    async def wait_room(self) -> None:
        """Wait until the other end has read most of what was posted.

        Cancellation: a checkpoint always.
        """
        await trio.lowlevel.checkpoint()
        while self.outbox.control_bytes > _SLACK_BYTES:
            await self._waiting.park()

    def fail(self, fault: str) -> None:
        """Give the other end up."""
        self._fault = self._fault or fault
        self._scope.cancel()

    async def run(self, handle: Callable[[int, object], None]) -> str | None:
        """Send and receive until the other end is gone; return what was wrong with it, None if it just left.

        What ``handle`` makes of a message may be a WireError: then something was wrong with it.
        Cancellation: what waits is not sent.
        """
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send)
                await self._receive(handle)
                nursery.cancel_scope.cancel()
        return self._fault

    # Internals

    async def _send(self) -> None:
        try:
            while True:
                await self._posted.wait()
                # At once after a pause, and otherwise with all else that comes in this tick.
                await trio.sleep_until(self._sent_at + _TICK)
                self._sent_at = trio.current_time()
                is_wanted_again = self._prepare is not None and self._prepare()
                self._posted = trio.Event()
                if is_wanted_again:
                    self._posted.set()
                while data := self.outbox.take(_BATCH_BYTES):
                    view = memoryview(data)
                    while view:
                        view = view[await self._socket.send(view) :]
                    if self.outbox.control_bytes <= _SLACK_BYTES:
                        self._waiting.unpark_all()
        except OSError:
            self._scope.cancel()

    async def _receive(self, handle: Callable[[int, object], None]) -> None:
        reader = MessageReader()
        try:
            while data := await self._socket.recv(_BATCH_BYTES):
                reader.feed(data)
                turn = 0
                while (message := reader.poll()) is not None:
                    handle(*message)
                    turn += 1
                    if turn % _TURN_MESSAGES == 0:
                        await trio.lowlevel.checkpoint()
        except OSError:
            return
        except WireError as error:
            self.fail(f"it talks nonsense: {error}")
