"""Serves the HTTP surface on a TCP port.

The application is plain ASGI, and `HttpConnection` carries it rather than hypercorn, which on Trio ends
as a whole when one client sends an undecodable upgrade header or HTTP/2 path (docs/http.md). Any other
ASGI server on Trio can take its place: `SignallingApp` is all there is to carry over.
"""

import socket
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from ipaddress import ip_address
from typing import Final

import structlog
import trio

from voicegate.errors import UsageError
from voicegate.signalling.access import AccessPolicy
from voicegate.signalling.app import SignallingApp
from voicegate.signalling.connection import HttpConnection
from voicegate.signalling.service import CallService

__all__ = ["serve_http"]

MAX_CONNECTIONS: Final = 1024
"""Open at once; past it the newest is closed unread. Leaves file descriptors for sockets that carry calls."""
_BACKLOG: Final = 128

_log = structlog.get_logger(__name__)


async def serve_http(
    service: CallService,
    *,
    host: str,
    port: int,
    origins: Collection[str] = ("*",),
    hosts: Collection[str] = (),
    shutdown: Callable[[], Awaitable[object]] = trio.sleep_forever,
    grace: float = 1.0,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``service`` over HTTP; ``nursery.start`` returns the bound address and port.

    Args:
        service: The owner of the calls.
        host: Name or address to listen on.
        port: TCP port; 0 takes any that is free.
        origins: Origins whose pages may make calls; ``*`` is any. Our own page always may.
        hosts: Host names to answer to besides addresses and ``localhost``. On a loopback address others
            are refused; elsewhere all are answered as long as this is empty.
        shutdown: Returns when it is time to stop; ``event.wait`` of a `trio.Event` will do.
        grace: Seconds for requests under way to be answered after ``shutdown`` returned.
        task_status: Told once connections are accepted.

    Errors: UsageError naming the address when it can not be listened on.

    Cancellation: closes everything at once, without the grace.
    """
    listener = await _listen(host, port)
    async with listener:
        bound: tuple[str, int] = listener.socket.getsockname()[:2]
        is_open = not hosts and not ip_address(bound[0].partition("%")[0]).is_loopback
        access = AccessPolicy(
            origins=frozenset(origins),
            hosts=None if is_open else frozenset(name.lower() for name in hosts),
        )
        acceptor = _Acceptor(SignallingApp(service, access=access))
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(
                    partial(trio.serve_listeners, acceptor.handle, [listener], handler_nursery=connections)
                )
                task_status.started(bound)
                await shutdown()
                accepting.cancel_scope.cancel()
            acceptor.drain()
            connections.cancel_scope.deadline = trio.current_time() + grace


class _Acceptor:
    """Runs each accepted connection so that none can harm the others."""

    def __init__(self, app: SignallingApp) -> None:
        self._app = app
        self._open: set[HttpConnection] = set()

    def drain(self) -> None:
        for connection in self._open:
            connection.drain()

    async def handle(self, stream: trio.SocketStream) -> None:
        async with stream:
            if len(self._open) >= MAX_CONNECTIONS:
                return
            try:
                await self._serve(stream)
            except (OSError, trio.BrokenResourceError):
                pass
            except Exception:
                _log.exception("http_connection_failed")

    async def _serve(self, stream: trio.SocketStream) -> None:
        client, server = stream.socket.getpeername()[:2], stream.socket.getsockname()[:2]
        connection = HttpConnection(self._app, stream, client=client, server=server)
        self._open.add(connection)
        try:
            await connection.run()
        finally:
            self._open.discard(connection)


async def _listen(host: str, port: int) -> trio.SocketListener:
    try:
        resolved = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = resolved[0]
        listening = trio.socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await listening.bind(address)
            listening.listen(_BACKLOG)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise UsageError(f"Cannot listen on {host}:{port} for HTTP: {error.strerror}") from error
    return trio.SocketListener(listening)
