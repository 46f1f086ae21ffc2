"""A UDP socket that is drained and filled in batches: the seam at which ``recvmmsg`` and ``sendmmsg`` join.

A task switch costs more than a datagram, so nothing here is awaited per datagram. Sending never waits
either: what the kernel has no room for is lost, like anything on UDP, and counted.
"""

import errno
import ipaddress
import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import trio

from voicegate.errors import UsageError
from voicegate.wire.path import Address

__all__ = ["DatagramPort", "BATCH_LIMIT", "bind", "open_socket"]


BATCH_LIMIT: Final = 64
"""Datagrams taken in at once: enough to spread the cost of a wake-up, under a millisecond of work."""

_KERNEL_BUFFER: Final = 4 * 1024 * 1024
"""Bytes asked for in each direction, some 30 ms at a gigabit; the kernel cuts it to its net.core.*mem_max."""


class DatagramPort:
    """One bound, non-blocking UDP socket of one address family.

    Args:
        address: Literal IP address and port to bind; port 0 takes a free one.
        datagram_limit: Longest datagram, in bytes, that is not to be cut. A longer one arrives cut to one
            byte more, so that it shows.
        is_shared: Whether other processes may bind the same address and share its traffic (SO_REUSEPORT).

    Errors: UsageError that names the address when it can't be bound.
    """

    def __init__(self, address: Address, *, datagram_limit: int, is_shared: bool = False) -> None:
        self.errors: Counter[str] = Counter()
        """What the kernel refused, by ``send`` or ``receive`` and errno name, such as ``send EAGAIN``."""
        self._receive_size = datagram_limit + 1
        self._socket = bind(address, is_shared=is_shared)

    @property
    def address(self) -> Address:
        """What was bound."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6."""
        return socket.AddressFamily(self._socket.family)

    async def wait_readable(self) -> None:
        """Wait until there may be something to receive. Always a checkpoint."""
        await trio.lowlevel.wait_readable(self._socket)

    def receive_batch(self) -> list[tuple[bytes, Address]]:
        """Take what has arrived, at most `BATCH_LIMIT` datagrams, each with where it came from."""
        receive, size = self._socket.recvfrom, self._receive_size
        batch: list[tuple[bytes, Address]] = []
        try:
            for _ in range(BATCH_LIMIT):
                data, source = receive(size)
                batch.append((data, source[:2]))
        except BlockingIOError:
            pass
        except OSError as error:
            self._count("receive", error)
        return batch

    def receive_run(self) -> tuple[bytes, int, Address] | None:
        """Take the next datagrams that came from one source in one piece, None when there are none.

        Returns them one behind the other, how long each is (the last may be shorter), and their source.
        """
        try:
            data, source = self._socket.recvfrom(self._receive_size)
        except BlockingIOError:
            return None
        except OSError as error:
            self._count("receive", error)
            return None
        return data, len(data) or 1, source[:2]

    def send_run(self, datagrams: Sequence[bytes], destination: Address) -> None:
        """Send datagrams to one address, as `send_batch` does."""
        self.send_batch((data, destination) for data in datagrams)

    def send_batch(self, batch: Iterable[tuple[bytes, Address]]) -> None:
        """Send datagrams, each to its address; those that the kernel refuses are lost and counted."""
        send = self._socket.sendto
        for data, destination in batch:
            try:
                send(data, destination)
            except OSError as error:
                self._count("send", error)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _count(self, what: str, error: OSError) -> None:
        self.errors[f"{what} {errno.errorcode.get(error.errno or 0, 'unknown')}"] += 1


def bind(address: Address, *, is_shared: bool = False) -> socket.socket:
    """Bind a non-blocking UDP socket of one family to a literal address; port 0 takes a free one.

    Errors: UsageError that names the address when it can't be bound.
    """
    options = {socket.SO_RCVBUF: _KERNEL_BUFFER, socket.SO_SNDBUF: _KERNEL_BUFFER}
    return open_socket(address, socket.SOCK_DGRAM, options=options, is_shared=is_shared)


def open_socket(
    address: Address, kind: socket.SocketKind, *, options: Mapping[int, int], is_shared: bool = False
) -> socket.socket:
    """Bind a non-blocking socket of one family to a literal address, with options of SOL_SOCKET.

    Args:
        address: Literal IP address and port; port 0 takes a free one.
        kind: SOCK_DGRAM or SOCK_STREAM.
        options: Values by option, set before it is bound.
        is_shared: Whether other sockets may bind the same address and share its traffic (SO_REUSEPORT).

    Errors: UsageError that names the address when it can't be bound.
    """
    host, port = address
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError as error:
        raise UsageError(f"not a literal IP address: {host!r}") from error
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            # One family per socket, so that an IPv4 client has one form of address.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if is_shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for option, value in options.items():
            sock.setsockopt(socket.SOL_SOCKET, option, value)
        sock.bind(address)
    except (OSError, OverflowError) as error:
        sock.close()
        reason = error.strerror if isinstance(error, OSError) else error
        protocol = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
        raise UsageError(f"cannot bind {protocol} {host} port {port}: {reason}") from error
    return sock
