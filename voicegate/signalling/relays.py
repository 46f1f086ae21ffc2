"""The relays that answers can name, and the choice among them."""

import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import attrs

from voicegate.config import Config
from voicegate.directory import RelayLease
from voicegate.errors import WireError
from voicegate.observability import Metrics
from voicegate.sdp import Candidate
from voicegate.sdp.candidate import host_candidates
from voicegate.steering import pick_relays
from voicegate.wire.path import Address, address_bytes

__all__ = ["RelayChooser", "RelayList"]


def _sealed(relays: Mapping[str, RelayLease]) -> Mapping[str, RelayLease]:
    return MappingProxyType(dict(relays))


@attrs.frozen
class RelayList:
    """The relays of a cluster, in a form that another process can be told."""

    relays: Mapping[str, RelayLease] = attrs.field(default=MappingProxyType({}), converter=_sealed)
    """By name, as a `Snapshot` has them."""

    @classmethod
    def decode(cls, value: object) -> Self:
        """Read what `encode` wrote.

        Errors: WireError.
        """
        try:
            return cls({each["name"]: _lease(each) for each in value})  # type: ignore[attr-defined]
        except (KeyError, TypeError, ValueError) as error:
            raise WireError("not a list of relays") from error

    def encode(self) -> list[dict[str, Any]]:
        """Write it as JSON has it."""
        return [
            {
                "name": name,
                "udp": [list(address) for address in lease.udp],
                "tcp": [list(address) for address in lease.tcp],
                "region": lease.region,
                "is_draining": lease.is_draining,
            }
            for name, lease in self.relays.items()
        ]


def _lease(value: Mapping[str, Any]) -> RelayLease:
    return RelayLease(
        udp=_addresses(value["udp"]),
        tcp=_addresses(value["tcp"]),
        region=str(value["region"]),
        is_draining=bool(value["is_draining"]),
    )


def _addresses(values: Sequence[Sequence[Any]]) -> tuple[Address, ...]:
    addresses = tuple((str(host), int(port)) for host, port in values)
    for host, port in addresses:
        address_bytes(host)
        if not 0 < port <= 0xFFFF:
            raise ValueError("no port")
    return addresses


class RelayChooser:
    """Chooses the relays that an answer names.

    Args:
        config: How many there are to be, and the relays that no directory lists.
        random: Returns so many random bytes.
    """

    def __init__(self, config: Config, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self._count = config.answer_relays
        self._random = random
        self._static = [
            RelayLease(udp=(address,), tcp=(address,), region=name)
            for name, region in config.regions.items()
            for address in region.relay_addresses
        ]
        self._relays: Sequence[RelayLease] = ()
        self.update(RelayList())

    def update(self, listed: RelayList) -> None:
        """Take note of the relays that there are now, besides those that always are."""
        # Several behind one address, as a load balancer has them, are one way; it is open while any is.
        ways: dict[tuple[object, ...], RelayLease] = {}
        for lease in (*self._static, *listed.relays.values()):
            key = lease.region, lease.udp, lease.tcp
            if lease.udp + lease.tcp and (key not in ways or ways[key].is_draining):
                ways[key] = lease
        self._relays = tuple(ways.values())

    def choose(self, regions: Sequence[str]) -> tuple[Candidate, ...]:
        """Return what an answer lists for a client, whose nearest region is the first; none without relays.

        All of the best relay's addresses go before those of the next, and UDP before TCP.
        """
        picked = pick_relays(regions, self._relays, count=self._count, random=self._random)
        return host_candidates(
            udp=[address for relay in picked for address in relay.udp],
            tcp=[address for relay in picked for address in relay.tcp],
        )

    def report(self, metrics: Metrics) -> None:
        """Add what there is to say to a scrape."""
        metrics.gauge("steering_relays", "Ways to relays that answers can name", len(self._relays))
