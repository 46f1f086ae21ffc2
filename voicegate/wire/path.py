"""Where a datagram came from or goes to."""

import ipaddress
from typing import Final, NamedTuple, TypeAlias

__all__ = ["Path", "Transmit", "Address", "MAPPED_PREFIX", "address_bytes", "address_text"]

Address: TypeAlias = tuple[str, int]
"""A literal IP address and a port, as sockets take them."""

MAPPED_PREFIX: Final = bytes(10) + b"\xff\xff"
"""What stands before an IPv4 address in an IPv6 one (RFC 4291 §2.5.5.2)."""


class Path(NamedTuple):
    """One way to a client: through which relay, and the client's transport address as that relay sees it.

    Several paths may lead to one client at once (two networks, two relays).
    """

    relay: Address
    """The relay's hop socket address, as our own socket reports it."""
    host: bytes
    """The client's address, 16 bytes; IPv4 is mapped into IPv6 (RFC 4291 §2.5.5.2)."""
    port: int
    """The client's port."""
    is_stream: bool = False
    """Whether the client reaches the relay over TCP or TLS."""


class Transmit(NamedTuple):
    """A datagram to send."""

    data: bytes
    path: Path


def address_bytes(host: str) -> bytes:
    """Write an IPv4 or IPv6 address as the 16 bytes of a `Path`; a zone index is dropped.

    Errors: ValueError when ``host`` is not a literal address.
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    return MAPPED_PREFIX + address.packed if address.version == 4 else address.packed


def address_text(host: bytes) -> str:
    """Write the 16 bytes of a `Path` the way people do, IPv4 where it is mapped IPv4."""
    if host.startswith(MAPPED_PREFIX):
        return str(ipaddress.IPv4Address(host[12:]))
    return str(ipaddress.IPv6Address(host))
