"""What was measured of speech over bad lines, and what it comes to: medians, targets; in seconds."""

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from statistics import median
from typing import Any, Final

import attrs

from voicegate.bench.quality_line import Impairment
from voicegate.errors import UsageError

__all__ = [
    "BURST",
    "LINES",
    "BadLine",
    "Contender",
    "QualityCall",
    "QualityConditions",
    "QualityMeasurement",
    "QualityTarget",
    "Recovery",
    "choose_lines",
]


_UNUSUAL: Final = 0.03
"""Seconds by which a delay has to be longer to be no longer the usual one."""
_IN_A_ROW: Final = 3


class Contender(Enum):
    """Who is talked to, and says everything back."""

    ACCURATE = "accurate"
    FAST = "fast"
    AIORTC = "aiortc"

    @property
    def title(self) -> str:
        """The name for people."""
        return self.value if self is Contender.AIORTC else f"voicegate {self.value}"


@attrs.frozen(kw_only=True)
class BadLine:
    """A line to speak over."""

    name: str
    title: str
    impairment: Impairment


def _line(name: str, title: str, **impairment: float) -> BadLine:
    return BadLine(name=name, title=title, impairment=Impairment(**impairment))


LINES: Final = (
    _line("clean", "nothing wrong"),
    _line("loss5", "5 % lost", loss=0.05),
    _line("loss10", "10 % lost", loss=0.10),
    _line("loss20", "20 % lost", loss=0.20),
    _line("bursts5", "5 % lost, 3 in a row", loss=0.05, burst=3),
    _line("bursts10", "10 % lost, 3 in a row", loss=0.10, burst=3),
    _line("jitter30", "30 ms jitter", jitter=0.03),
    _line("jitter60", "60 ms jitter", jitter=0.06),
    _line("jitter100", "100 ms jitter", jitter=0.10),
    _line("reorder", "5 % overtaken", reorder=0.05),
    _line("fast", "clock 0.5 % fast", drift=0.005),
    _line("slow", "clock 0.5 % slow", drift=-0.005),
    _line("mixed", "5 % lost, 60 ms jitter", loss=0.05, jitter=0.06),
)
"""All lines; jitter is uniform, from nothing to what it says."""


BURST: Final = Impairment(jitter=0.15, begins=8.0, ends=11.0)
"""Three seconds of bad jitter between good ones."""


def choose_lines(names: Sequence[str]) -> tuple[BadLine, ...]:
    """Return lines by name, in the usual order; all for no names.

    Errors: UsageError for an unknown name.
    """
    known = {line.name for line in LINES}
    if unknown := set(names) - known:
        raise UsageError(
            f"no lines {', '.join(sorted(unknown))}, only {', '.join(line.name for line in LINES)}"
        )
    return tuple(line for line in LINES if line.name in names or not names)


@attrs.frozen(kw_only=True)
class QualityConditions:
    """What is measured."""

    lines: tuple[BadLine, ...] = LINES
    contenders: tuple[Contender, ...] = tuple(Contender)
    runs: int = 3
    """Calls over each line to each contender; the same faults for all contenders."""
    at_once: int = 3
    """Lines measured at the same time, each with all contenders."""
    speech: float = math.inf
    """Seconds of the speech that are said; all of it takes 8.3."""
    warm_up: float = 4.0
    """Seconds of speech before that, which are not scored: a receiver has to get to know its line."""
    has_recovery: bool = True
    """Whether to measure how long the delay takes to return after a burst of jitter."""
    burst: Impairment = BURST
    """That burst."""


@attrs.frozen(kw_only=True)
class QualityCall:
    """One call, as it sounded."""

    contender: Contender
    line: str
    seed: int
    opinion: float
    """From 1, bad, to 5, the same as what was said."""
    delay: float | None
    """From said to heard, the median; None when nothing was recognised."""
    lateness: float
    """What a client has to wait on top to play 95 % of the packets in time."""
    stall: float
    """How much later than due the bench itself sent a packet, at worst: that is no fault of the server's."""
    bitrate: float
    """Bits per second that came back."""
    parts_found: int
    parts: int


@attrs.frozen(kw_only=True)
class Recovery:
    """The delay of one contender around a burst of jitter."""

    contender: Contender
    began_at: float
    """When the burst began, since the first word."""
    ended_at: float
    delays: Sequence[tuple[float, float]]
    """When something was said, and by how much later it was heard."""

    @property
    def usual(self) -> float | None:
        """The delay before the burst."""
        before = [delay for at, delay in self.delays if at < self.began_at]
        return median(before) if before else None

    @property
    def highest(self) -> float | None:
        """The longest delay from the burst on."""
        return max((delay for at, delay in self.delays if at >= self.began_at), default=None)

    @property
    def seconds(self) -> float | None:
        """How long after the burst the delay was usual, three times in a row; None: it never was."""
        usual = self.usual
        if usual is None:
            return None
        after = [(at, delay <= usual + _UNUSUAL) for at, delay in self.delays if at >= self.ended_at]
        for index in range(len(after) - _IN_A_ROW + 1):
            if all(is_usual for _, is_usual in after[index : index + _IN_A_ROW]):
                return after[index][0] - self.ended_at if index else 0.0
        return None


@attrs.frozen(kw_only=True)
class QualityTarget:
    """A figure and what it ought to be at most, or at least."""

    title: str
    value: float | None
    bound: float
    is_least: bool

    @property
    def is_met(self) -> bool:
        """Whether it is so."""
        if self.value is None:
            return False
        return self.value >= self.bound if self.is_least else self.value <= self.bound


@attrs.frozen(kw_only=True)
class QualityMeasurement:
    """All that was measured."""

    conditions: QualityConditions
    machine: str
    calls: Sequence[QualityCall]
    recoveries: Sequence[Recovery]

    def of(self, contender: Contender, line: str) -> list[QualityCall]:
        """Return the calls of a contender over a line."""
        return [call for call in self.calls if (call.contender, call.line) == (contender, line)]

    def opinion(self, contender: Contender, line: str) -> float | None:
        """Return the median opinion."""
        calls = self.of(contender, line)
        return median(call.opinion for call in calls) if calls else None

    def delay(self, contender: Contender, line: str) -> float | None:
        """Return the median delay."""
        delays = [call.delay for call in self.of(contender, line) if call.delay is not None]
        return median(delays) if delays else None

    def lateness(self, contender: Contender, line: str) -> float | None:
        """Return the median of what a client has to wait on top."""
        calls = self.of(contender, line)
        return median(call.lateness for call in calls) if calls else None

    def bitrate(self, contender: Contender) -> float | None:
        """Return the median of what came back."""
        rates = [call.bitrate for call in self.calls if call.contender is contender]
        return median(rates) if rates else None

    @property
    def stall(self) -> float:
        """Return how much the bench itself was late in half of the calls."""
        return median(call.stall for call in self.calls) if self.calls else 0.0

    def recovery(self, contender: Contender) -> Recovery | None:
        """Return what the delay of a contender did."""
        return next((each for each in self.recoveries if each.contender is contender), None)

    @property
    def targets(self) -> list[QualityTarget]:
        """What ought to be, as far as it was measured."""
        ours, reference = Contender.ACCURATE, Contender.AIORTC
        targets: list[QualityTarget] = []
        for line in self.conditions.lines:
            pair = self.opinion(ours, line.name), self.opinion(reference, line.name)
            is_lossy = line.impairment.loss > 0
            if is_lossy and pair[0] is not None and pair[1] is not None:
                title = f"opinion above aiortc's: {line.title}"
                targets.append(QualityTarget(title=title, value=pair[0] - pair[1], bound=0.0, is_least=True))
        for contender in (Contender.ACCURATE, Contender.FAST):
            if (recovery := self.recovery(contender)) is not None:
                title = f"{contender.title}: seconds until the delay is back"
                targets.append(QualityTarget(title=title, value=recovery.seconds, bound=5.0, is_least=False))
        return targets

    def describe(self) -> Mapping[str, Any]:
        """Return all figures for JSON."""
        return {
            "machine": self.machine,
            "runs": self.conditions.runs,
            "lines": {line.name: attrs.asdict(line.impairment) for line in self.conditions.lines},
            "calls": [{**attrs.asdict(call), "contender": call.contender.value} for call in self.calls],
            "recoveries": [
                {
                    **attrs.asdict(recovery),
                    "contender": recovery.contender.value,
                    "usual": recovery.usual,
                    "highest": recovery.highest,
                    "seconds": recovery.seconds,
                }
                for recovery in self.recoveries
            ],
            "targets": [{**attrs.asdict(target), "is_met": target.is_met} for target in self.targets],
        }
