"""Opening a WebSocket to an agent's server."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import SplitResult, urlsplit

import trio
from trio_websocket import ConnectionRejected, HandshakeError, WebSocketConnection, wrap_client_stream

from voicegate.agents.link.socket_link import MAX_MESSAGE_BYTES, RECEIVE_BYTES
from voicegate.errors import VoicegateError
from voicegate.link.hello import SUBPROTOCOL

__all__ = ["UnreachableError", "open_socket"]

_CONNECT_SECONDS: Final = 10.0
"""For the server to be reached, and to take the connection."""

_GOODBYE_SECONDS: Final = 1.0
"""For its part of closing a socket."""


class UnreachableError(VoicegateError):
    """There is nobody at a URL, or nobody who would have us."""


@asynccontextmanager
async def open_socket(
    url: str, *, key: str | None, ssl_context: ssl.SSLContext | None
) -> AsyncIterator[WebSocketConnection]:
    """Have a WebSocket to a URL, without compression: sound has none left to find.

    Errors: UnreachableError, saying why.
    Resources: the connection is closed when the block ends.
    """
    place = urlsplit(url)
    try:
        with trio.fail_after(_CONNECT_SECONDS):
            stream = await _connect(place, ssl_context)
    except trio.TooSlowError:
        raise UnreachableError(f"no connection within {_CONNECT_SECONDS:g} s") from None
    except OSError as error:
        raise UnreachableError(f"no connection: {error}") from None
    line = _Line(stream)
    try:
        async with trio.open_nursery() as nursery:
            socket = await _shake_hands(nursery, line, place, key)
            try:
                yield socket
            finally:
                with trio.move_on_after(_GOODBYE_SECONDS):
                    await socket.aclose()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        refusals, others = group.split((HandshakeError, UnreachableError))
        if refusals is None or others is not None:
            raise
        raise UnreachableError(_describe(refusals)) from None
    finally:
        await trio.aclose_forcefully(stream)


async def _connect(place: SplitResult, ssl_context: ssl.SSLContext | None) -> trio.abc.Stream:
    host = place.hostname or ""
    if ssl_context is None:
        return await trio.open_tcp_stream(host, place.port or 80)
    stream = await trio.open_tcp_stream(host, place.port or 443)
    return trio.SSLStream(stream, ssl_context, server_hostname=host, https_compatible=True)


async def _shake_hands(
    nursery: trio.Nursery, line: "_Line", place: SplitResult, key: str | None
) -> WebSocketConnection:
    with trio.move_on_after(_CONNECT_SECONDS), line.scope:
        socket = await wrap_client_stream(
            nursery,
            line,  # type: ignore[arg-type]  # which says so, but takes any stream
            place.netloc.rpartition("@")[2],
            (place.path or "/") + (f"?{place.query}" if place.query else ""),
            subprotocols=[SUBPROTOCOL],
            extra_headers=[] if key is None else [(b"authorization", f"Bearer {key}".encode())],
            max_message_size=MAX_MESSAGE_BYTES,
            receive_buffer_size=RECEIVE_BYTES,
        )
        line.is_up = True
        return socket
    if line.scope.cancelled_caught:
        raise UnreachableError("it hung up before it answered")
    raise UnreachableError(f"no answer within {_CONNECT_SECONDS:g} s")


def _describe(group: BaseExceptionGroup[BaseException]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ConnectionRejected):
        return f"it refuses the connection with status {error.status_code}"
    return str(error) or type(error).__name__


class _Line(trio.abc.Stream):
    """A stream that gives up an opening handshake when it ends; trio-websocket would wait on."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.is_up = False
        self.scope: Final = trio.CancelScope()
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            data = b""  # The same to us; of TLS, a server that doesn't say goodbye.
        if not data and not self.is_up:
            self.scope.cancel()
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()
