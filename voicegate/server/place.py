"""Where a machine is, for its clients and for the other machines."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import trio

from voicegate.config import Address, Config
from voicegate.directory import DirectoryUrl, RelayLease, local_address_towards
from voicegate.errors import UsageError
from voicegate.relay import Relay

__all__ = ["LOOK_SECONDS", "announced_host", "hop_of_relay", "hop_of_transceiver", "relay_lease"]

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


async def announced_host(config: Config, host: str) -> str:
    """Return what others call a host that we listen on: a wildcard is the way towards the directory.

    Waits until there is one: a machine may be there before its network is.
    """
    is_ipv6 = ":" in host
    url = None if config.directory is None else DirectoryUrl.parse(config.directory)
    if not Address(host, 0).is_wildcard:
        return host
    if url is None or not url.hosts:
        return "::1" if is_ipv6 else "127.0.0.1"
    while True:
        with suppress(UsageError):
            return await local_address_towards(*url.hosts[0])
        await trio.sleep(LOOK_SECONDS)


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
