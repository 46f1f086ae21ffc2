import pytest
from rich.console import Console

from tests.bench.measurement import ROW_S, make_measurement, make_series, make_setup
from voicegate.bench.figure import Measurement
from voicegate.bench.table import render


def show(measurement: Measurement, width: int = 80) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        for part in render(measurement):
            console.print(part)
    return capture.get()


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_all_of_it_fits_eighty_columns_uncut(loss: float) -> None:
    text = show(make_measurement(loss=loss))
    assert "…" not in text
    assert text.count("voicegate") >= 14


def test_medians_and_ranges_are_in_round_trips_and_bounds_beside() -> None:
    text = show(make_measurement(rows=[ROW_S]))
    assert "2.04 ≤2.1" in text
    assert "2.02-2.06" in text
    assert "3.57 ≤3.7" in text
    assert "7.14" in text


def test_a_bound_that_is_not_kept_shows() -> None:
    measurement = make_measurement(rows=[])
    slow = make_series([make_setup(0.5, 0.5, 0.5, 0.5)])
    text = show(Measurement(conditions=measurement.conditions, browsers=measurement.browsers, series=[slow]))
    assert "2.50 >2.1" in text


def test_under_loss_successes_and_percentiles_are_told() -> None:
    text = show(make_measurement(loss=0.1, rows=[ROW_S]))
    assert "10 % loss" in text
    assert "5 of 5" in text
    assert "4 of 5" in text
    assert "714" in text
    assert "never" in text
    assert "5 of 5" not in show(make_measurement(rows=[ROW_S]))


def test_without_delay_there_are_no_round_trips_but_seconds() -> None:
    text = show(make_measurement(round_trip=0.0, rows=[ROW_S]))
    assert "milliseconds since" in text
    assert "never" not in text
