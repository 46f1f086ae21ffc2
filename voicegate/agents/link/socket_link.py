"""One end of a link: one socket after another, and what outlives each."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final, Protocol

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from voicegate.agents.link.codec import Acknowledged
from voicegate.agents.process.sender import Sender
from voicegate.errors import WireError
from voicegate.link import Journal, Pace

__all__ = ["MAX_MESSAGE_BYTES", "RECEIVE_BYTES", "SocketLink"]

MAX_MESSAGE_BYTES: Final = 24 * 1024 * 1024
"""Of a WebSocket message: the longest message of a data channel (16 MiB), in base64."""

RECEIVE_BYTES: Final = 131_072
"""That are read from a socket at once."""

_BATCH_BYTES: Final = 131_072
"""Of sound, in one message."""

_TURN_MESSAGES: Final = 64
"""Frames that are handled before other tasks have their turn: some tenths of a millisecond."""

_PING_SECONDS: Final = 5.0
"""Between two questions whether the other end is still there."""

_PONG_SECONDS: Final = 10.0
"""For its answer; then the socket is given up."""

_ACKNOWLEDGE_SECONDS: Final = 1.0
"""At least so often what was received is acknowledged."""

_TURNS_A_SECOND: Final = 400
"""Events and frames of one call that are taken: eight times as many as there are in real time."""

_TURNS_AT_ONCE: Final = 6000
"""That may come in a burst: two minutes of sound."""


class _Codec(Protocol):
    def encode(self, call: int, message: object) -> bytes | str: ...

    def read(self, message: bytes | str) -> Iterator[tuple[int, object]]: ...


class SocketLink(Sender):
    """The messages of a session, in whichever socket it has.

    Args:
        codec: Writes and reads them.
        prepare: As `Sender` has it.
        audio_limit: As `Sender` has it.
        call_count: How many calls there are, each of which has its own pace; None: any pace is fine.
    """

    def __init__(
        self,
        codec: _Codec,
        prepare: Callable[[], bool] | None = None,
        *,
        audio_limit: int,
        call_count: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(codec.encode, prepare, audio_limit=audio_limit)
        self.journal: Journal | None = None
        """Of the session, if the other end can go on with it in another socket."""
        self._codec = codec
        self._call_count = call_count
        self._pace: Pace | None = None
        self._acknowledgement: int | None = None
        self._is_acknowledging = trio.Event()
        self._was_acknowledged = trio.Event()
        self._is_idle = True
        self._fell_idle = trio.Event()

    def fail(self, fault: str) -> None:
        """Give the other end up; if it is too far behind, so is what waits for it."""
        if self.outbox.is_overrun:
            self.reset()
        super().fail(fault)

    def reset(self) -> None:
        """Begin anew: nothing that was said before counts."""
        self.outbox.clear()
        self.journal = None

    async def run(
        self,
        socket: WebSocketConnection,
        handle: Callable[[int, object], None],
        *,
        again: Iterable[bytes | str] = (),
    ) -> str | None:
        """Send and receive until the socket is closed or broken; return what was wrong, if that is known.

        Args:
            socket: Behind the hello of both ends.
            handle: Takes a message about a call; a WireError of its is the other end's fault.
            again: What a socket before this one may have lost.

        Cancellation: the session can go on in another socket.
        """
        self.fault, self.scope = None, trio.CancelScope()
        self._acknowledgement = None
        with self.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, socket, again)
                nursery.start_soon(self._keep_alive, socket)
                nursery.start_soon(self._acknowledge, socket)
                await self._receive(socket, handle)
                nursery.cancel_scope.cancel()
        return self.fault

    async def flush(self) -> None:
        """Wait until all that was posted has been sent, while `run` runs."""
        while self.outbox or not self._is_idle:
            await self._fell_idle.wait()

    # Out

    async def _send(self, socket: WebSocketConnection, again: Iterable[bytes | str]) -> None:
        with suppress(ConnectionClosed):
            for message in again:
                await socket.send_message(message)
            while True:
                await self.wait_turn()
                self._is_idle = False
                while pieces := self.outbox.take_pieces(_BATCH_BYTES):
                    await self._send_all(socket, list(_bundle(pieces)))
                    self.note_room()
                self._is_idle = True
                self._fell_idle.set()
                self._fell_idle = trio.Event()
        self.scope.cancel()

    async def _send_all(self, socket: WebSocketConnection, messages: list[bytes | str]) -> None:
        journal = self.journal
        if journal is not None:
            # All before the first is sent: a socket that breaks in between must lose none.
            for message in messages:
                journal.send(message)
        for message in messages:
            await socket.send_message(message)
        while self.journal is not None and self.journal.is_full:
            self._was_acknowledged = trio.Event()
            await self._was_acknowledged.wait()

    async def _acknowledge(self, socket: WebSocketConnection) -> None:
        # In a task of its own: neither a full journal nor a full socket holds back what empties the other's.
        with suppress(ConnectionClosed):
            while True:
                with trio.move_on_after(_ACKNOWLEDGE_SECONDS):
                    await self._is_acknowledging.wait()
                self._is_acknowledging = trio.Event()
                count, self._acknowledgement = self._acknowledgement, None
                if count is None and self.journal is not None:
                    count = self.journal.poll_acknowledgement(is_late=True)
                if count is not None:
                    await socket.send_message(str(self._codec.encode(0, Acknowledged(count))))

    async def _keep_alive(self, socket: WebSocketConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await trio.sleep(_PING_SECONDS)
                with trio.move_on_after(_PONG_SECONDS) as patience:
                    await socket.ping()
                if patience.cancelled_caught:
                    self.fail(f"it did not answer a ping within {_PONG_SECONDS:g} s")

    # In

    async def _receive(self, socket: WebSocketConnection, handle: Callable[[int, object], None]) -> None:
        try:
            while True:
                message = await socket.get_message()
                await self._take(message, handle)
        except ConnectionClosed:
            return
        except WireError as error:
            self.fail(f"it talks nonsense: {error}")

    async def _take(self, message: bytes | str, handle: Callable[[int, object], None]) -> None:
        turns, is_counted = 0, True
        for call, said in self._codec.read(message):
            if isinstance(said, Acknowledged):
                is_counted = False
                self._let_go(said.received)
                continue
            handle(call, said)
            turns += 1
            if turns % _TURN_MESSAGES == 0:
                # Whatever happens meanwhile, a message is taken whole or not at all.
                await trio.lowlevel.cancel_shielded_checkpoint()
        journal = self.journal
        if journal is not None and is_counted:
            journal.receive(message)
            if (count := journal.poll_acknowledgement()) is not None:
                self._acknowledgement = count
                self._is_acknowledging.set()
        await self._slow_down(turns)

    def _let_go(self, count: int) -> None:
        if self.journal is not None:
            self.journal.acknowledge(count)
            self._was_acknowledged.set()

    async def _slow_down(self, turns: int) -> None:
        if self._call_count is None:
            return
        now = trio.current_time()
        if self._pace is None:
            self._pace = Pace(rate=_TURNS_A_SECOND, burst=_TURNS_AT_ONCE, now=now)
        wait = self._pace.take(turns, now=now, scale=max(self._call_count(), 1))
        if wait:
            await trio.sleep(wait)


def _bundle(pieces: Iterable[bytes | str]) -> Iterator[bytes | str]:
    """Make messages: of sound, as much as comes in a row; of events, each its own."""
    sound: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            sound.append(piece)
            continue
        if sound:
            yield b"".join(sound)
            sound = []
        yield piece
    if sound:
        yield b"".join(sound)
