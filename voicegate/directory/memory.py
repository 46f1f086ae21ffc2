"""The directory of a single process."""

import os
from collections import OrderedDict
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

import attrs
import trio

from voicegate.directory.base import FLOW_ROW_SECONDS, RelayLease, Snapshot, TransceiverLease, differs
from voicegate.directory.board import Board
from voicegate.observability import Metrics

__all__ = ["FLOW_ROW_LIMIT", "MemoryDirectory", "random_id", "report_listed"]

FLOW_ROW_LIMIT: Final = 262_144
"""Flow rows kept, in some 60 MB: the flows of four workers. Beyond it the oldest go first."""

_CLUSTER_SHIFT: Final = 20
"""The cluster is in the high 12 of an id's 32 bits."""


class MemoryDirectory:
    """A directory that lives and dies with this process."""

    def __init__(self) -> None:
        self._snapshot = Snapshot()
        self._board = Board(self.snapshot)
        self._claimed: set[int] = set()
        # Transceiver id and the time of expiry, in the order of that time.
        self._flows: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    async def claim(self, cluster: int) -> int:
        """Return a transceiver id that nobody has."""
        await trio.lowlevel.checkpoint()
        while (made_up := random_id(cluster)) in self._claimed:
            pass
        self._claimed.add(made_up)
        return made_up

    def register(self, transceiver_id: int, lease: TransceiverLease) -> None:
        """Announce a transceiver, or what has changed about it."""
        listed = self.snapshot().transceivers
        before = listed.get(transceiver_id)
        if before != lease:
            self._list_transceivers({**listed, transceiver_id: lease}, is_news=differs(before, lease))

    def unregister(self, transceiver_id: int) -> None:
        """Take a transceiver off; nothing happens when it isn't there."""
        self._claimed.discard(transceiver_id)
        left = dict(self.snapshot().transceivers)
        if left.pop(transceiver_id, None) is not None:
            self._list_transceivers(left, is_news=True)

    def register_relay(self, name: str, lease: RelayLease) -> None:
        """Announce a relay, or what has changed about it."""
        listed = self.snapshot().relays
        if listed.get(name) != lease:
            self._list_relays({**listed, name: lease})

    def unregister_relay(self, name: str) -> None:
        """Take a relay off; nothing happens when it isn't there."""
        left = dict(self.snapshot().relays)
        if left.pop(name, None) is not None:
            self._list_relays(left)

    def snapshot(self) -> Snapshot:
        """Return the present snapshot."""
        return self._snapshot

    def watch(self) -> trio.abc.ReceiveChannel[Snapshot]:
        """Open a channel of snapshots, which never ends by itself."""
        return self._board.watch()

    @property
    def conflicts(self) -> frozenset[int]:
        """Return none: there is nobody else."""
        return frozenset()

    def write_flows(self, rows: Mapping[bytes, int | None]) -> None:
        """Note the transceiver ids that flows lead to, by the keys of their clients; None deletes a row."""
        now = trio.current_time()
        for key, transceiver_id in rows.items():
            self._flows.pop(key, None)
            if transceiver_id is not None:
                self._flows[key] = transceiver_id, now + FLOW_ROW_SECONDS
        while self._flows and (
            len(self._flows) > FLOW_ROW_LIMIT or next(iter(self._flows.values()))[1] <= now
        ):
            self._flows.popitem(last=False)

    async def find_flows(self, keys: Collection[bytes]) -> Mapping[bytes, int]:
        """Return the transceiver ids of those flows that are known. Always checkpoints."""
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        rows = ((key, self._flows.get(key)) for key in keys)
        return {key: row[0] for key, row in rows if row is not None and row[1] > now}

    def report(self, metrics: Metrics) -> None:
        """Add what there is to say to a scrape."""
        report_listed(metrics, self.snapshot())

    def _list_transceivers(self, transceivers: dict[int, TransceiverLease], *, is_news: bool) -> None:
        self._snapshot = attrs.evolve(self._snapshot, transceivers=MappingProxyType(transceivers))
        if is_news:
            self._board.tell_news()

    def _list_relays(self, relays: dict[str, RelayLease]) -> None:
        self._snapshot = attrs.evolve(self._snapshot, relays=MappingProxyType(relays))
        self._board.tell_news()


def random_id(cluster: int) -> int:
    """Make up a transceiver id."""
    return cluster << _CLUSTER_SHIFT | int.from_bytes(os.urandom(3), "big") >> 4


def report_listed(metrics: Metrics, snapshot: Snapshot) -> None:
    """Add how many there are to a scrape."""
    metrics.gauge("directory_transceivers", "Transceivers that are listed", len(snapshot.transceivers))
    metrics.gauge("directory_relays", "Relays that are listed", len(snapshot.relays))
