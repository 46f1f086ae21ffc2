"""What a session is told of the agent's speech."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.line import Line
from voicegate.realtime.notice import OutputBegan, OutputDrained, OutputInterrupted

FRAME = bytes(320)
"""20 ms."""


def watched() -> Line:
    line = Line("PCMU")
    line.control.follow_output()
    return line


def notices(line: Line) -> list[object]:
    found: list[object] = []
    while (notice := line.control.poll_notice()) is not None:
        found.append(notice)
    return found


def test_a_speech_begins_with_its_first_packet_and_is_over_when_the_queue_stays_empty() -> None:
    line = watched()
    line.downlink.push_pcm(FRAME * 3, response_id="a")
    assert notices(line) == []
    line.play(1)
    assert notices(line) == [OutputBegan("a")]
    line.play(11)
    assert notices(line) == []
    line.play(1)
    assert notices(line) == [OutputDrained("a", 60)]
    line.play(20)
    assert notices(line) == []


def test_speech_that_goes_on_soon_has_never_ended() -> None:
    line = watched()
    for _ in range(4):
        line.downlink.push_pcm(FRAME)
        line.play(3)
    assert notices(line) == [OutputBegan(None)]
    line.play(10)
    assert notices(line) == [OutputDrained(None, 80)]


def test_one_response_ends_where_the_next_begins() -> None:
    line = watched()
    line.downlink.push_pcm(FRAME * 2, response_id="a")
    line.downlink.push_pcm(FRAME, response_id="b")
    line.play(13)
    assert notices(line) == [
        OutputBegan("a"),
        OutputDrained("a", 40),
        OutputBegan("b"),
        OutputDrained("b", 20),
    ]


def test_what_is_paused_is_not_over() -> None:
    line = watched()
    line.downlink.push_pcm(FRAME * 5, response_id="a")
    line.play(1)
    line.downlink.pause()
    line.play(50)
    assert notices(line) == [OutputBegan("a")]


def test_an_interruption_tells_what_was_heard_and_what_was_not() -> None:
    line = watched()
    line.downlink.push_pcm(FRAME * 5, response_id="a")
    line.play(2)
    line.control.clear()
    line.play(50)
    assert notices(line) == [OutputBegan("a"), OutputInterrupted("a", 40, 60)]


def test_unnamed_speech_is_counted_from_where_it_began() -> None:
    line = watched()
    for _ in range(3):
        line.downlink.push_pcm(FRAME)
        line.play(2)
    line.downlink.push_pcm(FRAME * 3)
    line.play(1)
    line.control.clear()
    assert notices(line) == [OutputBegan(None), OutputInterrupted(None, 80, 40)]


def test_what_is_dropped_before_it_was_heard_is_told() -> None:
    line = watched()
    line.downlink.push_pcm(FRAME * 3, response_id="a")
    line.control.clear()
    assert notices(line) == [OutputInterrupted("a", 0, 60)]
    line.control.clear()
    assert notices(line) == []


def test_who_has_been_heard_to_the_end_was_not_interrupted() -> None:
    line = watched()
    line.downlink.push_pcm(FRAME, response_id="a")
    line.play(2)
    line.control.clear()
    assert notices(line) == [OutputBegan("a"), OutputDrained("a", 20)]


def test_a_cancelled_response_is_an_interrupted_one_if_it_is_being_heard() -> None:
    line = watched()
    line.downlink.push_pcm(FRAME * 2, response_id="a")
    line.downlink.push_pcm(FRAME * 2, response_id="b")
    line.play(1)
    line.control.cancel_response("b")
    line.control.cancel_response("a")
    assert notices(line) == [OutputBegan("a"), OutputInterrupted("a", 20, 20)]


def test_of_a_refused_response_what_is_queued_is_played() -> None:
    line = watched()
    line.downlink.push_pcm(FRAME * 2, response_id="a")
    line.control.refuse_response("a")
    line.downlink.push_pcm(FRAME * 2, response_id="a")
    line.play(20)
    assert notices(line) == [OutputBegan("a"), OutputDrained("a", 40)]
    assert line.downlink.statistics().discarded_ms == 40


def test_another_rate_is_counted_in_another_way() -> None:
    line = watched()
    line.control.use_rate(16000)
    line.downlink.push_pcm(FRAME * 4, response_id="a")
    line.play(20)
    assert notices(line) == [OutputBegan("a"), OutputDrained("a", 40)]


_STEPS = st.one_of(
    st.tuples(st.just("push"), st.sampled_from([None, "a", "b", "c"])),
    st.tuples(st.just("play"), st.integers(1, 15)),
    st.sampled_from([("clear", None), ("pause", None), ("resume", None), ("cancel", "a"), ("cancel", "b")]),
)


@pytest.mark.slow
@settings(max_examples=60)
@given(st.lists(_STEPS, max_size=30))
def test_whatever_happens_each_speech_that_begins_ends_once_before_the_next(
    steps: list[tuple[str, object]],
) -> None:
    line = watched()
    for step, what in steps:
        match step, what:
            case "push", None | str():
                line.control.push_pcm(FRAME * 3, response_id=what)
            case "play", int():
                line.play(what)
            case "clear", _:
                line.control.clear()
            case "pause", _:
                line.control.pause()
            case "resume", _:
                line.control.resume()
            case _:
                line.control.cancel_response(str(what))
    line.control.resume()
    line.play(150)
    heard: OutputBegan | None = None
    for notice in notices(line):
        match notice:
            case OutputBegan():
                assert heard is None
                heard = notice
            case OutputDrained(response_id=response_id):
                assert heard == OutputBegan(response_id)
                heard = None
            case OutputInterrupted(response_id=response_id, dropped_ms=dropped_ms):
                assert heard in {None, OutputBegan(response_id)}, "what was not begun is dropped whole"
                assert dropped_ms > 0
                heard = None
            case _:
                raise AssertionError(notice)
    assert heard is None
