import attrs
import pytest
from rich.console import Console

from tests.bench.call_measurement import make_call_measurement, make_step
from voicegate.bench.call_figure import CallConditions, CallMeasurement, Step
from voicegate.bench.call_table import render_calls
from voicegate.bench.callee import Series


def show(measurement: CallMeasurement, width: int = 80) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        for part in render_calls(measurement):
            console.print(part)
    return capture.get()


@pytest.mark.parametrize("width", [80, 140])
def test_all_of_it_fits_eighty_columns_uncut(width: int) -> None:
    text = show(make_call_measurement(), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_calls_cost_and_lateness_stand_beside_the_floor() -> None:
    text = show(make_call_measurement())
    row = next(line for line in text.splitlines() if line.lstrip().startswith("echo "))
    assert row.split() == [
        "echo",
        "700",
        "70.0",
        "0.10%",
        "0.05%",
        "120",
        "0.40",
        "1.20",
        "4.00",
    ]
    assert "0.10 0.20 2.00" in text
    assert "770 calls" in text
    assert "20.0, 1 failed" in text
    assert "≥ 600" in text


def test_what_the_generator_limits_is_marked() -> None:
    measurement = make_call_measurement(CallConditions(series=(Series.ECHO,)))
    (echo,) = measurement.figures
    alone = attrs.evolve(echo, steps=[make_step(900)])
    assert "~900" in show(attrs.evolve(measurement, figures=[alone]))


def test_with_a_given_number_of_calls_it_tells_how_many_count() -> None:
    measurement = make_call_measurement(CallConditions(series=(Series.ECHO,), calls=50))
    given = attrs.evolve(measurement.figures[0], steps=[make_step(50, kept=48)])
    assert "48 of 50" in show(attrs.evolve(measurement, figures=[given]))


def test_what_was_not_measured_is_left_out() -> None:
    measurement = make_call_measurement(CallConditions(series=(Series.AIORTC,)))
    nothing = float("nan")
    steps = [
        Step(calls=9, failure="503: full"),
        make_step(8, kept=0, p99=nothing, max=nothing),
        make_step(3, kept=0),
    ]
    figures = attrs.evolve(measurement.figures[0], steps=steps, below=None, idle=None)
    text = show(attrs.evolve(measurement, figures=[figures]))
    assert "503: full" in text
    assert "wanted" not in text
