"""What every directory does; the contract suite in the tests is run over each of them.

1. A registered id is in every later snapshot, until it is unregistered. Registering it again replaces its
   address.
2. A watcher gets the present snapshot first, then one after each change. A slow one gets the latest and
   misses those between: nothing is queued for it.
3. A snapshot never changes.
4. A flow row that was written is found for `FLOW_ROW_SECONDS`, unless it is deleted, written again, or pushed
   out by newer ones: a hint where a client's flow led, which relays renew as long as it lives.

Nothing here fails, and nothing but finding flows waits: a directory that lives elsewhere makes it so in a
task of its own, and while it is out of reach, what was known last stays true and no flow is found.
"""

from collections.abc import Collection, Mapping
from typing import Final, Protocol, TypeAlias

import trio

__all__ = ["Directory", "FLOW_ROW_SECONDS", "Address", "Snapshot"]

FLOW_ROW_SECONDS: Final = 60.0
"""Life of a flow row since it was written last: as long as a silent flow lives in its relay, and so long that
two renewals, every 20 s, may be lost."""

Address: TypeAlias = tuple[str, int]
"""The hop socket address of a transceiver: literal IP address and port."""

Snapshot: TypeAlias = Mapping[int, Address]
"""All transceivers at one moment, id to address."""


class Directory(Protocol):
    """Knows the address of each transceiver."""

    def register(self, transceiver_id: int, address: Address) -> None:
        """Announce that a transceiver serves at this address."""
        ...

    def unregister(self, transceiver_id: int) -> None:
        """Take a transceiver off; nothing happens when it isn't there."""
        ...

    def transceivers(self) -> Snapshot:
        """Return the present snapshot."""
        ...

    def watch(self) -> trio.abc.ReceiveChannel[Snapshot]:
        """Open a channel of snapshots, which never ends by itself."""
        ...

    def write_flows(self, rows: Mapping[bytes, int | None]) -> None:
        """Note the transceiver ids that flows lead to, by the keys of their clients; None deletes a row."""
        ...

    async def find_flows(self, keys: Collection[bytes]) -> Mapping[bytes, int]:
        """Return the transceiver ids of those flows that are known. Always checkpoints."""
        ...
