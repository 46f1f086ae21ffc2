"""Real sockets on loopback that stand for clients and transceivers, for the tests of the relay's shell."""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from tests.relay.checks import check, success
from voicegate.wire import hop
from voicegate.wire.path import address_bytes

__all__ = ["Peer", "connect", "open_peer"]

_PATIENCE: Final = 60.0
"""Seconds until a datagram that doesn't come is given up; on loopback it takes microseconds."""


class Peer:
    """A bound UDP socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.address: tuple[str, int] = sock.getsockname()[:2]
        self.host = address_bytes(self.address[0])
        self.port = self.address[1]

    @property
    def is_silent(self) -> bool:
        """Whether nothing has arrived that wasn't received."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        return False

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        self._socket.sendto(data, to)

    async def receive(self) -> tuple[bytes, tuple[str, int]]:
        with trio.fail_after(_PATIENCE):
            await trio.lowlevel.wait_readable(self._socket)
        data, source = self._socket.recvfrom(65_536)
        return data, source[:2]


@contextmanager
def open_peer(host: str = "127.0.0.1") -> Iterator[Peer]:
    family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((host, 0))
        yield Peer(sock)


async def connect(client: Peer, transceiver: Peer, relay: tuple[str, int]) -> tuple[str, int]:
    """Do one check and its answer, both seen to arrive; return the relay's hop address."""
    request = check()
    client.send(request, relay)
    data, hop_address = await transceiver.receive()
    assert hop.decode(data) == (hop.HopType.DATA, client.host, client.port, False, request)
    answer = success(request, host=client.host, port=client.port)
    transceiver.send(
        hop.encode(hop.HopType.DATA, host=client.host, port=client.port, payload=answer), hop_address
    )
    assert await client.receive() == (answer, relay)
    return hop_address
