import random
from collections.abc import Callable

import pytest

from voicegate.audio.delay import DelayEstimate

JITTERS: dict[str, Callable[[random.Random], float]] = {
    "none": lambda _: 0.0,
    "even": lambda generator: generator.uniform(0, 0.1),
    "peaks": lambda generator: 0.08 if generator.random() < 0.2 else generator.uniform(0, 0.01),
}


def measure(
    estimate: DelayEstimate,
    seconds: float,
    jitter: Callable[[random.Random], float] = JITTERS["none"],
    *,
    start: float = 0.0,
    drift: float = 0.0,
    offset: float = 5.0,
) -> float:
    """Let packets of 20 ms of a client's clock come, and return when the last does."""
    generator = random.Random(1)
    now = start
    for index in range(round(seconds * 50)):
        sent = start + index * 0.02
        now = sent + jitter(generator)
        estimate.measure(offset + drift * sent + now - sent, now=now)
    return now


@pytest.mark.parametrize(("jitter", "spread"), [("none", 0.0), ("even", 0.096), ("peaks", 0.08)])
def test_the_spread_is_what_nearly_all_packets_stay_below(jitter: str, spread: float) -> None:
    estimate = DelayEstimate()
    measure(estimate, 10, JITTERS[jitter])
    assert estimate.spread == pytest.approx(spread, abs=0.005)
    assert estimate.base == pytest.approx(5.0, abs=0.002)
    assert abs(estimate.drift_ppm) < 300


@pytest.mark.parametrize("drift", [-0.005, -0.0001, 0.0001, 0.005])
@pytest.mark.parametrize("jitter", JITTERS)
def test_the_drift_of_the_client_is_found_and_does_not_count_as_spread(drift: float, jitter: str) -> None:
    still, moving = DelayEstimate(), DelayEstimate()
    measure(still, 60, JITTERS[jitter])
    measure(moving, 60, JITTERS[jitter], drift=drift)
    assert moving.drift_ppm == pytest.approx(drift * 1e6, abs=100)
    assert moving.spread == pytest.approx(still.spread, abs=0.006)
    assert moving.base == pytest.approx(5 + drift * 60, abs=0.006)


def test_the_first_packets_give_a_first_idea() -> None:
    estimate = DelayEstimate()
    assert estimate.spread == 0.0
    estimate.measure(3.0, now=0.0)
    estimate.measure(3.04, now=0.06)
    estimate.measure(3.01, now=0.07)
    assert not estimate.has_settled
    assert estimate.base == 3.0
    assert estimate.spread == pytest.approx(0.01)
    assert estimate.drift_ppm == 0


def test_a_burst_of_jitter_is_forgotten_after_three_seconds() -> None:
    estimate = DelayEstimate()
    now = measure(estimate, 5)
    now = measure(estimate, 2, lambda generator: generator.uniform(0, 0.2), start=now + 0.02)
    now = measure(estimate, 0.6, start=now + 0.02)
    assert estimate.spread > 0.1
    measure(estimate, 3.2, start=now + 0.02)
    assert estimate.spread < 0.005
    assert estimate.base == pytest.approx(5.0)


def test_packets_that_a_stall_let_go_together_count_once() -> None:
    estimate = DelayEstimate()
    measure(estimate, 5)
    for index in range(50):
        estimate.measure(5 + (50 - index) * 0.02, now=6.0)
    measure(estimate, 1, start=6.02)
    assert estimate.spread < 0.005


def test_a_faster_way_counts_at_once_and_a_slower_one_after_ten_seconds() -> None:
    estimate = DelayEstimate()
    now = measure(estimate, 5)
    estimate.measure(4.95, now=now + 0.01)
    assert estimate.base == 4.95
    now = measure(estimate, 2, start=now + 0.02)
    assert estimate.base == pytest.approx(4.95)
    measure(estimate, 15, start=now + 0.02)
    assert estimate.base == pytest.approx(5.0, abs=0.01)


@pytest.mark.parametrize("offset", [-40_000.0, 3.0, 40_000.0])
def test_a_clock_set_anew_is_taken_as_it_is(offset: float) -> None:
    estimate = DelayEstimate()
    now = measure(estimate, 5)
    measure(estimate, 1.5, start=now + 0.02, offset=offset)
    assert estimate.base == pytest.approx(offset)
    assert estimate.spread == pytest.approx(0, abs=0.001)


def test_after_a_long_pause_only_what_comes_then_counts() -> None:
    estimate = DelayEstimate()
    now = measure(estimate, 5, JITTERS["even"])
    measure(estimate, 1.2, start=now + 300, offset=5.2)
    assert estimate.base == pytest.approx(5.2)
    assert estimate.spread < 0.005


def test_another_stream_begins_from_nothing_but_with_the_drift_known() -> None:
    estimate = DelayEstimate()
    measure(estimate, 20, drift=0.001)
    estimate.restart()
    assert estimate.drift_ppm == pytest.approx(1000, abs=50)
    assert not estimate.has_settled
    estimate.measure(9.0, now=30.0)
    assert estimate.base == 9.0


def test_no_arrivals_however_wild_make_the_drift_large() -> None:
    estimate = DelayEstimate()
    generator = random.Random(1)
    now = 0.0
    for _ in range(2000):
        now += generator.choice([0.0, 0.02, 0.5])
        estimate.measure(generator.uniform(-0.9, 0.9), now=now)
        assert abs(estimate.drift_ppm) <= 10_000
        assert 0 <= estimate.spread <= 2
