"""Addresses and networks, written as people write them."""

import ipaddress
from typing import NamedTuple, Self

from voicegate.errors import UsageError
from voicegate.steering.forwarded import Network

__all__ = ["Address", "Network", "parse_network"]


class Address(NamedTuple):
    """A literal IP address and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, default_port: int | None = None) -> Self:
        """Read ``IPv4:PORT``, ``[IPv6]:PORT``, or, with a default port, the address alone.

        Errors: UsageError, naming what is wrong.
        """
        host, colon, port = text.rpartition(":")
        # A bare IPv6 address has colons of its own; only brackets make the last one a port's.
        if not colon or (":" in host and not host.endswith("]")):
            host, port = text, "" if default_port is None else str(default_port)
        host = host.removeprefix("[").removesuffix("]")
        if host == "localhost":
            host = "127.0.0.1"
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise UsageError(f"{text!r}: {host!r} is not an IP address") from None
        # More digits than a port has are no number that anybody means, and slow to read.
        if not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 0xFFFF):
            raise UsageError(
                f"{text!r}: a port from 0 to 65535 is wanted after the address, as in 127.0.0.1:8080"
            )
        return cls(host, int(port))

    @property
    def is_ipv6(self) -> bool:
        """Whether it is an address of IPv6."""
        return ":" in self.host

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every address of the machine."""
        return ipaddress.ip_address(self.host).is_unspecified

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"


def parse_network(text: str) -> Network:
    """Read ``10.0.0.0/8``, or an address alone.

    Errors: UsageError, naming what is wrong.
    """
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a network, as 10.0.0.0/8 is: {error}") from None
