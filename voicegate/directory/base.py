"""What every directory does; the contract suite in the tests is run over each of them.

1. A registered id is in every later snapshot, until it is unregistered. Registering it again replaces its
   address.
2. A watcher gets the present snapshot first, then one after each change. A slow one gets the latest and
   misses those between: nothing is queued for it.
3. A snapshot never changes.

Nothing here waits or fails: a directory that lives elsewhere makes it so in a task of its own, and while
it is out of reach, what was known last stays true.
"""

from collections.abc import Mapping
from typing import Protocol, TypeAlias

import trio

__all__ = ["Directory", "Address", "Snapshot"]

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
