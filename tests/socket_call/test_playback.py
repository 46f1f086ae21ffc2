"""What a client must be playing, by the clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.call import Interruption, MarkPlayed, ResponseEnded
from voicegate.errors import UsageError
from voicegate.realtime.notice import OutputBegan, OutputDrained
from voicegate.socket_call.playback import CAPACITY_ITEMS, Piece, Playback, PlaybackEvent

RATE = 1000
SECOND = bytes(2 * RATE)


def playback() -> Playback:
    return Playback(sample_rate=RATE)


def send_all(sound: Playback, *, now: float) -> list[object]:
    sent: list[object] = []
    while (item := sound.next_item(now=now)) is not None:
        sent.append(item)
    return sent


def events(sound: Playback) -> list[PlaybackEvent]:
    polled = []
    while (event := sound.poll_event()) is not None:
        polled.append(event)
    return polled


def test_all_is_sent_at_once_and_played_in_time() -> None:
    sound = playback()
    sound.push(SECOND, response_id="a")
    assert send_all(sound, now=10.0) == [Piece("a", bytes(400))] * 5
    assert events(sound) == [OutputBegan("a")]
    assert sound.output_state(now=10.25) == (750, 250, "a", False)
    assert sound.poll_timeout() == pytest.approx(11.5), "what goes on within half a second has not ended"
    sound.handle_timeout(now=11.5)
    assert events(sound) == [OutputDrained("a", 1000)]
    assert sound.poll_timeout() is None
    assert sound.output_state(now=12.0) == (0, 1000, "a", False)


def test_live_sound_in_small_pieces_is_one_speech() -> None:
    sound = playback()
    for number in range(100):
        sound.push(bytes(40), response_id=None)
        send_all(sound, now=10 + number * 0.025)
        sound.handle_timeout(now=10 + number * 0.025)
    assert events(sound) == [OutputBegan(None)]
    sound.handle_timeout(now=20.0)
    assert events(sound) == [OutputDrained(None, 2000)]


def test_marks_come_when_what_is_before_them_has_been_played() -> None:
    sound = playback()
    sound.mark("at once")
    sound.push(SECOND, response_id="a")
    sound.mark("after one")
    sound.push(SECOND, response_id="b")
    sound.mark("after two")
    send_all(sound, now=10.0)
    sound.handle_timeout(now=10.0)
    assert MarkPlayed("at once", 0) in events(sound)
    assert sound.poll_timeout() == pytest.approx(11.0)
    sound.handle_timeout(now=11.0)
    assert events(sound) == [MarkPlayed("after one", 1000)]
    sound.handle_timeout(now=12.0)
    assert events(sound) == [MarkPlayed("after two", 1000)]


def test_an_interruption_drops_what_waits_and_what_is_played_and_cancels_both() -> None:
    sound = playback()
    sound.push(SECOND, response_id="a")
    sound.push(SECOND, response_id="b")
    assert sound.next_item(now=10.0) == Piece("a", bytes(400))
    assert sound.clear(now=10.1) == Interruption(100, 1900)
    assert sound.output_state(now=10.2) == (0, 100, "a", False)
    for response_id in ("a", "b"):
        sound.push(SECOND, response_id=response_id)
    assert sound.discarded_samples == 2 * RATE
    sound.push(SECOND, response_id="c")
    assert len(send_all(sound, now=11.0)) == 5


def test_reports_keep_their_place_and_survive_an_interruption() -> None:
    sound = playback()
    ended = ResponseEnded(response_id="a", status="completed")
    sound.push(bytes(400), response_id="a")
    sound.add_report(ended)
    assert send_all(sound, now=10.0) == [Piece("a", bytes(400)), ended]
    sound.push(bytes(400), response_id="b")
    sound.add_report(ended)
    sound.clear(now=10.0)
    assert send_all(sound, now=10.0) == [ended]


def test_a_cancelled_response_is_not_sent_any_more_and_others_are() -> None:
    sound = playback()
    sound.push(SECOND, response_id="a")
    sound.push(bytes(400), response_id="b")
    sound.next_item(now=10.0)
    sound.cancel_response("a")
    assert send_all(sound, now=10.0) == [Piece("b", bytes(400))]
    assert sound.output_state(now=10.1) == (300, 100, "a", False), "the client plays on what it has"


def test_pause_holds_back_and_resume_goes_on() -> None:
    sound = playback()
    sound.push(bytes(400), response_id="a")
    sound.pause()
    assert sound.next_item(now=10.0) is None
    assert sound.silent_at is None
    assert sound.output_state(now=10.0).is_paused
    sound.resume()
    assert send_all(sound, now=10.0) == [Piece("a", bytes(400))]


def test_more_than_a_minute_drops_the_oldest_but_no_report() -> None:
    sound = playback()
    ended = ResponseEnded(response_id="a", status="completed")
    sound.add_report(ended)
    for _ in range(61):
        sound.push(SECOND, response_id="a")
    assert sound.dropped_samples == RATE
    assert sound.next_item(now=1.0) == ended
    assert not sound.is_overrun
    for _ in range(CAPACITY_ITEMS):
        sound.add_report(ended)
    assert sound.is_overrun


def test_half_a_sample_and_a_late_change_of_rate_are_refused() -> None:
    sound = playback()
    with pytest.raises(UsageError):
        sound.push(b"\0", response_id=None)
    sound.use_rate(2000)
    sound.push(b"\0\0", response_id=None)
    with pytest.raises(UsageError):
        sound.use_rate(RATE)


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from("psckhm"), st.integers(0, 3)), max_size=40))
def test_every_sample_is_accounted_for_once(script: list[tuple[str, int]]) -> None:
    sound, now, pushed, sent, cleared = playback(), 100.0, 0, 0, 0
    for what, number in script:
        if what == "p":
            sound.push(bytes(2 * 300 * number), response_id="abc"[number - 1] if number else None)
            pushed += 300 * number
        elif what == "s":
            item = sound.next_item(now=now)
            sent += len(item.pcm) // 2 if isinstance(item, Piece) else 0
        elif what == "c":
            before = sound.output_state(now=now)
            interruption = sound.clear(now=now)
            assert interruption.dropped_ms == before.queued_ms
        elif what == "k":
            sound.cancel_response("abc"[number - 1])
        elif what == "h":
            now += number * 0.1
            sound.handle_timeout(now=now)
        else:
            sound.mark("m")
        state = sound.output_state(now=now)
        assert state.queued_ms >= 0
        assert state.heard_ms >= 0
    cleared = (
        pushed
        - sent
        - sound.discarded_samples
        - sum(len(item.pcm) // 2 for item in send_all(sound, now=now) if isinstance(item, Piece))
    )
    assert cleared >= 0
    sound.handle_timeout(now=now + 100)
    assert sound.poll_timeout() is None
    assert sound.output_state(now=now + 100).queued_ms == 0
