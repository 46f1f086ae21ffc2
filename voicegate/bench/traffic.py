"""What was measured of relays, and what it comes to: medians, ratios, targets; in seconds and packets."""

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

import attrs

__all__ = [
    "OURS",
    "OURS_PLAIN",
    "REFERENCE_C",
    "REFERENCE_GO",
    "SATURATION",
    "Ceiling",
    "Direction",
    "FlowMemory",
    "Load",
    "Point",
    "RelayConditions",
    "RelayMeasurement",
    "Run",
    "Target",
]

OURS: Final = "voicegate"
OURS_PLAIN: Final = "voicegate plain"
REFERENCE_C: Final = "C"
REFERENCE_GO: Final = "Go"

SATURATION: Final = 0
"""As a rate: as many packets as the relay takes without losing any."""

LOSS_LIMIT: Final = 1e-4
"""The part of packets that a run may lose and still pass as free of loss."""

_IS_BUSY: Final = 0.9
"""From this part of a processor on, it is the relay that is the limit, and not the generator."""


class Direction(Enum):
    """Which way packets go."""

    TO_TRANSCEIVER = "to_transceiver"
    TO_CLIENTS = "to_clients"

    @property
    def title(self) -> str:
        """The name for people."""
        return "clients to transceiver" if self is Direction.TO_TRANSCEIVER else "transceiver to clients"


@attrs.frozen(kw_only=True)
class Load:
    """What a relay is given."""

    direction: Direction
    flows: int
    rate: int
    """Packets a second; or `SATURATION`."""


@attrs.frozen(kw_only=True)
class Run:
    """One load for some seconds, as the generator saw it."""

    touched: int
    """Flows whose first packet came through."""
    sent: int
    received: int
    misrouted: int
    """Packets that reached somebody else."""
    damaged: int
    """Packets that arrived other than they were sent."""
    undelivered: int
    """What the generator's own sockets had no room for."""
    seconds: float
    cpu: float
    """Processor seconds of the relay."""
    p50: float
    p99: float
    max: float

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the generator's answer."""
        return cls(**value)

    @property
    def cost(self) -> float:
        """Processor seconds for each packet that was forwarded."""
        return self.cpu / self.received if self.received else float("nan")

    @property
    def rate(self) -> float:
        """Packets forwarded in a second."""
        return self.received / self.seconds

    @property
    def loss(self) -> float:
        """The part of packets that the relay, or the way to it, lost."""
        return max(0, self.sent - self.received - self.undelivered) / self.sent if self.sent else 0.0

    @property
    def is_loss_free(self) -> bool:
        """Whether next to nothing was lost."""
        return self.loss < LOSS_LIMIT

    @property
    def is_busy(self) -> bool:
        """Whether the relay had hardly a pause."""
        return self.cpu >= _IS_BUSY * self.seconds


@attrs.frozen(kw_only=True)
class Point:
    """The runs of one relay under one load."""

    relay: str
    load: Load
    runs: Sequence[Run]

    @property
    def cost(self) -> float:
        """Median processor seconds for a packet."""
        return median(run.cost for run in self.runs)

    @property
    def p50(self) -> float:
        """Median of the medians of latency."""
        return median(run.p50 for run in self.runs)

    @property
    def p99(self) -> float:
        """Median of the 99th percentiles of latency."""
        return median(run.p99 for run in self.runs)

    @property
    def rate(self) -> float:
        """Median of packets forwarded in a second."""
        return median(run.rate for run in self.runs)

    @property
    def is_busy(self) -> bool:
        """Whether the relay was the limit in most runs."""
        return sum(run.is_busy for run in self.runs) * 2 > len(self.runs)

    def total(self, count: str) -> int:
        """Add up one of the counts of all runs."""
        return sum(getattr(run, count) for run in self.runs)


@attrs.frozen(kw_only=True)
class Ceiling:
    """The highest rate that one relay forwarded without loss."""

    relay: str
    direction: Direction
    flows: int
    rate: float
    """Packets a second; 0 where every run of the search lost some."""
    is_generators: bool
    """Whether it is only the highest that the generator came to."""


@attrs.frozen(kw_only=True)
class FlowMemory:
    """What flows take in our relay."""

    flows: int
    bytes: int
    """By which the resident memory of a process grew."""
    seconds: float
    """To open and confirm all of them."""

    @property
    def bytes_per_flow(self) -> float:
        """The share of one."""
        return self.bytes / self.flows


@attrs.frozen(kw_only=True)
class Target:
    """A figure that is to be met."""

    title: str
    value: float
    bound: float
    is_least: bool = False
    """Whether the bound is the least allowed, and not the most."""

    @property
    def is_met(self) -> bool:
        """Tell whether the figure keeps its bound."""
        return self.value >= self.bound if self.is_least else self.value <= self.bound


@attrs.frozen(kw_only=True)
class RelayConditions:
    """What a measurement is made of."""

    flows: Sequence[int] = (100, 1_000, 10_000)
    rates: Sequence[int] = (SATURATION, 1_000, 20_000, 60_000)
    directions: Sequence[Direction] = tuple(Direction)
    references: Sequence[str] = (REFERENCE_C, REFERENCE_GO)
    seconds: float = 2.0
    """Of each run."""
    repeats: int = 3
    has_search: bool = True
    """Whether the highest rate without loss is looked for."""
    memory_flows: int = 1_000_000
    """How many flows are opened to see what they take; 0: not measured."""
    profile: Path | None = None
    """The folder for a profile of each relay in each direction, if any are wanted."""

    @property
    def relays(self) -> Sequence[str]:
        """All that are measured, in the order of their turns."""
        return (OURS, *self.references, OURS_PLAIN)

    @property
    def loads(self) -> Sequence[Load]:
        """All that each relay is given."""
        return [
            Load(direction=direction, flows=flows, rate=rate)
            for flows in self.flows
            for direction in self.directions
            for rate in self.rates
        ]

    @property
    def main_flows(self) -> int:
        """The number of flows that targets and charts are about."""
        return min(self.flows, key=lambda flows: abs(flows - 1000))


@attrs.frozen(kw_only=True)
class RelayMeasurement:
    """All that was measured."""

    conditions: RelayConditions
    machine: str
    points: Sequence[Point]
    direct: Mapping[int, Point]
    """By rate: the generator's packets to itself, without a relay."""
    ceilings: Sequence[Ceiling]
    memory: FlowMemory | None

    def point(self, relay: str, load: Load) -> Point | None:
        """Return what one relay did under one load, if it was measured."""
        return next((point for point in self.points if (point.relay, point.load) == (relay, load)), None)

    def ceiling(self, relay: str, direction: Direction, flows: int) -> Ceiling | None:
        """Return the highest rate of one relay, if it was looked for."""
        wanted = (relay, direction, flows)
        return next((one for one in self.ceilings if (one.relay, one.direction, one.flows) == wanted), None)

    def cost_ratio(self, relay: str, other: str, load: Load) -> float | None:
        """Return the cost of a packet in one relay, divided by that in another."""
        one, two = self.point(relay, load), self.point(other, load)
        return one.cost / two.cost if one is not None and two is not None else None

    def ceiling_ratio(self, relay: str, other: str, direction: Direction, flows: int) -> float | None:
        """Return the highest rate of one relay, divided by that of another."""
        one, two = self.ceiling(relay, direction, flows), self.ceiling(other, direction, flows)
        return one.rate / two.rate if one is not None and two is not None and two.rate else None

    def added(self, point: Point) -> tuple[float, float] | None:
        """Return the median and the 99th percentile of the latency that the relay adds.

        The direct way's median is taken off both. Nothing at saturation, where packets queue on purpose.
        """
        direct = self.direct.get(point.load.rate)
        return None if direct is None else (point.p50 - direct.p50, point.p99 - direct.p50)

    @property
    def targets(self) -> list[Target]:
        """What the relay is held to, as far as it was measured."""
        there, back = (
            Load(direction=direction, flows=self.conditions.main_flows, rate=SATURATION)
            for direction in (Direction.TO_TRANSCEIVER, Direction.TO_CLIENTS)
        )
        paced = attrs.evolve(there, rate=20_000)
        few, many = (attrs.evolve(there, flows=count) for count in (100, 10_000))
        flat = [point.cost for point in (self.point(OURS, few), self.point(OURS, many)) if point is not None]
        point = self.point(OURS, paced)
        added = self.added(point) if point is not None else None
        bounds = [
            ("saturated, cost / Go", self.cost_ratio(OURS, REFERENCE_GO, there), 0.45),
            ("saturated, cost / C", self.cost_ratio(OURS, REFERENCE_C, there), 0.8),
            ("saturated, plain hop, cost / C", self.cost_ratio(OURS_PLAIN, REFERENCE_C, there), 1.15),
            ("saturated, to clients, cost / Go", self.cost_ratio(OURS, REFERENCE_GO, back), 0.7),
            ("20 000 a second, cost / Go", self.cost_ratio(OURS, REFERENCE_GO, paced), 0.5),
            ("20 000 a second, added p99, ms", None if added is None else added[1] * 1000, 1.0),
            ("10 000 flows, cost / that of 100", flat[1] / flat[0] if len(flat) == 2 else None, 1.15),
        ]
        targets = [
            Target(title=title, value=value, bound=bound)
            for title, value, bound in bounds
            if value is not None
        ]
        higher = self.ceiling_ratio(OURS, REFERENCE_GO, there.direction, there.flows)
        if higher is not None:
            title = "highest rate without loss / Go"
            targets.append(Target(title=title, value=higher, bound=1.5, is_least=True))
        return targets

    def describe(self) -> dict[str, Any]:
        """Return all of it in the way of JSON; null stands for what was not measured."""
        conditions = self.conditions
        return {
            "machine": self.machine,
            "seconds": conditions.seconds,
            "repeats": conditions.repeats,
            "points": [self._describe_point(point) for point in self.points],
            "direct": [
                {"rate": rate, "p50_us": _micro(point.p50), "p99_us": _micro(point.p99)}
                for rate, point in self.direct.items()
            ],
            "ceilings": [self._describe_ceiling(ceiling) for ceiling in self.ceilings],
            "flow_memory": None
            if self.memory is None
            else {**attrs.asdict(self.memory), "bytes_per_flow": round(self.memory.bytes_per_flow, 1)},
            "targets": [{**attrs.asdict(target), "is_met": target.is_met} for target in self.targets],
        }

    def _describe_point(self, point: Point) -> dict[str, Any]:
        load = point.load
        added = self.added(point)
        return {
            "relay": point.relay,
            "direction": load.direction.value,
            "flows": load.flows,
            "rate": load.rate or None,
            "cost_us": _micro(point.cost),
            "cost_ratio_c": _rounded(self.cost_ratio(point.relay, REFERENCE_C, load)),
            "cost_ratio_go": _rounded(self.cost_ratio(point.relay, REFERENCE_GO, load)),
            "forwarded_per_second": round(point.rate),
            "is_busy": point.is_busy,
            "added_p50_us": None if added is None else _micro(added[0]),
            "added_p99_us": None if added is None else _micro(added[1]),
            "runs": [
                {**attrs.asdict(run), "cost_us": _micro(run.cost), "loss": run.loss} for run in point.runs
            ],
        }

    def _describe_ceiling(self, ceiling: Ceiling) -> dict[str, Any]:
        where = (ceiling.direction, ceiling.flows)
        return {
            "relay": ceiling.relay,
            "direction": ceiling.direction.value,
            "flows": ceiling.flows,
            "per_second": round(ceiling.rate),
            "is_generators": ceiling.is_generators,
            "ratio_c": _rounded(self.ceiling_ratio(ceiling.relay, REFERENCE_C, *where)),
            "ratio_go": _rounded(self.ceiling_ratio(ceiling.relay, REFERENCE_GO, *where)),
        }


def _micro(seconds: float) -> float | None:
    """Tell seconds in microseconds; JSON knows no NaN."""
    return round(seconds * 1e6, 3) if seconds == seconds else None


def _rounded(ratio: float | None) -> float | None:
    return None if ratio is None or ratio != ratio else round(ratio, 3)
