"""One client's WebSocket once its head was read: trio-websocket on one side, ASGI on the other.

Threat notes. Attack: sockets that never read, messages without end, clients that vanish and leave a socket
for ever, headers that a library decodes and falls over. Wanted: bounded time and memory for each.
Construction: a deadline on every piece sent, `MAX_MESSAGE`, pings that want their pongs, and a head that is
checked before any library sees it.
"""

from base64 import b64decode
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import h11
import trio
import trio_websocket
from starlette.types import Message

from voicegate.signalling.door import Door
from voicegate.signalling.fault import RequestRefused
from voicegate.signalling.tunnel import carry, open_tunnel

__all__ = ["SocketCarrier", "check_handshake", "is_handshake", "subprotocols"]

MAX_MESSAGE: Final = 16 * 1024 * 1024
"""Bytes of one event: 15 MiB of audio in base64, which the API allows, and its wrapping."""
SEND_SECONDS: Final = 10.0
"""For the client to take one piece."""
CLOSE_SECONDS: Final = 1.0
"""For the client to say goodbye, too."""
PING_SECONDS: Final = 30.0
"""Between pings; what translates addresses on the way forgets idle connections after a minute or more."""
PONG_SECONDS: Final = 60.0
"""For a pong: it comes behind all that the client has sent and we have not taken yet."""

_PIECE: Final = 64 * 1024
_RECEIVE_SIZE: Final = 64 * 1024
_NONCE_LENGTH: Final = 16
_ABNORMAL: Final = 1006


def is_handshake(request: h11.Request) -> bool:
    """Tell whether a client asks for a WebSocket (RFC 6455 §4.2.1)."""
    return (
        request.method == b"GET"
        and request.http_version == b"1.1"
        and b"websocket" in _listed(request, b"upgrade")
        and b"upgrade" in _listed(request, b"connection")
    )


def check_handshake(request: h11.Request) -> None:
    """See that a client that asks for a WebSocket asks for it rightly.

    Errors: RequestRefused, 400 or 426.
    """
    if _listed(request, b"sec-websocket-version") != [b"13"]:
        raise RequestRefused(
            "Only version 13 of WebSocket is spoken here.",
            status=426,
            code="bad_request",
            headers={"Sec-WebSocket-Version": "13", "Upgrade": "websocket"},
        )
    headers = [(name, value) for name, value in request.headers if name.startswith(b"sec-websocket-")]
    nonces = [value for name, value in headers if name == b"sec-websocket-key"]
    has_body = any(name in {b"content-length", b"transfer-encoding"} for name, _ in request.headers)
    if has_body or len(nonces) != 1 or not _is_nonce(nonces[0]) or not all(v.isascii() for _, v in headers):
        raise RequestRefused("This handshake is not one of a WebSocket.", status=400, code="bad_request")


def subprotocols(request: h11.Request) -> list[str]:
    """List the subprotocols that a client offers."""
    return [value.decode("ascii") for value in _split(request, b"sec-websocket-protocol")]


class SocketCarrier:
    """Carries what an application says of one WebSocket.

    Args:
        stream: The connection; whoever opened it closes it.
        request: The handshake.
        trailing: What was read behind it.
        nursery: For the tasks of the socket; the application's end is to cancel it.
    """

    def __init__(
        self, stream: trio.abc.Stream, request: h11.Request, trailing: bytes, *, nursery: trio.Nursery
    ) -> None:
        self._stream = stream
        self._request = request
        self._trailing = trailing
        self._nursery = nursery
        self._socket: trio_websocket.WebSocketConnection | None = None

    async def receive(self) -> Message:
        """ASGI: the next message."""
        if self._socket is None:
            return {"type": "websocket.connect"}
        try:
            message = await self._socket.get_message()
        except trio_websocket.ConnectionClosed as closed:
            code = closed.reason.code if closed.reason is not None else _ABNORMAL
            return {"type": "websocket.disconnect", "code": code}
        return {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}

    async def accept(self, subprotocol: str | None) -> None:
        """Open the socket."""
        replay = _Replay(self._stream, _head(self._request))
        request = await trio_websocket.wrap_server_stream(
            self._nursery, replay, max_message_size=MAX_MESSAGE, receive_buffer_size=_RECEIVE_SIZE
        )
        self._socket = await request.accept(subprotocol=subprotocol)
        # Not with the head: what wsproto has before it is open, it keeps until more comes.
        replay.go_on(self._trailing)
        self._nursery.start_soon(self._keep_alive, self._socket)

    async def send(self, text: str) -> None:
        """Send one message.

        Errors: OSError when the client is gone, which is what ASGI says then.
        """
        if self._socket is None:
            raise OSError("the socket is not open")
        try:
            await self._socket.send_message(text)
        except trio_websocket.ConnectionClosed as error:
            raise OSError("the client is gone") from error

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye, and wait a moment for the same."""
        if self._socket is not None:
            with trio.move_on_after(CLOSE_SECONDS):
                await self._socket.aclose(code, reason or None)

    async def tunnel(self, door: Door, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Have another process accept the socket, and carry bytes until either end closes.

        Errors: RequestRefused, when it refuses or nobody is there.
        """
        other, answer = await open_tunnel(door, self._request, headers)
        async with other:
            near = _Replay(self._stream, b"")
            near.go_on(self._trailing)
            with suppress(OSError, trio.BrokenResourceError):
                await near.send_all(answer)
                await carry(near, other)

    async def _keep_alive(self, socket: trio_websocket.WebSocketConnection) -> None:
        try:
            while True:
                await trio.sleep(PING_SECONDS)
                with trio.move_on_after(PONG_SECONDS) as scope:
                    await socket.ping()
                if scope.cancelled_caught:
                    await trio.aclose_forcefully(self._stream)
                    return
        except trio_websocket.ConnectionClosed:
            pass


class _Replay(trio.abc.Stream):
    """A stream whose first bytes were read already, and that does not wait for ever to be rid of others.

    After the first of them it says nothing more until `go_on`.
    """

    def __init__(self, stream: trio.abc.Stream, read: bytes) -> None:
        self._stream = stream
        self._read = read
        self._may_go_on = trio.Event()

    def go_on(self, read: bytes) -> None:
        """Say these bytes next, and then what the stream says."""
        self._read += read
        self._may_go_on.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if not self._read:
            await self._may_go_on.wait()
        if not self._read:
            return bytes(await self._stream.receive_some(max_bytes))
        await trio.lowlevel.checkpoint()
        size = len(self._read) if max_bytes is None else max_bytes
        data, self._read = self._read[:size], self._read[size:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        while True:
            with trio.move_on_after(SEND_SECONDS) as scope:
                await self._stream.send_all(rest[:_PIECE])
            if scope.cancelled_caught:
                raise trio.BrokenResourceError("the client does not read")
            rest = rest[_PIECE:]
            if not rest:
                return

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _head(request: h11.Request) -> bytes:
    """Write a handshake again."""
    lines = [b"GET %b HTTP/1.1" % request.target, *(b"%b: %b" % each for each in request.headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _split(request: h11.Request, name: bytes) -> list[bytes]:
    values = b",".join(value for found, value in request.headers if found == name)
    return [value.strip() for value in values.split(b",") if value.strip()]


def _listed(request: h11.Request, name: bytes) -> list[bytes]:
    return [value.lower() for value in _split(request, name)]


def _is_nonce(value: bytes) -> bool:
    try:
        return len(b64decode(value, validate=True)) == _NONCE_LENGTH
    except ValueError:
        return False
