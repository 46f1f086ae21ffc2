"""A WebSocket to a server, over a stream that is ours: it is closed whatever becomes of the WebSocket."""

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import Final
from urllib.parse import urlsplit

import trio
from trio_websocket import WebSocketConnection, wrap_client_stream

__all__ = ["connect"]

MAX_MESSAGE: Final = 16 * 1024 * 1024
"""Bytes of one event, as our own server takes."""

_QUEUE: Final = 16
"""Messages that may have arrived before they are looked at; the rest waits in the network."""

_CONNECT_SECONDS: Final = 10.0
_GOODBYE_SECONDS: Final = 0.1
"""For our goodbye to leave; the server's answer changes nothing."""


@asynccontextmanager
async def connect(
    address: str, *, headers: Sequence[tuple[bytes, bytes]], subprotocols: Sequence[str]
) -> AsyncIterator[WebSocketConnection]:
    """Have a WebSocket around the block.

    Errors: OSError, HandshakeError or TooSlowError when there is none to be had; also what the block raises;
    in groups.
    """
    parts = urlsplit(address)
    host, is_secure = parts.hostname or "", parts.scheme == "wss"
    port = parts.port or (443 if is_secure else 80)
    with trio.CancelScope(deadline=trio.current_time() + _CONNECT_SECONDS) as patience:
        plain = await trio.open_tcp_stream(host, port)
        stream = plain if not is_secure else _secured(plain, host)
        try:
            async with trio.open_nursery() as nursery:
                socket = await wrap_client_stream(
                    nursery,
                    stream,
                    parts.netloc.rpartition("@")[2],
                    f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}",
                    subprotocols=subprotocols or None,
                    extra_headers=list(headers),
                    message_queue_size=_QUEUE,
                    max_message_size=MAX_MESSAGE,
                )
                patience.deadline = inf
                try:
                    yield socket
                finally:
                    with trio.move_on_after(_GOODBYE_SECONDS, shield=True):
                        await socket.aclose()
                    nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(stream)
    if patience.cancelled_caught:
        raise trio.TooSlowError(f"no WebSocket within {_CONNECT_SECONDS:g} s")


def _secured(stream: trio.SocketStream, host: str) -> trio.SSLStream[trio.SocketStream]:
    return trio.SSLStream(stream, ssl.create_default_context(), server_hostname=host, https_compatible=True)
