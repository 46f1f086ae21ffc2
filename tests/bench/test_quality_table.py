import attrs
import pytest
from rich.console import Console

from tests.bench.quality_measurement import make_quality_measurement, make_recovery
from voicegate.bench.quality_figure import Contender, QualityConditions, QualityMeasurement, choose_lines
from voicegate.bench.quality_table import render_quality


def show(measurement: QualityMeasurement, width: int = 80) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        for part in render_quality(measurement):
            console.print(part)
    return capture.get()


@pytest.mark.parametrize("width", [80, 140])
def test_all_of_it_fits_eighty_columns_uncut(width: int) -> None:
    text = show(make_quality_measurement(), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= max(width, 90)


def test_opinions_delays_and_targets_are_shown() -> None:
    text = show(make_quality_measurement())
    assert "4.00   80 + 10" in text
    assert "2.00  120 + 10" in text
    assert "at 30, 30, 30 kbit/s" in text
    assert "4 ms late in half" in text
    assert "1.0" in text
    assert "≤ 5" in text
    assert text.count("━" * 10) >= 13 * 3


def test_what_was_not_heard_says_so() -> None:
    measurement = make_quality_measurement()
    calls = [attrs.evolve(call, delay=None, opinion=1.0) for call in measurement.calls]
    assert "not heard" in show(attrs.evolve(measurement, calls=calls))


def test_a_delay_that_stays_says_so() -> None:
    measurement = make_quality_measurement()
    never = attrs.evolve(measurement, recoveries=[make_recovery(Contender.ACCURATE, back_at=99.0)])
    assert show(never).count("never") == 2


def test_what_was_not_measured_is_left_out() -> None:
    conditions = QualityConditions(
        lines=choose_lines(["loss10"]), contenders=(Contender.FAST,), has_recovery=False
    )
    text = show(attrs.evolve(make_quality_measurement(conditions), calls=[]))
    assert "burst" not in text
    assert "wanted" not in text
    assert "aiortc" not in text
