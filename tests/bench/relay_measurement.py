"""Measurements of relays made up for tests."""

from collections.abc import Mapping
from typing import Any

import attrs

from voicegate.bench.traffic import (
    OURS,
    OURS_PLAIN,
    REFERENCE_C,
    REFERENCE_GO,
    SATURATION,
    Ceiling,
    Direction,
    FlowMemory,
    Load,
    Point,
    RelayConditions,
    RelayMeasurement,
    Run,
)

COSTS: Mapping[str, float] = {OURS: 4e-6, OURS_PLAIN: 6e-6, REFERENCE_C: 5e-6, REFERENCE_GO: 10e-6}
RUN = Run(
    touched=1000,
    sent=10_000,
    received=10_000,
    misrouted=0,
    damaged=0,
    undelivered=0,
    seconds=0.1,
    cpu=0.1,
    p50=0.0001,
    p99=0.0005,
    max=0.001,
)
THERE = Load(direction=Direction.TO_TRANSCEIVER, flows=1000, rate=SATURATION)
BACK = attrs.evolve(THERE, direction=Direction.TO_CLIENTS)


def make_run(*, cost: float = 10e-6, received: int = 10_000, **changes: Any) -> Run:
    """Make a run in which a packet takes so many processor seconds."""
    return attrs.evolve(RUN, received=received, cpu=cost * received, **changes)


def make_relay_measurement(conditions: RelayConditions | None = None) -> RelayMeasurement:
    """Make one in which each relay costs what `COSTS` says, twice that when it isn't saturated."""
    conditions = conditions or RelayConditions()
    points = [
        Point(
            relay=relay,
            load=load,
            runs=[make_run(cost=COSTS[relay] * (2 if load.rate else 1))] * conditions.repeats,
        )
        for load in conditions.loads
        for relay in conditions.relays
    ]
    near = make_run(p50=0.00001, p99=0.00002)
    direct = {
        rate: Point(relay="direct", load=attrs.evolve(THERE, rate=rate), runs=[near])
        for rate in conditions.rates
        if rate
    }
    ceilings = [
        Ceiling(
            relay=relay,
            direction=direction,
            flows=flows,
            rate=1 / COSTS[relay],
            is_generators=relay == REFERENCE_C,
        )
        for relay in conditions.relays
        for direction in conditions.directions
        for flows in conditions.flows
    ]
    return RelayMeasurement(
        conditions=conditions,
        machine="made up",
        points=points,
        direct=direct,
        ceilings=ceilings if conditions.has_search else [],
        memory=FlowMemory(flows=1_000_000, bytes=120_000_000, seconds=3.0),
    )
