"""What was measured of many calls, and what it comes to; in seconds and bytes."""

import math
from collections.abc import Sequence
from typing import Any, Final

import attrs

from voicegate.bench.callee import Series
from voicegate.bench.floor import Floor, worst
from voicegate.bench.traffic import Target

__all__ = [
    "CallConditions",
    "CallFigures",
    "CallMeasurement",
    "CallMemory",
    "Ramp",
    "Step",
]

ON_TIME: Final = 0.005
"""Seconds that a frame may be late and still count as on time, above what the floor is."""

OF_CEILING: Final = 0.7
"""Where lateness and cost are told: below the ceiling, as anybody would run it."""

_FIRST: Final = {Series.ECHO: 100, Series.TRANSCODE: 30, Series.AIORTC: 8}
"""Calls that a ramp begins with."""

_OWN_LATENESS: Final = 0.002
"""Seconds that next to all of what the generator sends may be late itself."""

_HOPELESS: Final = 0.5
"""A step in which fewer of the calls count has no second try."""

_MOST_TRIES: Final = 4
"""Of a step while the machine stands still."""

_IDLE: Final = 0.03
"""The share of the other processor that must be left over."""


@attrs.frozen(kw_only=True)
class CallConditions:
    """What a measurement is made of."""

    series: Sequence[Series] = tuple(Series)
    seconds: float = 20.0
    """Of each run."""
    warm_up: float = 5.0
    """Seconds before each run, which do not count: a server's queues have to settle, and need some."""
    settling: float = 26.0
    """Seconds after which voicegate's encoder believes new calls that nothing is lost; until then it sends
    copies of everything, which costs five times as much."""
    calls: int | None = None
    """How many to make; None: as many as hold, found by a ramp."""
    is_direct: bool = False
    """Whether voicegate is called without its relay."""
    growth: float = 1.5
    """From step to step of the ramp."""
    precision: float = 1.06
    """The ratio of what fails to what holds at which a search ends."""
    steps: int = 12
    """Of a ramp at most."""
    idle_calls: int = 100
    """How many are opened to see what a call takes that nobody talks in."""
    floor_seconds: float = 5.0

    def first(self, series: Series) -> int:
        """Return how many calls a ramp begins with."""
        return _FIRST[series]


@attrs.define(kw_only=True)
class Ramp:
    """The search for the most calls that hold: up by a ratio until some do not, then in between."""

    first: int
    growth: float
    precision: float
    low: int = 0
    """The most that held."""
    high: int | None = None
    """The fewest that did not."""

    @property
    def calls(self) -> int:
        """What to try next."""
        if self.high is None:
            return max(self.low + 1, round(self.low * self.growth)) if self.low else self.first
        if not self.low:
            return max(1, min(self.high - 1, round(self.high / self.growth**2)))
        return min(self.high - 1, max(self.low + 1, round(math.sqrt(self.low * self.high))))

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to try."""
        if self.high is None:
            return False
        return self.high <= self.low + 1 or (self.low > 0 and self.high / self.low <= self.precision)

    def note(self, calls: int, *, is_held: bool) -> None:
        """Take in how so many did."""
        if is_held:
            self.low = max(self.low, calls)
        elif self.high is None or calls < self.high:
            self.high = calls


@attrs.frozen(kw_only=True)
class Step:
    """So many calls at once, for some seconds."""

    calls: int
    kept: int = 0
    """Calls that count: nothing lost, 99.9 % of frames on time and with a voice."""
    frames: int = 0
    lost: int = 0
    silent: int = 0
    late: int = 0
    verbatim: int = 0
    """Frames that were, byte for byte, what a client had said."""
    limit: float = 0.0
    """Seconds from which on a frame was late."""
    p50: float = 0.0
    """Lateness of frames, as they reach the client."""
    p99: float = 0.0
    max: float = 0.0
    seconds: float = 1.0
    cpu: float = 0.0
    """Processor seconds of the process that has the calls."""
    relay_cpu: float = 0.0
    own_cpu: float = 0.0
    """The generator's."""
    own_p99: float = 0.0
    """The generator's own lateness in sending."""
    own_max: float = 0.0
    stolen: float = 0.0
    """The share of the server's processor that went to other machines."""
    other_idle: float = 1.0
    """The share of the other processor that was free, or went to programs that are nice."""
    resident: int = 0
    """Bytes of the process that has the calls."""
    refused: int = 0
    damaged: int = 0
    undelivered: int = 0
    failure: str = ""
    """Why there were no such calls at all."""

    @property
    def is_held(self) -> bool:
        """Whether all calls count."""
        return self.kept == self.calls and not self.failure

    @property
    def is_generators(self) -> bool:
        """Whether generator and relay had more than their processor can do."""
        return self.own_p99 > _OWN_LATENESS or self.other_idle < _IDLE

    def deserves_another_try(self, tries: int) -> bool:
        """Tell whether the machine may be to blame after so many, and not the server.

        It is for sure when the generator, on another core, was as late itself as no call may be.
        """
        if self.own_max > self.limit:
            return tries < _MOST_TRIES
        return tries == 1 and self.kept > _HOPELESS * self.calls

    @property
    def cost(self) -> float:
        """Processor seconds of the server for a second of a call."""
        return self.cpu / self.seconds / self.calls

    @property
    def relay_cost(self) -> float:
        """The same of its relay."""
        return self.relay_cpu / self.seconds / self.calls


@attrs.frozen(kw_only=True)
class CallMemory:
    """What calls take in the process that has them."""

    calls: int
    bytes: int
    """By which its resident memory grew."""

    @property
    def bytes_per_call(self) -> float:
        """The share of one."""
        return self.bytes / self.calls


@attrs.frozen(kw_only=True)
class CallFigures:
    """One server."""

    series: Series
    floors: Sequence[Floor]
    """Right before and after."""
    steps: Sequence[Step]
    """In the order in which they were made."""
    below: Step | None
    """At `OF_CEILING`; none where nothing held."""
    idle: CallMemory | None
    """Of calls that nobody talks in."""

    @property
    def ceiling(self) -> int:
        """The most calls that held."""
        return max((step.calls for step in self.steps if step.is_held), default=0)

    @property
    def is_generators(self) -> bool:
        """Whether what ended the search was not the server, or nothing did."""
        failed = [step for step in self.steps if step.calls > self.ceiling]
        return not failed or min(failed, key=lambda step: step.calls).is_generators

    @property
    def floor(self) -> Floor:
        """The worst of both."""
        return worst(self.floors)


@attrs.frozen(kw_only=True)
class CallMeasurement:
    """All that was measured."""

    conditions: CallConditions
    machine: str
    figures: Sequence[CallFigures]

    def of(self, series: Series) -> CallFigures | None:
        """Return the figures of a server, if it was called."""
        return next((figures for figures in self.figures if figures.series is series), None)

    def ratio(self, figures: CallFigures) -> float | None:
        """Return how many times the reference's calls a server holds."""
        reference = self.of(Series.AIORTC)
        if reference is None or not reference.ceiling or reference is figures:
            return None
        return figures.ceiling / reference.ceiling

    @property
    def targets(self) -> list[Target]:
        """What voicegate is held to, as far as it was measured."""
        targets = []
        echo, transcode = self.of(Series.ECHO), self.of(Series.TRANSCODE)
        if self.conditions.calls is None:
            ratio = None if echo is None else self.ratio(echo)
            least = [
                ("echo, calls", None if echo is None else echo.ceiling, 600),
                ("echo, calls / aiortc's", ratio, 10),
                ("transcode, calls", None if transcode is None else transcode.ceiling, 90),
            ]
            targets += [
                Target(title=title, value=value, bound=bound, is_least=True)
                for title, value, bound in least
                if value is not None
            ]
        for figures in (echo, transcode):
            targets += _lateness_targets(figures) if figures is not None else []
        if echo is not None and echo.idle is not None:
            title = "memory of an idle call, KB"
            targets.append(Target(title=title, value=echo.idle.bytes_per_call / 1000, bound=150))
        return targets

    def describe(self) -> dict[str, Any]:
        """Return all of it in the way of JSON."""
        conditions = attrs.asdict(self.conditions)
        conditions["series"] = [series.value for series in self.conditions.series]
        return {
            "machine": self.machine,
            "conditions": conditions,
            "series": [self._describe_figures(figures) for figures in self.figures],
            "targets": [{**attrs.asdict(target), "is_met": target.is_met} for target in self.targets],
        }

    def _describe_figures(self, figures: CallFigures) -> dict[str, Any]:
        idle = figures.idle
        return {
            "series": figures.series.value,
            "ceiling": figures.ceiling,
            "is_generators": figures.is_generators,
            "ratio_aiortc": self.ratio(figures),
            "floors": [attrs.asdict(floor) for floor in figures.floors],
            "idle_memory": None
            if idle is None
            else {**attrs.asdict(idle), "bytes_per_call": round(idle.bytes_per_call)},
            "below": None if figures.below is None else _describe_step(figures.below),
            "steps": [_describe_step(step) for step in figures.steps],
        }


def _lateness_targets(figures: CallFigures) -> list[Target]:
    below, floor, title = figures.below, figures.floor, figures.series.value
    if below is None:
        return []
    return [
        Target(title=f"{title}, p99 ms", value=below.p99 * 1000, bound=2 + floor.p99 * 1000),
        Target(title=f"{title}, max ms", value=below.max * 1000, bound=15 + floor.max * 1000),
    ]


def _describe_step(step: Step) -> dict[str, Any]:
    # JSON knows no NaN, which lateness is where nothing came.
    known = {name: None if value != value else value for name, value in attrs.asdict(step).items()}
    return {
        **known,
        "is_held": step.is_held,
        "is_generators": step.is_generators,
        "cpu_us_per_call_second": round(step.cost * 1e6, 1),
        "relay_us_per_call_second": round(step.relay_cost * 1e6, 1),
    }
