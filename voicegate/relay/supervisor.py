"""The relay's life, seen from the process that wants one.

Its workers are child processes, each in a place of its own (`voicegate.relay.slot`) that is kept occupied
(`voicegate.relay.keeper`). When one dies, calls go on: what its clients send waits for the next worker, which
looks up their flows in the directory; without one, the clients' next connectivity checks (2.5 s apart in
libwebrtc) open them again.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Final

import attrs
import trio

from voicegate.child.keeper import start_keepers
from voicegate.child.reserve import Reserve
from voicegate.errors import UsageError
from voicegate.observability import Histogram, Metrics
from voicegate.relay.control import RelayConfig
from voicegate.relay.counter import Distribution, RelayStatistics
from voicegate.relay.keeper import FlowStore, RelayKeeper
from voicegate.relay.router import canonical
from voicegate.relay.slot import open_slots
from voicegate.wire.path import Address

__all__ = ["Relay", "run_relay"]

_ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1"}
"""No linear algebra is done, so threads for it would only cost time to start."""
_DIRECTIONS: Final = ("transceivers", "clients")
_GAUGES: Final = ("flows", "streams")
_UNREPORTED: Final = frozenset(
    {*_GAUGES, "heartbeats", *(f"{what}_to_{to}" for what in ("packets", "bytes") for to in _DIRECTIONS)}
)
"""Counts that are no events, or in families of their own."""


async def run_relay(
    config: RelayConfig,
    directory: FlowStore | None = None,
    *,
    task_status: trio.TaskStatus["Relay"] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep a relay running, for ever; what ``nursery.start`` returns is its `Relay`.

    Errors: UsageError when it can't start, such as for an address in use, which it names.
    Cancellation: kills the workers and waits for their end.
    """
    if config.workers < 1:
        raise UsageError(f"a relay of {config.workers} workers")
    listed = _canonical(config.transceivers)
    config = attrs.evolve(config, transceivers=listed)
    with ExitStack() as stack:
        slots = open_slots(config, stack)
        async with trio.open_nursery() as nursery:
            descriptors = [number for slot in slots for number in slot.descriptors]
            reserve = Reserve(nursery, "voicegate.relay", descriptors=descriptors, environment=_ENVIRONMENT)
            keepers = [
                RelayKeeper(number, slot, config, reserve=reserve, directory=directory)
                for number, slot in enumerate(slots)
            ]
            causes = await start_keepers(nursery, keepers)
            if causes:
                nursery.cancel_scope.cancel()
            else:
                nursery.start_soon(reserve.run)
                task_status.started(Relay(keepers))
    raise UsageError(f"the relay cannot start: {causes[0]}")


class Relay:
    """A running relay: its addresses, the list of transceivers and the counters."""

    def __init__(self, keepers: Sequence[RelayKeeper]) -> None:
        slots = [keeper.slot for keeper in keepers]
        self.public: Final = slots[0].public
        """Where clients send to."""
        self.streams: Final = slots[0].streams
        """Where clients connect to, over TCP and TLS."""
        self.hops: Final = tuple(slot.hop for slot in slots)
        """Where the workers, one each, take packets from transceivers."""
        self._keepers = keepers

    @property
    def hop(self) -> Address:
        """That of the first worker."""
        return self.hops[0]

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that are there now."""
        return [keeper.pid for keeper in self._keepers if keeper.pid is not None]

    @property
    def workers_started(self) -> int:
        """Workers that were ever ready."""
        return sum(keeper.workers_started for keeper in self._keepers)

    def set_transceivers(self, transceivers: Mapping[int, Address]) -> None:
        """Replace the list of transceivers, id to hop address; these workers and all later ones get it.

        Errors: UsageError when an address isn't a literal one.
        """
        listed = _canonical(transceivers)
        for keeper in self._keepers:
            keeper.set_transceivers(listed)

    def statistics(self) -> RelayStatistics:
        """Return the figures of all workers together, those that are dead included."""
        return RelayStatistics.total([keeper.slot.statistics() for keeper in self._keepers])

    def report(self, metrics: Metrics) -> None:
        """Add what there is to say to a scrape."""
        statistics = self.statistics()
        counts = statistics.counts
        metrics.gauge("relay_workers", "Relay workers that are there now", len(self.pids))
        metrics.gauge("relay_workers_started", "Relay workers ever started", self.workers_started)
        metrics.gauge("relay_flows", "Clients whose transceiver is known", counts["flows"])
        metrics.gauge("relay_streams", "Clients connected over TCP and TLS", counts["streams"])
        for what in ("packets", "bytes"):
            values = {to: counts[f"{what}_to_{to}"] for to in _DIRECTIONS}
            metrics.counter(f"relay_{what}", f"Clients' {what} that the relay forwarded", values, label="to")
        dropped = statistics.dropped
        metrics.counter("relay_drops", "Datagrams that the relay dropped", dropped, label="reason")
        events = {kind: count for kind, count in counts.items() if kind not in _UNREPORTED}
        metrics.counter("relay_events", "What else the relay's workers count", events, label="kind")
        for name, description, distribution in (
            ("relay_batch_size", "Datagrams in a received batch", statistics.batch_sizes),
            ("relay_queueing_seconds", "Time of sampled packets in the kernel", statistics.queueing),
        ):
            metrics.histogram(name, description, _histogram(distribution))


def _canonical(transceivers: Mapping[int, Address]) -> dict[int, Address]:
    return {id_: canonical(address) for id_, address in transceivers.items()}


def _histogram(distribution: Distribution) -> Histogram:
    return Histogram(distribution.bounds, counts=distribution.counts, total=distribution.total)
