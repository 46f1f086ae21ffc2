from voicegate.link import Pace


def test_a_burst_is_fine_and_what_goes_beyond_it_has_to_wait() -> None:
    pace = Pace(rate=10, burst=100, now=0.0)
    assert pace.take(100, now=0.0) == 0
    assert pace.take(5, now=0.0) == 0.5
    assert pace.take(0, now=0.5) == 0
    assert pace.take(100, now=100.0) == 0
    assert pace.take(1, now=100.0) == 0.1


def test_many_may_go_faster_together() -> None:
    pace = Pace(rate=10, burst=100, now=0.0)
    assert pace.take(100, now=0.0, scale=4) == 0
    assert pace.take(40, now=1.0, scale=4) == 0
    assert pace.take(20, now=1.0, scale=4) == 0.5
