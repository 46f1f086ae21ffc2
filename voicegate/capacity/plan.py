"""From a number of calls to machines, bandwidth and Redis: arithmetic on `Figures`."""

from collections.abc import Mapping
from enum import Enum
from math import ceil, exp, floor, log
from typing import Any, Final

import attrs

from voicegate.capacity.figure import Figures
from voicegate.capacity.headroom import Loss, surviving_shares
from voicegate.errors import UsageError

__all__ = ["ClusterPlan", "Demand", "DeployPlan", "Link", "Plan", "RegionPlan", "StormPlan", "make_plan"]

_LEAST_MACHINES: Final = 2
"""Of each kind in a region, so that one may restart."""
_MOST_CALLS: Final = 1_000_000_000


class Link(Enum):
    """How agents are reached."""

    NONE = "none"
    """In the transceiver's process, or beside it."""
    SHARED = "shared"
    """Over sockets that carry many calls each."""
    SINGLE = "single"
    """Over a socket for each call."""


@attrs.frozen(kw_only=True)
class Demand:
    """What is asked for.

    Errors: UsageError for what no fleet could do.
    """

    calls: int
    """At the same time, at the busiest."""
    shares: Mapping[str, float]
    """What part of them is nearest to each region."""
    call_seconds: float = 180.0
    """How long one lasts, on average; the lengths are taken for exponential."""
    link: Link = Link.SHARED
    is_transcoded: bool = False
    loss: Loss = Loss.REGION
    zones: int = 3
    transceiver_workers: int = 15
    """On a machine, a core each, with one left over."""
    relay_workers: int = 7
    """Likewise."""
    fill: float = 0.9
    """How full the fleet may get when the worst has happened: a call finds room in a fuller one only after
    several tries, as the simulation shows."""
    batch: float = 0.1
    """What part of a region's machines is drained at a time in a deploy."""
    drain_seconds: float = 600.0
    start_seconds: float = 30.0
    """From the end of a drained machine until it takes calls again."""
    storm_seconds: float = 25.0
    """Within which the clients of a lost region call again."""

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.calls <= _MOST_CALLS:
            raise UsageError(f"calls: from 1 to {_MOST_CALLS}")
        if min(self.transceiver_workers, self.relay_workers) < 1:
            raise UsageError("a machine has one worker at least")
        if not 0 < self.fill <= 1:
            raise UsageError("a fleet is filled by some part, all of it at most")
        if not 0 < self.batch <= 0.5:
            raise UsageError("a deploy takes half of the machines at a time at most, and some")
        if min(self.call_seconds, self.drain_seconds, self.start_seconds, self.storm_seconds) <= 0:
            raise UsageError("call, drain, start and storm take time")
        surviving_shares(self.shares, self.loss, zones=self.zones)


@attrs.frozen(kw_only=True)
class RegionPlan:
    """One region. Bandwidth is in Gbit/s, each way: the same in both."""

    name: str
    calls: int
    """At the busiest, with everything in order."""
    capacity: int
    """Calls for which there is room, as other regions may be lost or machines drained."""
    transceiver_workers: int
    transceiver_machines: int
    relay_workers: int
    relay_machines: int
    public_gbit: float
    """Between clients and relays."""
    hop_gbit: float
    """Between relays and transceivers."""
    link_gbit: float
    """Between transceivers and agents."""
    worst_public_gbit: float
    """When the region is full."""
    memory_gb: float
    """Of transceivers and relays, when it is full."""


@attrs.frozen(kw_only=True)
class ClusterPlan:
    """What the directory of one of several clusters has to do; all share the calls evenly."""

    clusters: int
    calls: int
    members: int
    """Leases: transceiver workers and relay machines."""
    flow_writes: float
    """Rows a second."""
    announcements: float
    """Scripts a second."""
    polls: float
    """Likewise."""
    commands: float
    """All that Redis is asked a second."""
    busy: float
    """What part of its one core that takes."""
    worst_busy: float
    """The same while most machines are full, or nearly: then the load of each is news all the time."""
    memory_mb: float
    reached: bool
    """Whether so many clusters are enough."""


@attrs.frozen(kw_only=True)
class DeployPlan:
    """A deploy of all transceivers, one batch of a region after the other, all regions at the same time."""

    rounds: int
    seconds: float
    """At most: a machine whose calls have all ended is not waited for."""
    cut_share: float
    """Calls on a drained machine that last beyond the deadline."""
    seconds_for_one_percent: float
    """The drain that only one call in a hundred outlasts."""


@attrs.frozen(kw_only=True)
class StormPlan:
    """What comes when the largest region is lost."""

    calls: int
    rate: float
    """Set-ups a second, those that come anyway included."""
    busy: float
    """What they take of the cores that remain, besides the media."""


@attrs.frozen(kw_only=True)
class Plan:
    """A fleet for a demand."""

    demand: Demand
    figures: Figures
    call_percent: float
    """What a call takes of a core, its part of set-ups and of its link included."""
    slots: int
    """Calls of a transceiver worker: `max_calls`, by worker."""
    relay_slots: int
    """Calls of a relay worker."""
    regions: tuple[RegionPlan, ...]
    cluster: ClusterPlan
    deploy: DeployPlan
    storm: StormPlan | None
    """None when no region is to be lost."""

    @property
    def capacity(self) -> int:
        """Calls for which the whole fleet has room."""
        return sum(region.capacity for region in self.regions)

    def describe(self) -> dict[str, Any]:
        """Return all of it, as JSON has it."""
        demand = attrs.asdict(self.demand) | {"link": self.demand.link.value, "loss": self.demand.loss.value}
        figures = [attrs.asdict(figure) | {"basis": figure.basis.value} for figure in self.figures.listed()]
        rest = attrs.asdict(self, filter=lambda field, _: field.name not in {"demand", "figures"})
        return {"demand": demand, "figures": figures, **rest}


def make_plan(demand: Demand, figures: Figures | None = None) -> Plan:
    """Make a plan.

    Errors: UsageError when a call takes more than a worker has.
    """
    figures = figures or Figures()
    percent = _call_percent(demand, figures)
    slots = floor(100 * figures.transceiver_busy / percent)
    relay_us = figures.packets_per_second * (figures.relay_in_us + figures.relay_out_us)
    relay_slots = floor(1e6 * figures.relay_busy / relay_us)
    if min(slots, relay_slots) < 1:
        raise UsageError("a single call takes more than a worker has")
    spare = surviving_shares(demand.shares, demand.loss, zones=demand.zones)
    regions = tuple(
        _plan_region(name, demand, figures, spare=spare[name], slots=slots, relay_slots=relay_slots)
        for name in demand.shares
    )
    return Plan(
        demand=demand,
        figures=figures,
        call_percent=percent,
        slots=slots,
        relay_slots=relay_slots,
        regions=regions,
        cluster=_plan_clusters(demand, figures, regions),
        deploy=_plan_deploy(demand, regions),
        storm=_plan_storm(demand, figures, regions) if demand.loss is Loss.REGION else None,
    )


def _call_percent(demand: Demand, figures: Figures) -> float:
    media = figures.transcoded_percent if demand.is_transcoded else figures.call_percent
    link = {
        Link.NONE: 0.0,
        Link.SHARED: figures.shared_link_percent,
        Link.SINGLE: figures.single_link_percent,
    }[demand.link]
    return media + link + figures.set_up_ms / 10 / demand.call_seconds


def _plan_region(
    name: str, demand: Demand, figures: Figures, *, spare: float, slots: int, relay_slots: int
) -> RegionPlan:
    calls = ceil(demand.calls * demand.shares[name])
    # A region that is lost and a deploy at the same time are two faults at once: a deploy stops then.
    needed = ceil(demand.calls * max(spare, demand.shares[name] / (1 - demand.batch)) / demand.fill)
    machines = max(ceil(needed / slots / demand.transceiver_workers), _LEAST_MACHINES)
    relays = max(ceil(needed / relay_slots / demand.relay_workers), _LEAST_MACHINES)
    workers, relay_workers = machines * demand.transceiver_workers, relays * demand.relay_workers
    capacity = workers * slots
    frame = figures.packet_bytes + figures.header_bytes
    gbit = figures.packets_per_second * 8 / 1e9
    linked = demand.link is not Link.NONE
    memory_mb = (
        workers * figures.transceiver_worker_mb
        + capacity * figures.call_kb / 1000
        + relay_workers * figures.relay_worker_mb
    )
    return RegionPlan(
        name=name,
        calls=calls,
        capacity=capacity,
        transceiver_workers=workers,
        transceiver_machines=machines,
        relay_workers=relay_workers,
        relay_machines=relays,
        public_gbit=calls * frame * gbit,
        hop_gbit=calls * (frame + figures.hop_bytes) * gbit,
        link_gbit=calls * figures.link_bytes * gbit if linked else 0.0,
        worst_public_gbit=needed * demand.fill * frame * gbit,
        memory_gb=memory_mb / 1000,
    )


def _plan_clusters(demand: Demand, figures: Figures, regions: tuple[RegionPlan, ...]) -> ClusterPlan:
    """Find the least number of clusters whose directories have enough in one Redis each."""
    most = int(figures.cluster_limit)
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if _plan_cluster(demand, figures, regions, middle).reached:
            high = middle
        else:
            low = middle + 1
    return _plan_cluster(demand, figures, regions, low)


def _plan_cluster(
    demand: Demand, figures: Figures, regions: tuple[RegionPlan, ...], clusters: int
) -> ClusterPlan:
    calls = ceil(demand.calls / clusters)
    workers = ceil(sum(region.transceiver_workers for region in regions) / clusters)
    machines = ceil(sum(region.transceiver_machines for region in regions) / clusters)
    relays = ceil(sum(region.relay_machines for region in regions) / clusters)
    readers = machines + relays
    writes = calls * figures.flows_per_call * (1 / figures.flow_renewal + 2 / demand.call_seconds)
    announcements = readers / figures.announce_seconds
    news = workers * figures.load_changes / demand.call_seconds
    # A poll comes with the next news, gathered for a moment, or when its time has come.
    wait = figures.poll_seconds if not news else (1 - exp(-news * figures.poll_seconds)) / news
    polls = readers / (wait + (figures.gather_seconds if news else 0.0))
    steady_us = (
        writes * figures.flow_write_us
        + announcements * figures.announce_us
        + (workers + relays) / figures.announce_seconds * figures.announce_row_us
    )
    busy = (steady_us + polls * figures.poll_us + readers * news * figures.lease_read_us) / 1e6
    rows = calls * figures.flows_per_call * (1 + figures.flow_life / demand.call_seconds)
    members = workers + relays
    memory = rows * figures.flow_row_bytes + members * figures.lease_bytes
    return ClusterPlan(
        clusters=clusters,
        calls=calls,
        members=members,
        flow_writes=writes,
        announcements=announcements,
        polls=polls,
        # Flow rows go in batches, one from each relay twenty times a second at most; a poll with news reads.
        commands=min(writes, 20 * relays) + announcements + polls + min(news, polls / readers) * readers,
        busy=busy,
        worst_busy=(steady_us + readers / figures.gather_seconds * figures.poll_us) / 1e6,
        memory_mb=memory / 1e6,
        reached=busy <= figures.redis_busy and members <= figures.member_limit,
    )


def _plan_deploy(demand: Demand, regions: tuple[RegionPlan, ...]) -> DeployPlan:
    rounds = max(
        ceil(region.transceiver_machines / max(1, floor(demand.batch * region.transceiver_machines)))
        for region in regions
    )
    return DeployPlan(
        rounds=rounds,
        seconds=rounds * (demand.drain_seconds + demand.start_seconds),
        cut_share=exp(-demand.drain_seconds / demand.call_seconds),
        seconds_for_one_percent=demand.call_seconds * log(100),
    )


def _plan_storm(demand: Demand, figures: Figures, regions: tuple[RegionPlan, ...]) -> StormPlan:
    lost = max(regions, key=lambda region: region.calls)
    cores = sum(region.transceiver_workers for region in regions if region is not lost)
    rate = lost.calls / demand.storm_seconds + demand.calls / demand.call_seconds
    return StormPlan(calls=lost.calls, rate=rate, busy=rate * figures.set_up_ms / 1000 / cores)
