"""Which address a request comes from, behind proxies that say on whose behalf they ask.

Threat note. Attack: a client sends an X-Forwarded-For of its own, to have another's limits, another's place
in the world, or the server's patience. Wanted: what counts was written by a proxy that is trusted.
Construction: each proxy appends the address that it was asked from, so the list is read from its end, and no
further than the first address that is not of a trusted proxy; what isn't readable ends it, too.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final, TypeAlias

__all__ = ["Forwarded", "Network"]

MAX_HOPS: Final = 16
"""Entries read; nobody has so many proxies of their own in a row."""

_MAX_ENTRY: Final = 80
"""Characters of an entry: the longest address of IPv6, brackets, a zone and a port."""

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class Forwarded:
    """Reads X-Forwarded-For.

    Args:
        trusted: Networks of the proxies that are believed.
    """

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)
        self.malformed = 0
        """Entries of trusted proxies that are no addresses."""

    def is_trusted(self, host: str) -> bool:
        """Whether what ``host`` says of others is believed."""
        address = _read(host)
        return address is not None and self._trusts(address)

    def client(self, peer: str, forwarded: str) -> str:
        """Return the client's address.

        Args:
            peer: Where the request came from, without a port; empty when it is not known.
            forwarded: The header; several ones are joined by commas, in their order.
        """
        found = _read(peer)
        if found is None:
            return peer
        if self._trusts(found):
            for entry in reversed(forwarded.rsplit(",", MAX_HOPS)[-MAX_HOPS:] if forwarded.strip() else ()):
                address = _read(entry)
                if address is None:
                    self.malformed += 1
                    break
                found = address
                if not self._trusts(address):
                    break
        return str(found)

    def _trusts(self, address: _Address) -> bool:
        return any(address in network for network in self._trusted)


def _read(entry: str) -> _Address | None:
    """Read an address, with or without a port; a zone is dropped, and mapped IPv4 is IPv4."""
    entry = entry.strip()
    if len(entry) > _MAX_ENTRY:
        return None
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        address = ipaddress.ip_address(entry.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
