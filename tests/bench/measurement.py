"""Measurements made up for tests."""

from collections.abc import Sequence

from voicegate.bench.figure import Conditions, Measurement, Milestone, Series, Setup
from voicegate.bench.row import ROWS, Row

ROW_S = next(row for row in ROWS if row.name == "S")
MEASURED = (
    Milestone.SERVER_AUDIO,
    Milestone.CLIENT_AUDIO,
    Milestone.SERVER_DATA,
    Milestone.CLIENT_DATA,
)


def make_setup(*seconds: float | None) -> Setup:
    """Make a set-up by its times, in the order of `MEASURED`."""
    return Setup.from_arrivals(dict(zip(MEASURED, seconds, strict=True)), datagrams={}, report={})


def make_series(
    setups: Sequence[Setup], *, row: Row = ROW_S, server: str = "voicegate", round_trip: float = 0.2
) -> Series:
    return Series(row=row, browser="chromium", server=server, round_trip=round_trip, setups=setups)


def make_measurement(
    *, loss: float = 0.0, round_trip: float = 0.2, rows: Sequence[Row] = ROWS
) -> Measurement:
    """Make one in which calls to the reference take twice as long, and one of them fails under loss."""
    series = []
    for row in rows:
        for slowness, server in ((1, "voicegate"), (2, "aiortc")):
            times = (2.02, 2.15, 3.05, 3.55)
            setups = [
                make_setup(*(slowness * (time + 0.01 * run) * 0.2 for time in times)) for run in range(5)
            ]
            if loss and server == "aiortc":
                setups[0] = make_setup(0.8, 0.9, None, None)
            series.append(make_series(setups, row=row, server=server, round_trip=round_trip))
    conditions = Conditions(round_trip=round_trip, loss=loss, runs=5)
    return Measurement(conditions=conditions, browsers={"chromium": "chromium/1.2"}, series=series)
