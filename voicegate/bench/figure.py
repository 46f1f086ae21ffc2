"""What was measured, and what it comes to: medians, ranges, percentiles, in seconds and round trips."""

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final

import attrs

from voicegate.bench.row import Row
from voicegate.testing.browser import Kind

__all__ = ["BOUNDS_ROUND_TRIP", "Conditions", "Measurement", "Milestone", "Series", "Setup", "percentile"]

BOUNDS_ROUND_TRIP: Final = 0.2
"""Seconds; on a shorter line the milliseconds that programs take weigh too much to be held to bounds."""


class Milestone(Enum):
    """What got through; all times count from the client's first datagram."""

    SERVER_AUDIO = "server_audio"
    """The browser took the server's first audio packet."""
    CLIENT_AUDIO = "client_audio"
    """The server was reached by the client's first audio packet."""
    CHANNEL_OPEN = "channel_open"
    """The page's data channel opened."""
    SERVER_DATA = "server_data"
    """The page got the server's first message."""
    CLIENT_DATA = "client_data"
    """The server's program got the page's first message, from a client that is verified."""
    BOTH_DATA = "both_data"
    """The later of the two messages."""
    READY = "ready"
    """The server is heard, and messages got through both ways."""


_FOLLOWING: Final = {
    Milestone.BOTH_DATA: (Milestone.SERVER_DATA, Milestone.CLIENT_DATA),
    Milestone.READY: (Milestone.SERVER_AUDIO, Milestone.BOTH_DATA),
}
"""Milestones that are reached with the last of others."""


@attrs.frozen(kw_only=True)
class Setup:
    """One call's way up."""

    seconds: Mapping[Milestone, float]
    """Without those that were not reached in time."""
    datagrams: Mapping[str, int] = attrs.field(factory=dict)
    """How many passed the line, and were lost on it, until the end of the set-up."""
    report: Mapping[str, Any] = attrs.field(factory=dict)
    """What the browser said of the connection."""

    @classmethod
    def from_arrivals(
        cls,
        arrivals: Mapping[Milestone, float | None],
        *,
        datagrams: Mapping[str, int],
        report: Mapping[str, Any],
    ) -> "Setup":
        """Add the milestones that follow from others."""
        seconds = {milestone: at for milestone, at in arrivals.items() if at is not None}
        for later, earlier in _FOLLOWING.items():
            if all(milestone in seconds for milestone in earlier):
                seconds[later] = max(seconds[milestone] for milestone in earlier)
        return cls(seconds=seconds, datagrams=datagrams, report=report)

    @property
    def is_complete(self) -> bool:
        """Whether all that was wanted got through."""
        return Milestone.READY in self.seconds


@attrs.frozen(kw_only=True)
class Series:
    """The calls of one row from one browser to one server."""

    row: Row
    browser: Kind
    server: str
    round_trip: float
    """Seconds."""
    setups: Sequence[Setup]

    @property
    def successes(self) -> int:
        """Set-ups in which all got through."""
        return sum(setup.is_complete for setup in self.setups)

    def values(self, milestone: Milestone) -> list[float]:
        """Return the seconds to a milestone, least first; infinity for each call that did not reach it."""
        return sorted(setup.seconds.get(milestone, math.inf) for setup in self.setups)

    def median(self, milestone: Milestone) -> float:
        """Return the median seconds to a milestone."""
        return percentile(self.values(milestone), 50)

    def round_trips(self, seconds: float) -> float:
        """Tell seconds in round trips of the line; they are infinite on a line without delay."""
        return seconds / self.round_trip if self.round_trip else math.inf

    def bound(self, milestone: Milestone) -> float | None:
        """Return the most round trips that the median of a milestone may take, None if any will do."""
        bounds = self.row.bounds
        if bounds is None or self.server != "voicegate" or self.round_trip < BOUNDS_ROUND_TRIP:
            return None
        return {Milestone.SERVER_AUDIO: bounds.server_audio, Milestone.BOTH_DATA: bounds.both_data}.get(
            milestone
        )

    def is_within(self, milestone: Milestone) -> bool:
        """Tell whether a milestone keeps its bound, if it has one."""
        bound = self.bound(milestone)
        return bound is None or self.round_trips(self.median(milestone)) <= bound

    def describe(self) -> dict[str, Any]:
        """Return all of it in the way of JSON; null stands for what never came."""
        return {
            "row": self.row.name,
            "title": self.row.title,
            "browser": self.browser,
            "server": self.server,
            "attempts": len(self.setups),
            "successes": self.successes,
            "milestones": {
                milestone.value: {
                    "median_ms": _milliseconds(self.median(milestone)),
                    "p95_ms": _milliseconds(percentile(self.values(milestone), 95)),
                    "least_ms": _milliseconds(self.values(milestone)[0]),
                    "most_ms": _milliseconds(self.values(milestone)[-1]),
                    "median_round_trips": _finite(self.round_trips(self.median(milestone))),
                    "bound_round_trips": self.bound(milestone),
                }
                for milestone in Milestone
            },
            "setups": [
                {
                    "ms": {milestone.value: _milliseconds(at) for milestone, at in setup.seconds.items()},
                    "datagrams": dict(setup.datagrams),
                    "report": dict(setup.report),
                }
                for setup in self.setups
            ],
        }


@attrs.frozen(kw_only=True)
class Conditions:
    """What is the same for all set-ups of a measurement."""

    round_trip: float
    """Seconds; so in all that is kept here."""
    loss: float
    """Probability from 0 to below 1."""
    runs: int
    has_reference: bool = True


@attrs.frozen(kw_only=True)
class Measurement:
    """All that was measured."""

    conditions: Conditions
    browsers: Mapping[Kind, str]
    """Their versions."""
    series: Sequence[Series]

    def headline(self, browser: str) -> str:
        """Say what was measured, for a browser's version."""
        conditions = self.conditions
        loss = f"{conditions.loss * 100:g} % loss" if conditions.loss else "no loss"
        line = f"round trip {conditions.round_trip * 1000:g} ms, {loss}"
        name = browser.replace("/", " ").capitalize()
        return f"Call set-up in {name}: {line}, {conditions.runs} run{'s' if conditions.runs > 1 else ''}"

    def describe(self) -> dict[str, Any]:
        """Return all of it in the way of JSON."""
        return {
            "round_trip_ms": round(self.conditions.round_trip * 1000, 3),
            "loss_percent": round(self.conditions.loss * 100, 3),
            "runs": self.conditions.runs,
            "browsers": dict(self.browsers),
            "series": [series.describe() for series in self.series],
        }


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of the values, sorted, that so many percent of them do not exceed.

    The median of an even number is the mean of the two in the middle, as everywhere.
    """
    if percent == 50 and len(values) % 2 == 0:
        middle = len(values) // 2
        return (values[middle - 1] + values[middle]) / 2
    return values[max(0, math.ceil(len(values) * percent / 100) - 1)]


def _milliseconds(seconds: float) -> float | None:
    return _finite(seconds * 1000)


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
