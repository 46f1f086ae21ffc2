"""Serves the HTTP surface on a TCP port, and among the processes of one server.

The application is plain ASGI, and `HttpConnection` carries it rather than hypercorn, which on Trio ends
as a whole when one client sends an undecodable upgrade header or HTTP/2 path (docs/http.md). Any other
ASGI server on Trio can take its place: `SignallingApp` is all there is to carry over.
"""

import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import structlog
import trio
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from voicegate.access import Gate
from voicegate.errors import UsageError
from voicegate.signalling.access import AccessPolicy
from voicegate.signalling.api import MAX_BODY, set_grant
from voicegate.signalling.app import SignallingApp
from voicegate.signalling.connection import MAX_HEAD, HttpConnection
from voicegate.signalling.locate import Locator
from voicegate.signalling.remote import CLIENT_HEADER, GRANT_HEADER, decode_grant
from voicegate.signalling.service import JSON, CallService

__all__ = ["access_policy", "hold_address", "serve_app", "serve_http", "serve_privately", "serve_trusted"]

MAX_CONNECTIONS: Final = 1024
"""Open at once; past it the newest is closed unread. Leaves file descriptors for sockets that carry calls."""
MAX_PRIVATE_BODY: Final = 8 * MAX_BODY
"""Bytes of an offer that another process hands over: what it took, and the caller's grant, as JSON."""
MAX_PRIVATE_HEAD: Final = 16 * MAX_HEAD
"""Bytes of a head of another process: it has the caller's grant, with the session of a client secret."""
_BACKLOG: Final = 128

Admit = Callable[[trio.SocketStream], Awaitable[trio.abc.Stream]]
"""Returns a connection as it is read and written, such as in TLS; what it raises as one would, closes it."""

_log = structlog.get_logger(__name__)


async def serve_http(
    service: CallService,
    *,
    host: str,
    port: int,
    origins: Collection[str] = ("*",),
    hosts: Collection[str] = (),
    gate: Gate | None = None,
    ice_servers: Sequence[Mapping[str, JSON]] = (),
    locator: Locator | None = None,
    is_shared: bool = False,
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
        gate: Who may ask; by default, whoever can reach it. So an address beyond loopback wants one.
        ice_servers: What clients are told of STUN and TURN servers.
        locator: Tells where clients are; by default, they are whoever connects, and it doesn't matter where.
        is_shared: Whether other processes may listen there too and share the connections (SO_REUSEPORT).
        shutdown: Returns when it is time to stop; ``event.wait`` of a `trio.Event` will do.
        grace: Seconds for requests under way to be answered after ``shutdown`` returned.
        task_status: Told once connections are accepted.

    Errors: UsageError naming the address when it can not be listened on.

    Cancellation: closes everything at once, without the grace.
    """

    def make_app(bound: tuple[str, int]) -> ASGIApp:
        access = access_policy(bound[0], origins=origins, hosts=hosts)
        return SignallingApp(service, access=access, gate=gate, ice_servers=ice_servers, locator=locator)

    await serve_app(
        make_app,
        host=host,
        port=port,
        is_shared=is_shared,
        shutdown=shutdown,
        grace=grace,
        task_status=task_status,
    )


async def serve_app(
    make_app: Callable[[tuple[str, int]], ASGIApp],
    *,
    host: str,
    port: int,
    is_shared: bool = False,
    shutdown: Callable[[], Awaitable[object]] = trio.sleep_forever,
    grace: float = 1.0,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an application as `serve_http` does its own; it is made for the address that is bound."""
    listener = await _listen(host, port, is_shared=is_shared)
    async with listener:
        bound: tuple[str, int] = listener.socket.getsockname()[:2]
        acceptor = _Acceptor(make_app(bound))
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


def access_policy(
    host: str, *, origins: Collection[str] = ("*",), hosts: Collection[str] = ()
) -> AccessPolicy:
    """Return which hosts and origins may ask a server that listens on ``host``."""
    is_open = not hosts and not ip_address(host.partition("%")[0]).is_loopback
    return AccessPolicy(
        origins=frozenset(origins),
        hosts=None if is_open else frozenset(name.lower() for name in hosts),
    )


async def serve_privately(
    service: CallService,
    path: Path,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``service`` to the other processes of this server, on a Unix socket.

    Whoever can open the socket is trusted: they have checked what came from outside, and say where from. So
    it belongs into a folder that is ours alone.

    Errors: UsageError when the path can't be used. Cancellation: the socket is gone from its folder, too.
    """
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        try:
            await listening.bind(str(path))
        except OSError as error:
            raise UsageError(f"cannot listen on {path}: {error}") from error
        try:
            listening.listen(_BACKLOG)
            task_status.started()
            await serve_trusted(service, trio.SocketListener(listening))
        finally:
            _remove(path)


async def serve_trusted(
    service: CallService, listener: trio.SocketListener, *, admit: Admit | None = None
) -> None:
    """Serve ``service`` to processes that have checked what came from outside, and say where from.

    Args:
        service: The owner of the calls.
        listener: Where they connect.
        admit: Tells them from others, for a listener that others can reach, too.
    """
    app = SignallingApp(service, access=AccessPolicy(), max_body=MAX_PRIVATE_BODY, is_private=True)
    acceptor = _Acceptor(_TrustedApp(app), max_head=MAX_PRIVATE_HEAD, admit=admit)
    await trio.serve_listeners(acceptor.handle, [listener])


def _remove(path: Path) -> None:
    # Whoever made the folder may have been quicker.
    with suppress(OSError):
        path.unlink()


class _TrustedApp:
    """Takes what a request says of its client for the truth: where it comes from, and what it may do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        scope = {**scope, "client": (headers.get(CLIENT_HEADER, ""), 0)}
        set_grant(HTTPConnection(scope), decode_grant(headers[GRANT_HEADER]))
        await self._app(scope, receive, send)


class _Acceptor:
    """Runs each accepted connection so that none can harm the others."""

    def __init__(self, app: ASGIApp, *, max_head: int = MAX_HEAD, admit: Admit | None = None) -> None:
        self._app = app
        self._max_head = max_head
        self._admit = admit
        self._accepted = 0
        self._open: set[HttpConnection] = set()

    def drain(self) -> None:
        for connection in self._open:
            connection.drain()

    async def handle(self, stream: trio.SocketStream) -> None:
        async with stream:
            if self._accepted >= MAX_CONNECTIONS:
                return
            self._accepted += 1
            try:
                await self._serve(stream)
            except (OSError, trio.BrokenResourceError):
                pass
            except Exception:
                _log.exception("http_connection_failed")
            finally:
                self._accepted -= 1

    async def _serve(self, stream: trio.SocketStream) -> None:
        is_private = stream.socket.family == socket.AF_UNIX
        client, server = (
            ("", 0) if is_private else address[:2]
            for address in (stream.socket.getpeername(), stream.socket.getsockname())
        )
        admitted = stream if self._admit is None else await self._admit(stream)
        connection = HttpConnection(
            self._app, admitted, client=client, server=server, max_head=self._max_head
        )
        self._open.add(connection)
        try:
            await connection.run()
        finally:
            self._open.discard(connection)


async def hold_address(host: str, port: int) -> trio.socket.SocketType:
    """Bind an address, without listening there, for processes that will share it; port 0 takes a free one.

    It is bound alone and shared only then: so it is refused where others listen already, with whom we would
    split the connections without a word.

    Errors: UsageError naming the address.
    """
    held = await _bind(host, port, is_shared=False)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return held


async def _listen(host: str, port: int, *, is_shared: bool) -> trio.SocketListener:
    listening = await _bind(host, port, is_shared=is_shared)
    try:
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise _unusable(host, port, error) from error
    return trio.SocketListener(listening)


async def _bind(host: str, port: int, *, is_shared: bool) -> trio.socket.SocketType:
    try:
        resolved = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = resolved[0]
        bound = trio.socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_shared:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            await bound.bind(address)
        except BaseException:
            bound.close()
            raise
    except OSError as error:
        raise _unusable(host, port, error) from error
    return bound


def _unusable(host: str, port: int, error: OSError) -> UsageError:
    return UsageError(f"Cannot listen on {host}:{port} for HTTP: {error.strerror}")
