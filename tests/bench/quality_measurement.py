"""Measurements of speech over bad lines, made up for tests."""

from collections.abc import Mapping
from typing import Any

import attrs

from voicegate.bench.quality_figure import (
    Contender,
    QualityCall,
    QualityConditions,
    QualityMeasurement,
    Recovery,
)

OPINIONS: Mapping[Contender, float] = {
    Contender.ACCURATE: 4.0,
    Contender.FAST: 3.5,
    Contender.AIORTC: 2.0,
}
DELAYS: Mapping[Contender, float] = {
    Contender.ACCURATE: 0.08,
    Contender.FAST: 0.03,
    Contender.AIORTC: 0.12,
}
CALL = QualityCall(
    contender=Contender.ACCURATE,
    line="clean",
    seed=0,
    opinion=4.0,
    delay=0.08,
    lateness=0.01,
    stall=0.004,
    bitrate=30_000.0,
    parts_found=5,
    parts=5,
)


def make_recovery(contender: Contender, *, back_at: float) -> Recovery:
    """Make one with a burst from 8 to 11 s, after which the delay is high until some time."""
    usual = DELAYS[contender]
    delays = [
        (at / 2, usual + 0.2 if 8 <= at / 2 < back_at else usual + 0.01 * (at % 2)) for at in range(1, 48)
    ]
    return Recovery(contender=contender, began_at=8.0, ended_at=11.0, delays=delays)


def make_quality_measurement(conditions: QualityConditions | None = None, **call: Any) -> QualityMeasurement:
    """Make one in which all calls to a contender sound alike."""
    conditions = conditions or QualityConditions()
    calls = [
        attrs.evolve(
            CALL,
            contender=contender,
            line=line.name,
            seed=run,
            opinion=OPINIONS[contender],
            delay=DELAYS[contender],
            **call,
        )
        for line in conditions.lines
        for contender in conditions.contenders
        for run in range(conditions.runs)
    ]
    recoveries = [make_recovery(each, back_at=12.0) for each in conditions.contenders]
    return QualityMeasurement(
        conditions=conditions,
        machine="made up",
        calls=calls,
        recoveries=recoveries if conditions.has_recovery else [],
    )
