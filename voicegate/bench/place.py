"""Where browser, line and servers run: on this machine's loopback, or in a network namespace.

Firefox needs the latter: it never pairs with 127.0.0.1, nor believes to be seen from there.
"""

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from voicegate.testing.browser import Kind
from voicegate.testing.network import Namespace, open_namespace

__all__ = ["Place", "open_place"]


class Place:
    """Where processes and sockets are made; all of them can reach each other."""

    def __init__(self, namespace: Namespace | None) -> None:
        self.namespace: Final = namespace
        self.address: Final = "127.0.0.1" if namespace is None else namespace.address
        """What UDP is bound to."""

    def wrap(self, command: Sequence[str]) -> list[str]:
        """Turn a command line into one that runs the same here."""
        return list(command) if self.namespace is None else self.namespace.wrap(command)

    async def listen(self) -> trio.SocketListener:
        """Listen on a free TCP port of the loopback interface."""
        made = trio.socket.socket() if self.namespace is None else self.namespace.make_socket()
        await made.bind(("127.0.0.1", 0))
        made.listen()
        return trio.SocketListener(made)

    async def connect(self, port: int) -> trio.SocketStream:
        """Connect to a TCP port of the loopback interface."""
        if self.namespace is None:
            return await trio.open_tcp_stream("127.0.0.1", port)
        return await self.namespace.open_tcp_stream("127.0.0.1", port)

    async def open_port(self) -> trio.socket.SocketType:
        """Bind a free UDP port."""
        kind = socket.SOCK_DGRAM
        made = trio.socket.socket(type=kind) if self.namespace is None else self.namespace.make_socket(kind)
        await made.bind((self.address, 0))
        return made


@asynccontextmanager
async def open_place(kind: Kind) -> AsyncIterator[Place]:
    """Make the place that a browser needs.

    Errors: NamespaceError when one is needed and a tool or the permission is missing.
    """
    if kind != "firefox":
        yield Place(None)
    else:
        async with open_namespace() as namespace:
            yield Place(namespace)
