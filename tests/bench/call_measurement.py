"""Measurements of many calls made up for tests."""

from typing import Any

import attrs

from voicegate.bench.call_figure import CallConditions, CallFigures, CallMeasurement, CallMemory, Step
from voicegate.bench.callee import Series
from voicegate.bench.floor import Floor

FLOOR = Floor(wakes=1000, p50=0.0001, p99=0.0002, p999=0.0003, max=0.001)
STEP = Step(
    calls=100,
    kept=100,
    frames=100_000,
    limit=0.0053,
    p50=0.0004,
    p99=0.0012,
    max=0.004,
    seconds=20.0,
    cpu=2.0,
    relay_cpu=1.0,
    own_p99=0.0005,
    other_idle=0.5,
    resident=100_000_000,
)
CEILINGS = {Series.ECHO: 700, Series.TRANSCODE: 95, Series.AIORTC: 10}


def make_step(calls: int, **changes: Any) -> Step:
    """Make a step that holds, in which a call takes a thousandth of a core."""
    return attrs.evolve(
        STEP, **{"calls": calls, "kept": calls, "cpu": calls * 0.02, "relay_cpu": calls * 0.01, **changes}
    )


def make_figures(series: Series, ceiling: int) -> CallFigures:
    """Make figures of a server that holds so many calls and no tenth more."""
    more = round(ceiling * 1.1)
    return CallFigures(
        series=series,
        floors=[FLOOR, attrs.evolve(FLOOR, max=0.002)],
        steps=[make_step(ceiling), make_step(more, kept=more - 1, late=9, max=0.02)],
        below=make_step(round(0.7 * ceiling)),
        idle=CallMemory(calls=100, bytes=12_000_000),
    )


def make_call_measurement(conditions: CallConditions | None = None) -> CallMeasurement:
    """Make one in which each server holds what `CEILINGS` says."""
    conditions = conditions or CallConditions()
    figures = [make_figures(series, CEILINGS[series]) for series in conditions.series]
    return CallMeasurement(conditions=conditions, machine="made up", figures=figures)
