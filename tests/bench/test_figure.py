import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.measurement import make_measurement, make_series, make_setup
from voicegate.bench.figure import Milestone, percentile


def test_the_last_of_its_parts_reaches_a_milestone_made_of_several() -> None:
    setup = make_setup(0.4, 0.43, 0.6, 0.7)
    assert setup.seconds[Milestone.BOTH_DATA] == 0.7
    assert setup.seconds[Milestone.READY] == 0.7
    assert make_setup(0.9, 0.43, 0.6, 0.7).seconds[Milestone.READY] == 0.9
    assert setup.is_complete


@pytest.mark.parametrize("missing", [0, 2, 3])
def test_a_set_up_that_lacks_a_part_is_not_complete(missing: int) -> None:
    times: list[float | None] = [0.4, 0.43, 0.6, 0.7]
    times[missing] = None
    setup = make_setup(*times)
    assert not setup.is_complete
    assert Milestone.READY not in setup.seconds


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([1.0], 50, 1.0),
        ([1.0, 2.0, 3.0], 50, 2.0),
        ([1.0, 2.0, 3.0, 5.0], 50, 2.5),
        ([float(n) for n in range(1, 101)], 95, 95.0),
        ([float(n) for n in range(1, 11)], 95, 10.0),
        ([1.0, 2.0, math.inf], 50, 2.0),
        ([1.0, 2.0, math.inf], 95, math.inf),
        ([1.0, math.inf], 50, math.inf),
    ],
)
def test_percentiles(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=50).map(sorted),
    st.integers(1, 100),
)
def test_so_many_percent_do_not_exceed_a_percentile(values: list[float], percent: int) -> None:
    limit = percentile(values, percent)
    assert sum(value <= limit for value in values) >= len(values) * percent / 100 - 0.001
    assert values[0] <= limit <= values[-1]


def test_a_failed_set_up_counts_as_one_that_never_got_there() -> None:
    series = make_series([make_setup(0.4, 0.4, 0.6, 0.7)] * 3 + [make_setup(0.4, None, None, None)])
    assert series.successes == 3
    assert series.median(Milestone.READY) == 0.7
    assert series.values(Milestone.READY)[-1] == math.inf
    assert series.describe()["milestones"]["ready"]["p95_ms"] is None
    assert series.describe()["milestones"]["ready"]["median_ms"] == 700


def test_bounds_are_for_voicegate_on_a_long_line() -> None:
    setups = [make_setup(0.41, 0.43, 0.61, 0.75)]
    ours = make_series(setups)
    assert ours.bound(Milestone.SERVER_AUDIO) == 2.1
    assert ours.is_within(Milestone.SERVER_AUDIO)
    assert ours.bound(Milestone.BOTH_DATA) == 3.7
    assert not ours.is_within(Milestone.BOTH_DATA)
    assert ours.bound(Milestone.CLIENT_AUDIO) is None
    for other in (make_series(setups, server="aiortc"), make_series(setups, round_trip=0.1)):
        assert other.bound(Milestone.BOTH_DATA) is None
        assert other.is_within(Milestone.BOTH_DATA)


def test_a_line_without_delay_has_no_round_trips_to_count_in() -> None:
    series = make_series([make_setup(0.01, 0.02, 0.02, 0.03)], round_trip=0.0)
    assert series.describe()["milestones"]["ready"]["median_round_trips"] is None
    assert series.describe()["milestones"]["ready"]["median_ms"] == 30


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_a_measurement_is_told_in_json_with_all_that_was_measured(loss: float) -> None:
    measurement = make_measurement(loss=loss)
    told = json.loads(json.dumps(measurement.describe(), allow_nan=False))
    assert told.keys() == {"round_trip_ms", "loss_percent", "runs", "browsers", "series"}
    assert (told["round_trip_ms"], told["loss_percent"], told["runs"]) == (200, 100 * loss, 5)
    assert told["browsers"] == {"chromium": "chromium/1.2"}
    assert [(one["row"], one["server"]) for one in told["series"][:2]] == [
        ("A", "voicegate"),
        ("A", "aiortc"),
    ]
    for one in told["series"]:
        assert one.keys() == {
            "row", "title", "browser", "server", "attempts", "successes", "milestones", "setups",
        }  # fmt: skip
        assert one["attempts"] == len(one["setups"]) == 5
        assert one["milestones"].keys() == {milestone.value for milestone in Milestone}
        for figures in one["milestones"].values():
            assert figures.keys() == {
                "median_ms", "p95_ms", "least_ms", "most_ms", "median_round_trips", "bound_round_trips",
            }  # fmt: skip


def test_the_headline_says_the_conditions() -> None:
    measurement = make_measurement(loss=0.1)
    assert (
        measurement.headline("firefox/153.7")
        == "Call set-up in Firefox 153.7: round trip 200 ms, 10 % loss, 5 runs"
    )
    assert "no loss" in make_measurement().headline("chromium/1")
