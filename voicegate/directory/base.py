"""What every directory does; the contract suite in the tests is run over each of them.

1. A registered lease is in every later snapshot, until it is unregistered or long not renewed. Registering
   again replaces it.
2. A watcher gets the present snapshot first, then one after each change. A slow one gets the latest and
   misses those between: nothing is queued for it.
3. A snapshot never changes.
4. A flow row that was written is found for `FLOW_ROW_SECONDS`, unless it is deleted, written again, or pushed
   out by newer ones: a hint where a client's flow led, which relays renew as long as it lives.
5. A claimed id is nobody else's, as long as its lease is registered soon after, and renewed.

Nothing here fails, and nothing but claiming and finding flows waits: a directory that lives elsewhere makes
it so in a task of its own, and while it is out of reach, what was known last stays true and no flow is found.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

import attrs
import trio

from voicegate.observability import Metrics

__all__ = [
    "FLOW_ROW_SECONDS",
    "Address",
    "Directory",
    "RelayLease",
    "Snapshot",
    "TransceiverLease",
    "differs",
]

FLOW_ROW_SECONDS: Final = 60.0
"""Life of a flow row since it was written last: as long as a silent flow lives in its relay, and so long that
two renewals, every 20 s, may be lost."""

Address: TypeAlias = tuple[str, int]
"""A literal IP address and a port."""


@attrs.frozen(kw_only=True)
class TransceiverLease:
    """What a transceiver says of itself."""

    hop: Address
    """Where relays send to."""
    peer: Address | None = None
    """Where other machines of the cluster ask about its calls; None when nobody but its own machine may."""
    region: str = ""
    calls: int = 0
    """Those that it has; as of some seconds ago, and no change that watchers are woken for."""
    max_calls: int = 0
    is_draining: bool = False
    """It takes no new calls."""


@attrs.frozen(kw_only=True)
class RelayLease:
    """What a relay says of itself."""

    udp: tuple[Address, ...]
    """Where clients reach it, in the order in which they should try."""
    tcp: tuple[Address, ...] = ()
    region: str = ""
    is_draining: bool = False
    """New answers do not name it."""


@attrs.frozen(kw_only=True)
class Snapshot:
    """All that is registered, at one moment."""

    transceivers: Mapping[int, TransceiverLease] = MappingProxyType({})
    """By transceiver id."""
    relays: Mapping[str, RelayLease] = MappingProxyType({})
    """By name."""

    @property
    def hops(self) -> dict[int, Address]:
        """Where relays send to, by transceiver id."""
        return {id_: lease.hop for id_, lease in self.transceivers.items()}


class Directory(Protocol):
    """Knows the transceivers and the relays of a cluster."""

    async def claim(self, cluster: int) -> int:
        """Return a transceiver id, the cluster in its high 12 bits, that nobody has.

        Waits while the directory is out of reach. Always checkpoints.
        """
        ...

    def register(self, transceiver_id: int, lease: TransceiverLease) -> None:
        """Announce a transceiver, or what has changed about it; renewed from then on by the directory."""
        ...

    def unregister(self, transceiver_id: int) -> None:
        """Take a transceiver off; nothing happens when it isn't there."""
        ...

    def register_relay(self, name: str, lease: RelayLease) -> None:
        """Announce a relay, or what has changed about it; renewed from then on by the directory."""
        ...

    def unregister_relay(self, name: str) -> None:
        """Take a relay off; nothing happens when it isn't there."""
        ...

    def snapshot(self) -> Snapshot:
        """Return the present snapshot."""
        ...

    def watch(self) -> trio.abc.ReceiveChannel[Snapshot]:
        """Open a channel of snapshots, which never ends by itself."""
        ...

    @property
    def conflicts(self) -> frozenset[int]:
        """The transceiver ids, of those registered here, that somebody else holds.

        Whoever has one should take no more calls, for relays send their packets elsewhere. They are not
        announced, and listed as others see them. Watchers are woken for a change.
        """
        ...

    def write_flows(self, rows: Mapping[bytes, int | None]) -> None:
        """Note the transceiver ids that flows lead to, by the keys of their clients; None deletes a row."""
        ...

    async def find_flows(self, keys: Collection[bytes]) -> Mapping[bytes, int]:
        """Return the transceiver ids of those flows that are known. Always checkpoints."""
        ...

    def report(self, metrics: Metrics) -> None:
        """Add what there is to say to a scrape."""
        ...


def differs(before: TransceiverLease | None, lease: TransceiverLease) -> bool:
    """Tell whether that is news to watchers; a changed load alone is none."""
    return before is None or attrs.evolve(before, calls=lease.calls) != lease
