"""The relay's life, seen from the process that wants one.

Its workers are child processes, each in a place of its own (`voicegate.relay.slot`) that is kept occupied
(`voicegate.relay.keeper`). When one dies, calls go on: what its clients send waits for the next worker, which
looks up their flows in the directory; without one, the clients' next connectivity checks (2.5 s apart in
libwebrtc) open them again.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from math import inf
from typing import Final

import attrs
import structlog
import trio

from voicegate.child.keeper import start_keepers
from voicegate.child.reserve import Reserve
from voicegate.errors import UsageError
from voicegate.observability import Histogram, Metrics
from voicegate.relay.control import RelayConfig
from voicegate.relay.counter import Count, Distribution, RelayStatistics
from voicegate.relay.diagnosis import diagnose
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

_DIAGNOSIS_INTERVAL: Final = 60.0
"""Seconds between looks for what is wrong, so that no warning comes more often."""

_DRAIN_INTERVAL: Final = 0.25
"""Seconds between looks for flows that are left."""

_log = structlog.get_logger(__name__)


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
                relay = Relay(keepers)
                nursery.start_soon(reserve.run)
                nursery.start_soon(_warn, relay)
                task_status.started(relay)
    raise UsageError(f"the relay cannot start: {causes[0]}")


class Relay:
    """A running relay: its addresses, the list of transceivers, the counters, and whether it is to go."""

    def __init__(self, keepers: Sequence[RelayKeeper]) -> None:
        slots = [keeper.slot for keeper in keepers]
        self.public: Final = slots[0].public
        """Where clients send to."""
        self.streams: Final = slots[0].streams
        """Where clients connect to, over TCP and TLS."""
        self.hops: Final = tuple(slot.hop for slot in slots)
        """Where the workers, one each, take packets from transceivers."""
        self._keepers = keepers
        self._drain_ends_at: float | None = None
        self._drain_changed = trio.Event()

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

    # Drain

    @property
    def is_draining(self) -> bool:
        """Whether new answers are not to name this relay. It forwards as before, also what is new."""
        return self._drain_ends_at is not None

    @property
    def drain_seconds_left(self) -> float | None:
        """How long the drain may still take; None when there is none, or it may take for ever."""
        if self._drain_ends_at is None or self._drain_ends_at == inf:
            return None
        return max(self._drain_ends_at - trio.current_time(), 0.0)

    @property
    def flow_count(self) -> int:
        """Clients whose transceiver is known, up to a second ago; who falls silent counts for a minute."""
        return self.statistics().counts[Count.FLOWS.value]

    def begin_drain(self, *, seconds: float = inf) -> None:
        """Have this relay withdrawn from new answers, or change how long the drain may take.

        Whoever registers the relay sees it in `is_draining`; see `wait_drain_changed`.
        """
        self._set_drain(trio.current_time() + seconds)

    def end_drain(self) -> None:
        """Have this relay in new answers again; nothing happens when it is in them."""
        self._set_drain(None)

    async def wait_drain_changed(self) -> None:
        """Wait until a drain begins, ends, or gets another deadline."""
        await self._drain_changed.wait()

    async def wait_drained(self) -> bool:
        """Wait until no client is left, the drain's time is up, or there is none any more.

        Returns:
            Whether no client is left. Always checkpoints.
        """
        await trio.lowlevel.checkpoint()
        while self.is_draining and self.drain_seconds_left != 0.0 and self.flow_count:
            with trio.move_on_after(_DRAIN_INTERVAL):
                await self.wait_drain_changed()
        return self.is_draining and not self.flow_count

    def _set_drain(self, ends_at: float | None) -> None:
        if ends_at != self._drain_ends_at:
            self._drain_ends_at = ends_at
            self._drain_changed.set()
            self._drain_changed = trio.Event()

    # Figures

    def statistics(self) -> RelayStatistics:
        """Return the figures of all workers together, those that are dead included."""
        return RelayStatistics.total([keeper.slot.statistics() for keeper in self._keepers])

    def report(self, metrics: Metrics) -> None:
        """Add what there is to say to a scrape."""
        statistics = self.statistics()
        counts = statistics.counts
        metrics.gauge("relay_workers", "Relay workers that are there now", len(self.pids))
        metrics.gauge("relay_workers_started", "Relay workers ever started", self.workers_started)
        metrics.gauge("relay_draining", "Whether new answers do not name this relay", self.is_draining)
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


async def _warn(relay: Relay) -> None:
    """Say what is wrong, for ever."""
    before = relay.statistics()
    while True:
        await trio.sleep(_DIAGNOSIS_INTERVAL)
        after = relay.statistics()
        for finding in diagnose(before, after):
            _log.warning(finding.event, count=finding.count, cause=finding.cause)
        before = after


def _canonical(transceivers: Mapping[int, Address]) -> dict[int, Address]:
    return {id_: canonical(address) for id_, address in transceivers.items()}


def _histogram(distribution: Distribution) -> Histogram:
    return Histogram(distribution.bounds, counts=distribution.counts, total=distribution.total)
