"""A way to a server that can be cut."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio


class Proxy:
    """Passes bytes on."""

    def __init__(self, host: str, port: int) -> None:
        self.url = ""
        self.connections = 0
        self._upstream = host, port
        self._scope = trio.CancelScope()

    def cut(self) -> None:
        """Break all connections that there are."""
        self._scope.cancel()

    async def handle(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        with trio.CancelScope() as self._scope, suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            server = await trio.open_tcp_stream(*self._upstream)
            async with server, trio.open_nursery() as nursery:
                nursery.start_soon(_pump, server, stream, nursery.cancel_scope)
                await _pump(stream, server, nursery.cancel_scope)


async def _pump(source: trio.abc.Stream, sink: trio.abc.Stream, scope: trio.CancelScope) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        async for data in source:
            await sink.send_all(data)
    scope.cancel()


@asynccontextmanager
async def open_proxy(url: str) -> AsyncIterator[Proxy]:
    """Stand before a server around the block."""
    host, _, port = url.removeprefix("ws://").partition("/")[0].partition(":")
    proxy = Proxy(host, int(port))
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, proxy.handle, 0, host="127.0.0.1"))
        proxy.url = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"
        yield proxy
        nursery.cancel_scope.cancel()
