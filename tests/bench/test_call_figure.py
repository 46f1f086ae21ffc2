import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.call_measurement import FLOOR, make_call_measurement, make_figures, make_step
from voicegate.bench.call_figure import CallConditions, CallMemory, Ramp, Step
from voicegate.bench.callee import Series
from voicegate.bench.floor import worst


@given(
    holds=st.integers(0, 5000),
    first=st.integers(1, 500),
    growth=st.floats(1.1, 3.0),
    precision=st.floats(1.01, 1.5),
)
def test_a_ramp_ends_at_the_most_that_hold(holds: int, first: int, growth: float, precision: float) -> None:
    ramp = Ramp(first=first, growth=growth, precision=precision)
    tried: list[int] = []
    while not ramp.is_over:
        calls = ramp.calls
        assert calls > 0
        assert calls not in tried
        tried.append(calls)
        ramp.note(calls, is_held=calls <= holds)
    assert ramp.high is not None
    assert ramp.low <= holds < ramp.high
    assert ramp.high <= max(ramp.low + 1, ramp.low * precision)
    assert len(tried) < 120


def test_a_ramp_grows_by_its_ratio_and_then_halves_what_is_left() -> None:
    ramp = Ramp(first=100, growth=1.5, precision=1.06)
    tried = []
    while not ramp.is_over:
        tried.append(ramp.calls)
        ramp.note(ramp.calls, is_held=ramp.calls <= 600)
    assert tried[:6] == [100, 150, 225, 338, 507, 760]
    assert len(tried) <= CallConditions().steps
    assert ramp.low == max(calls for calls in tried if calls <= 600)


def test_cost_is_the_share_of_a_core_that_a_call_takes() -> None:
    step = make_step(100, cpu=2.0, relay_cpu=1.0, seconds=20.0)
    assert step.cost == pytest.approx(0.001)
    assert step.relay_cost == pytest.approx(0.0005)


@pytest.mark.parametrize(
    ("step", "is_held"),
    [
        (make_step(10), True),
        (make_step(10, kept=9), False),
        (Step(calls=10, failure="503"), False),
    ],
)
def test_a_step_is_held_when_all_calls_count(step: Step, is_held: bool) -> None:
    assert step.is_held is is_held


@pytest.mark.parametrize(
    ("kept", "own_max", "tries"),
    [(9, 0.002, 2), (4, 0.002, 1), (9, 0.02, 4), (0, 0.02, 4)],
)
def test_a_step_has_more_tries_while_the_machine_stands_still(kept: int, own_max: float, tries: int) -> None:
    step = make_step(10, kept=kept, own_max=own_max, limit=0.005)
    assert [step.deserves_another_try(number) for number in range(1, 5)] == [
        number < tries for number in range(1, 5)
    ]


@pytest.mark.parametrize(
    ("changes", "is_generators"),
    [({}, False), ({"own_p99": 0.003}, True), ({"other_idle": 0.01}, True)],
)
def test_who_was_the_limit_is_read_off_the_first_step_that_failed(
    changes: dict[str, Any], is_generators: bool
) -> None:
    figures = make_figures(Series.ECHO, 700)
    failed = attrs.evolve(figures.steps[1], **changes)
    far = make_step(2000, kept=0, own_p99=0.1)
    assert attrs.evolve(figures, steps=[far, figures.steps[0], failed]).is_generators is is_generators
    assert attrs.evolve(figures, steps=figures.steps[:1]).is_generators


def test_the_worst_of_floors_is_told() -> None:
    late = attrs.evolve(FLOOR, p50=0.0, max=0.003)
    assert worst([FLOOR, late]) == attrs.evolve(FLOOR, wakes=2000, max=0.003)


def test_ratios_are_to_the_reference() -> None:
    measurement = make_call_measurement()
    assert [measurement.ratio(figures) for figures in measurement.figures] == [70.0, 9.5, None]
    alone = make_call_measurement(CallConditions(series=(Series.ECHO,)))
    assert alone.ratio(alone.figures[0]) is None


def test_targets_are_on_top_of_the_floor() -> None:
    targets = {target.title: target for target in make_call_measurement().targets}
    assert {title: target.is_met for title, target in targets.items()} == {
        "echo, calls": True,
        "echo, calls / aiortc's": True,
        "transcode, calls": True,
        "echo, p99 ms": True,
        "echo, max ms": True,
        "transcode, p99 ms": True,
        "transcode, max ms": True,
        "memory of an idle call, KB": True,
    }
    assert targets["echo, p99 ms"].bound == pytest.approx(2.2)
    assert targets["echo, max ms"].bound == pytest.approx(17)
    assert targets["memory of an idle call, KB"].value == pytest.approx(120)


def test_what_is_missed_is_told() -> None:
    measurement = make_call_measurement(CallConditions(series=(Series.ECHO,)))
    (echo,) = measurement.figures
    poor = attrs.evolve(
        echo,
        steps=[make_step(599)],
        below=make_step(400, p99=0.003, max=0.02),
        idle=CallMemory(calls=10, bytes=2_000_000),
    )
    assert [target.is_met for target in attrs.evolve(measurement, figures=[poor]).targets] == [False] * 4


def test_with_a_given_number_of_calls_no_ceiling_is_judged() -> None:
    measurement = make_call_measurement(CallConditions(calls=50))
    assert not [target for target in measurement.targets if "calls" in target.title.partition(",")[2]]


def test_where_nothing_held_there_is_little_to_tell() -> None:
    measurement = make_call_measurement(CallConditions(series=(Series.AIORTC, Series.ECHO)))
    nothing = [
        attrs.evolve(figures, steps=[make_step(5, kept=0)], below=None, idle=None)
        for figures in measurement.figures
    ]
    poor = attrs.evolve(measurement, figures=nothing)
    assert [target.value for target in poor.targets] == [0]
    assert poor.describe()["series"][0]["below"] is None


def test_all_of_it_is_described_in_json() -> None:
    described = json.loads(json.dumps(make_call_measurement().describe(), allow_nan=False))
    assert described["conditions"]["series"] == ["echo", "transcode", "aiortc"]
    echo = described["series"][0]
    assert (echo["ceiling"], echo["ratio_aiortc"], echo["is_generators"]) == (700, 70.0, False)
    assert echo["below"]["cpu_us_per_call_second"] == 1000
    assert echo["idle_memory"]["bytes_per_call"] == 120_000
    assert [step["is_held"] for step in echo["steps"]] == [True, False]
    assert len(described["targets"]) == 8


def test_a_step_in_which_nothing_came_is_described_without_nan() -> None:
    measurement = make_call_measurement(CallConditions(series=(Series.ECHO,)))
    nan = float("nan")
    silent = make_step(5, kept=0, p50=nan, p99=nan, max=nan)
    figures = attrs.evolve(measurement.figures[0], steps=[silent], below=None)
    described = attrs.evolve(measurement, figures=[figures]).describe()
    assert json.loads(json.dumps(described, allow_nan=False))["series"][0]["steps"][0]["p99"] is None
