import pytest

from voicegate.dtls.timer import RetransmissionTimer


def waits(timer: RetransmissionTimer, count: int) -> list[float]:
    timer.arm(0.0)
    now, result = 0.0, []
    for _ in range(count):
        assert timer.deadline is not None
        result.append(round(timer.deadline - now, 6))
        now = timer.deadline
        timer.back_off(now)
    return result


def test_without_an_estimate_waits_double_from_100_ms_to_a_second() -> None:
    assert waits(RetransmissionTimer(), 6) == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


@pytest.mark.parametrize(
    ("round_trip", "expected"),
    [(0.001, [0.05, 0.1, 0.2]), (0.2, [0.4, 0.8, 1.0]), (0.8, [1.6, 1.6]), (60.0, [3.0, 3.0])],
)
def test_the_first_wait_is_two_round_trips_within_limits(round_trip: float, expected: list[float]) -> None:
    timer = RetransmissionTimer()
    timer.set_round_trip(round_trip)
    assert waits(timer, len(expected)) == expected


def test_a_new_flight_starts_anew() -> None:
    timer = RetransmissionTimer()
    waits(timer, 5)
    assert waits(timer, 1) == [0.1]


def test_a_stopped_timer_wants_nothing() -> None:
    timer = RetransmissionTimer()
    assert timer.deadline is None
    timer.arm(5.0)
    timer.stop()
    assert timer.deadline is None
