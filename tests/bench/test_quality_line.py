import pytest

from voicegate.bench.quality_line import ImpairedLine, Impairment

PACKETS = 20_000


def arrivals(impairment: Impairment, *, seed: int = 1, packets: int = PACKETS) -> list[float | None]:
    """Return how much later each packet arrives than it was sent."""
    line = ImpairedLine(impairment, seed=seed)
    times = [10.0 + index / 50 for index in range(packets)]
    found = [line.arrival(at) for at in times]
    return [None if at is None else at - sent for at, sent in zip(found, times, strict=True)]


def test_a_good_line_does_nothing() -> None:
    assert set(arrivals(Impairment())) == {0.0}


def test_the_drift_is_the_callers_business() -> None:
    assert set(arrivals(Impairment(drift=0.005))) == {0.0}


@pytest.mark.parametrize("loss", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("burst", [1.0, 3.0])
def test_as_many_packets_are_lost_as_it_says_and_as_many_in_a_row(loss: float, burst: float) -> None:
    lost = [at is None for at in arrivals(Impairment(loss=loss, burst=burst))]
    assert sum(lost) / PACKETS == pytest.approx(loss, rel=0.15)
    bursts = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    in_a_row = burst if burst > 1 else 1 / (1 - loss)
    assert sum(lost) / bursts == pytest.approx(in_a_row, rel=0.1)


def test_jitter_delays_but_lets_nothing_overtake() -> None:
    line = ImpairedLine(Impairment(jitter=0.1), seed=1)
    sent = [index / 50 for index in range(1000)]
    came = [line.arrival(at) or 0.0 for at in sent]
    assert came == sorted(came)
    delays = [at - before for at, before in zip(came, sent, strict=True)]
    assert 0.09 < max(delays) <= 0.1
    assert min(delays) < 0.05


def test_some_packets_are_overtaken() -> None:
    delays = arrivals(Impairment(reorder=0.05))
    assert {round(delay or 0.0, 6) for delay in delays} == {0.0, 0.05}
    assert sum(delay == pytest.approx(0.05) for delay in delays) / PACKETS == pytest.approx(0.05, rel=0.15)


def test_faults_begin_and_end() -> None:
    delays = arrivals(Impairment(loss=0.999, begins=2.0, ends=4.0), packets=300)
    lost = [index for index, delay in enumerate(delays) if delay is None]
    assert min(lost) >= 100
    assert max(lost) < 200
    assert len(lost) > 90


def test_a_seed_makes_the_same_line() -> None:
    impairment = Impairment(loss=0.1, burst=2, jitter=0.06, reorder=0.1)
    assert arrivals(impairment, seed=3) == arrivals(impairment, seed=3)
    assert arrivals(impairment, seed=3) != arrivals(impairment, seed=4)
