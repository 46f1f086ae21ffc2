"""Where a machine is, for its clients and for the other machines."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import trio

from voicegate.config import Address, Config
from voicegate.directory import DirectoryUrl, RelayLease, Way
from voicegate.errors import UsageError
from voicegate.relay import Relay

__all__ = ["LOOK_SECONDS", "Announced", "hop_of_relay", "hop_of_transceiver", "relay_lease"]

LOOK_SECONDS: Final = 0.25
"""Between two looks at this machine's address: relays are to follow within a second."""


def hop_of_transceiver(config: Config) -> Address:
    """Return where the transceivers of this machine take packets from relays."""
    if config.directory is None and config.hop.is_loopback and all(each.is_ipv6 for each in config.udp):
        return Address("::1", config.hop.port)
    return config.hop


def hop_of_relay(config: Config, *, is_alone: bool) -> Address:
    """Return where the relay of this machine takes packets from transceivers.

    Args:
        config: The server's.
        is_alone: Whether there are no transceivers on this machine, which would come first.
    """
    host, port = hop_of_transceiver(config)
    return Address(host, port if is_alone or not port else port + config.workers)


class Announced:
    """What others call a host that we listen on: a wildcard is the way towards the directory."""

    def __init__(self, config: Config, host: str) -> None:
        self._host = host
        self._way: Way | None = None
        if Address(host, 0).is_wildcard:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._host = "::1" if ":" in host else "127.0.0.1"
            hosts = () if config.directory is None else DirectoryUrl.parse(config.directory).hosts
            self._way = Way(*hosts[0], family=family) if hosts else None

    async def find(self) -> str:
        """Return the address of the moment.

        Waits until there is one: a machine may be there before its network is.
        """
        while self._way is not None:
            with suppress(UsageError):
                return await self._way.local_address()
            await trio.sleep(LOOK_SECONDS)
        return self._host


def relay_lease(config: Config, relay: Relay) -> RelayLease:
    """Say how clients reach a relay, and whether they should."""
    # TCP is where UDP is, behind whatever translates addresses, unless it was given addresses of its own.
    over_tcp = config.advertise if config.tcp is None else [(host, 0) for host, _ in config.advertise]
    return RelayLease(
        udp=_reached(config.advertise, relay.public),
        tcp=_reached(over_tcp, relay.streams),
        region=config.region,
        is_draining=relay.is_draining,
    )


def _reached(advertised: Sequence[tuple[str, int]], bound: Sequence[tuple[str, int]]) -> tuple[Address, ...]:
    """List how clients reach what is bound: at its own addresses, or at those that are advertised for it."""
    listening = [Address(*address) for address in bound]
    if not advertised:
        return tuple(listening)
    reached: dict[Address, None] = {}
    for address in (Address(*each) for each in advertised):
        # What is reached in a family that it isn't bound in is behind something that translates.
        same = [each for each in listening if each.is_ipv6 == address.is_ipv6] or listening
        reached |= {Address(address.host, address.port or each.port): None for each in same}
    return tuple(reached)
