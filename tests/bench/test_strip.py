import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.bench.measurement import make_measurement, make_series, make_setup
from voicegate.bench.strip import Chart, duration_chart, milestone_chart, tick_distance


def draw(chart: Chart, width: int) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(chart)
    return capture.get().splitlines()


@given(st.floats(1e-6, 1e9))
def test_ticks_stand_at_round_numbers_and_not_too_close(longest: float) -> None:
    distance = tick_distance(longest)
    assert f"{distance:e}"[0] in "125"
    assert 1 <= longest / distance <= 8.001


@pytest.mark.parametrize("width", [40, 80, 100, 300])
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_a_chart_fits_the_terminal(width: int, loss: float) -> None:
    series = make_measurement(loss=loss).series
    chart = duration_chart(series) if loss else milestone_chart(series)
    lines = draw(chart, width)
    assert all(len(line) <= width for line in lines)
    assert sum("voicegate" in line for line in lines) == sum("aiortc" in line for line in lines) == 7


def test_milestones_stand_where_the_axis_says() -> None:
    series = [make_series([make_setup(0.2, 0.4, 0.6, 0.8)], round_trip=0.2)]
    strip, axis, numbers, *_ = draw(milestone_chart(series), 100)
    for sign, round_trips in (("◆", "1"), ("◇", "2"), ("▼", "3"), ("▲", "4")):
        assert numbers.index(f" {round_trips}") + 1 == strip.index(sign)
        assert axis[strip.index(sign)] == "┴"
    assert strip.endswith("4.00")


def test_what_never_came_is_called_so() -> None:
    failed = [make_series([make_setup(0.2, 0.3, None, None)])]
    assert draw(milestone_chart(failed), 80)[0].endswith("never")
    assert draw(duration_chart(failed), 80)[0].endswith("never")


def test_half_of_the_set_ups_95_percent_and_all_are_marked_in_this_order() -> None:
    setups = [make_setup(0.1, 0.1, 0.1, 0.1 * number) for number in range(1, 41)]
    strip = draw(duration_chart([make_series(setups)]), 100)[0]
    assert strip.index("◆") < strip.index("▲") < strip.index("╎")
    assert strip.endswith("3800")
