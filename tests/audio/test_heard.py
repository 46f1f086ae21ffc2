import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicegate.audio.heard import KEPT_PACKETS, HeardSpeech
from voicegate.audio.playout import Speech

FRAME = 160


def send(heard: HeardSpeech, speech: Speech, count: int, *, first: int = 0, at: float = 0.0) -> float:
    """Send packets of 20 ms; return when the one after them would leave."""
    for number in range(count):
        speech.played_samples += FRAME
        heard.note_sent((first + number) & 0xFFFF, speech, now=at + 0.02 * number)
    return at + 0.02 * count


def test_without_reports_what_has_left_is_heard() -> None:
    heard, speech = HeardSpeech(), Speech("a")
    assert heard.samples(speech, now=0.0) == 0
    end = send(heard, speech, 10)
    assert heard.samples(speech, now=end) == 10 * FRAME


def test_it_takes_half_a_round_trip() -> None:
    heard, speech = HeardSpeech(), Speech("a")
    end = send(heard, speech, 50)
    heard.handle_report(highest_sequence=35, round_trip=0.2, now=end)
    assert heard.samples(speech, now=end - 0.01) == 45 * FRAME
    assert heard.samples(speech, now=end + 0.1) == 50 * FRAME


def test_what_a_client_has_not_received_long_after_it_was_sent_is_not_heard() -> None:
    heard, speech = HeardSpeech(), Speech("a")
    end = send(heard, speech, 50)
    heard.handle_report(highest_sequence=19, round_trip=0.2, now=end)
    assert heard.samples(speech, now=end + 5) == 20 * FRAME
    send(heard, speech, 50, first=50, at=end)
    assert heard.samples(speech, now=end + 1) == 20 * FRAME
    heard.handle_report(highest_sequence=99, round_trip=0.2, now=end + 2)
    assert heard.samples(speech, now=end + 2) == 100 * FRAME


def test_a_report_before_the_first_packet_arrived_says_that_nothing_was_heard() -> None:
    heard, speech = HeardSpeech(), Speech("a")
    end = send(heard, speech, 50, first=1000)
    heard.handle_report(highest_sequence=999, round_trip=0.1, now=end)
    assert heard.samples(speech, now=end) == 0


def test_a_report_without_a_round_trip_is_not_taken_for_a_loss_too_early() -> None:
    heard, speech = HeardSpeech(), Speech("a")
    end = send(heard, speech, 50)
    heard.handle_report(highest_sequence=20, round_trip=None, now=end)
    assert heard.samples(speech, now=end) == 50 * FRAME
    heard.handle_report(highest_sequence=20, round_trip=None, now=end + 1)
    assert heard.samples(speech, now=end + 1) == 21 * FRAME


def test_each_speech_has_a_position_of_its_own() -> None:
    heard, first, second = HeardSpeech(), Speech("a"), Speech("b")
    end = send(heard, first, 10)
    end = send(heard, second, 5, first=10, at=end)
    assert heard.samples(second, now=end) == 5 * FRAME
    assert heard.samples(Speech("c"), now=end) == 0


@pytest.mark.slow
@given(
    first=st.integers(0, 0xFFFF),
    trip=st.floats(0.0, 0.6),
    lost_after=st.integers(0, 400),
    report_every=st.integers(5, 100),
    silent=st.sets(st.integers(0, 400)),
)
@settings(max_examples=60)
def test_nothing_is_heard_that_was_not_received_when_the_last_report_was_made(
    first: int, trip: float, lost_after: int, report_every: int, silent: set[int]
) -> None:
    """The client's line dies; its reports go on. Between two reports, only the round trip can be known."""
    heard, speech = HeardSpeech(), Speech(None)
    heard.set_round_trip(trip)
    received: list[tuple[float, int, int]] = []
    for number in range(400):
        now = 0.02 * number
        if number not in silent:
            speech.played_samples += FRAME
            heard.note_sent((first + number) & 0xFFFF, speech, now=now)
        if number < lost_after:
            received.append((now + trip / 2, (first + number) & 0xFFFF, speech.played_samples))
        if number % report_every == 0:
            there = [entry for entry in received if entry[0] <= now - trip / 2]
            if there:
                heard.handle_report(highest_sequence=there[-1][1], round_trip=trip, now=now)
        by_now = [samples for at, _, samples in received if at <= now + 1e-9]
        bound = by_now[-1] if by_now else 0
        if number < lost_after:
            assert heard.samples(speech, now=now) <= bound + FRAME
        elif number > lost_after + report_every + (trip + 0.2) / 0.02 and lost_after:
            assert heard.samples(speech, now=now) <= bound


def test_memory_is_bounded() -> None:
    heard, speech = HeardSpeech(), Speech("a")
    send(heard, speech, 10 * KEPT_PACKETS)
    assert len(heard._sent) == KEPT_PACKETS
