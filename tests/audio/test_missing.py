import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.audio.missing import MAX_ASKS, MAX_MISSING, MissingPackets


def ask(
    missing: MissingPackets, now: float, *, round_trip: float = 0.05, patience: float = 0.2
) -> tuple[int, ...]:
    return missing.ask(now=now, round_trip=round_trip, patience=patience)


def test_what_is_missing_is_asked_for_at_once_and_again_after_a_round_trip() -> None:
    missing = MissingPackets()
    missing.update([7, 9], now=1.0)
    assert missing.poll_timeout() == 1.0
    assert ask(missing, 1.0) == (7, 9)
    assert ask(missing, 1.04) == ()
    assert missing.poll_timeout() == pytest.approx(1.05)
    missing.update([7], now=1.05)
    assert ask(missing, 1.05) == (7,)


def test_requests_for_a_packet_are_few_even_when_the_round_trip_is_short() -> None:
    missing = MissingPackets()
    missing.update([7], now=1.0)
    times = [round(1 + n / 1000, 3) for n in range(200) if ask(missing, 1 + n / 1000, round_trip=0.001)]
    assert times == [1.0, 1.02, 1.04]
    assert len(times) == MAX_ASKS
    assert missing.poll_timeout() is None


def test_what_cannot_come_in_time_is_not_asked_for() -> None:
    missing = MissingPackets()
    missing.update([7], now=1.0)
    assert ask(missing, 1.0, round_trip=0.21) == ()
    assert missing.poll_timeout() is None
    missing.update([7, 8], now=1.01)
    assert ask(missing, 1.01, round_trip=0.15) == (8,)
    assert ask(missing, 1.16, round_trip=0.15) == ()


def test_an_answer_is_known_even_when_it_comes_too_late() -> None:
    missing = MissingPackets()
    missing.update([7, 8], now=1.0)
    ask(missing, 1.0)
    missing.update([], now=1.1)
    assert len(missing) == 0
    assert missing.was_asked_for(7)
    assert not missing.was_asked_for(9)
    missing.clear()
    assert not missing.was_asked_for(7)


@pytest.mark.slow
@given(st.lists(st.lists(st.integers(0, 0xFFFF), unique=True, max_size=60), max_size=8))
def test_however_much_is_missing_little_is_kept(losses: list[list[int]]) -> None:
    missing = MissingPackets()
    for now, numbers in enumerate(losses):
        missing.update(numbers, now=now)
        assert len(missing) <= MAX_MISSING
        assert set(ask(missing, now)) <= set(numbers[-MAX_MISSING:])
