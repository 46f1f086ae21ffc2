import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.transceiver.lateness import BOUNDS_MS, Lateness


def fill(*seconds: float) -> Lateness:
    lateness = Lateness()
    for each in seconds:
        lateness.note(each, Lateness.bucket(each))
    return lateness


def test_nothing_is_late_before_anything_was_sent() -> None:
    assert Lateness().describe() == {"p50": 0.0, "p99": 0.0, "max": 0.0}


def test_a_few_late_frames_show_in_the_tail_and_nowhere_else() -> None:
    lateness = fill(*[0.00015] * 990, *[0.004] * 10)
    assert lateness.describe() == {"p50": 0.2, "p99": 0.2, "max": 4.0}
    assert fill(*[0.00015] * 980, *[0.004] * 20).describe() == {"p50": 0.2, "p99": 4.0, "max": 4.0}


def test_frames_that_leave_together_are_counted_at_once() -> None:
    together, apart = Lateness(), fill(*[0.0012] * 7)
    together.note(0.0012, Lateness.bucket(0.0012), frames=7)
    assert together.counts == apart.counts
    assert together.total == pytest.approx(apart.total)


@given(seconds=st.lists(st.floats(0, 2), min_size=1, max_size=50), part=st.floats(0.01, 1))
def test_a_quantile_is_a_bound_that_so_many_kept(seconds: list[float], part: float) -> None:
    lateness = fill(*seconds)
    bound = lateness.quantile_ms(part)
    assert sum(each * 1000 <= bound + 1e-9 for each in seconds) >= part * len(seconds) - 1e-9
    assert bound <= max(seconds) * 1000
    assert sum(lateness.counts) == len(seconds)
    assert lateness.longest == max(seconds)


@pytest.mark.parametrize("bound", BOUNDS_MS)
def test_a_bound_belongs_to_its_bucket(bound: float) -> None:
    assert BOUNDS_MS[Lateness.bucket(bound / 1000)] == bound
    assert Lateness.bucket(bound / 1000 * 1.001) == BOUNDS_MS.index(bound) + 1
