"""When the user is recognised, and when an answer is prepared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.agents.cascade.turn import (
    MAX_UNKNOWN,
    Action,
    Forget,
    Guess,
    Recognise,
    ShowPartial,
    StopRecognising,
    TranscriptFailed,
    TranscriptKnown,
    Turns,
    same_words,
)


def actions(turns: Turns) -> list[Action]:
    found = []
    while (action := turns.poll_action()) is not None:
        found.append(action)
    return found


def paused() -> Turns:
    """The user has said something, and pauses."""
    turns = Turns(can_guess=True)
    turns.handle_speech_started(1000, now=0)
    turns.handle_speech_stopped(2000)
    assert actions(turns) == [Recognise(1, 1000, None)]
    return turns


def test_a_guess_at_the_pause_becomes_the_transcript() -> None:
    turns = paused()
    turns.handle_words(1, "what time ", is_final=False)
    turns.handle_words(1, "what time is it", is_final=True)
    assert actions(turns) == [
        ShowPartial("what time"),
        ShowPartial(" is it"),
        Guess("what time is it"),
    ]
    turns.handle_committed("item", 1000, 2000)
    assert actions(turns) == [TranscriptKnown("item", "what time is it")]
    assert turns.is_settled


def test_a_turn_may_be_over_before_its_guess_is_known() -> None:
    turns = paused()
    turns.handle_committed("item", 1000, 2000)
    assert actions(turns) == []
    assert not turns.is_settled
    turns.handle_words(1, "hello", is_final=True)
    assert actions(turns) == [TranscriptKnown("item", "hello")]
    assert turns.is_settled


def test_words_that_end_a_sentence_are_answered_before_the_recogniser_is_done() -> None:
    turns = paused()
    turns.handle_words(1, "Hello.", is_final=False)
    assert Guess("Hello.") in actions(turns)


def test_a_guess_is_void_when_the_user_goes_on() -> None:
    turns = paused()
    turns.handle_speech_started(2300, now=1)
    assert actions(turns) == [StopRecognising(1), Forget()]
    turns.handle_words(1, "too late", is_final=True)
    turns.handle_speech_stopped(3000)
    assert actions(turns) == [Recognise(2, 1000, None)], "all of the turn, from its beginning"


def test_without_guesses_a_turn_is_recognised_when_it_is_over() -> None:
    turns = Turns(can_guess=False)
    turns.handle_speech_started(1000, now=0)
    turns.handle_speech_stopped(2000)
    assert actions(turns) == []
    turns.handle_committed("item", 900, 2100)
    assert actions(turns) == [Recognise(1, 900, 2100)]


def test_a_client_may_commit_while_the_user_speaks() -> None:
    turns = paused()
    turns.handle_words(1, "one", is_final=True)
    turns.handle_speech_started(2300, now=1)
    actions(turns)
    turns.handle_committed("item", 1000, 2600)
    assert actions(turns) == [Recognise(2, 1000, 2600)]


def test_while_the_user_talks_on_it_is_recognised_now_and_then_one_at_a_time() -> None:
    turns = Turns(can_guess=True, partial_seconds=1.0)
    turns.handle_speech_started(0, now=10.0)
    assert turns.poll_timeout() == 11.0
    turns.handle_timeout(now=10.5)
    assert actions(turns) == []
    turns.handle_timeout(now=11.0)
    assert actions(turns) == [Recognise(1, 0, None)]
    turns.handle_timeout(now=12.0)
    assert actions(turns) == [], "the recogniser is still at it"
    turns.handle_words(1, "once upon", is_final=True)
    turns.handle_timeout(now=13.0)
    turns.handle_words(2, "once upon a time", is_final=True)
    assert actions(turns) == [
        ShowPartial("once upon"),
        Guess("once upon"),
        Recognise(2, 0, None),
        ShowPartial(" a time"),
        Guess("once upon a time"),
    ]
    turns.handle_speech_stopped(4000)
    assert turns.poll_timeout() is None
    assert actions(turns) == [Forget(), Recognise(3, 0, None)]


def test_a_failed_guess_is_tried_again_and_a_failed_turn_is_told() -> None:
    turns = paused()
    turns.handle_failure(1, "no reason")
    assert actions(turns) == []
    turns.handle_committed("item", 1000, 2000)
    assert actions(turns) == [Recognise(2, 1000, 2000)]
    turns.handle_failure(2, "out of order")
    turns.handle_failure(2, "out of order")
    assert actions(turns) == [TranscriptFailed("item", "out of order")]
    assert turns.is_settled


def test_a_recogniser_that_is_too_far_behind_loses_the_oldest_turn() -> None:
    turns = Turns(can_guess=False)
    for number in range(MAX_UNKNOWN + 1):
        turns.handle_committed(f"item {number}", 0, 100)
    assert TranscriptFailed("item 0", "the recogniser is too far behind") in actions(turns)


@given(st.lists(st.sampled_from(["start", "stop", "commit", "words", "final", "fail", "tick"]), max_size=40))
def test_each_committed_turn_gets_its_words_or_a_reason_once(script: list[str]) -> None:
    turns = Turns(can_guess=True, partial_seconds=1.0)
    asked: list[int] = []
    stopped: set[int] = set()
    told: list[str] = []
    committed: list[str] = []

    def follow() -> None:
        for action in actions(turns):
            match action:
                case Recognise(number=number):
                    asked.append(number)
                case StopRecognising(number=number):
                    stopped.add(number)
                case TranscriptKnown(item_id=item_id) | TranscriptFailed(item_id=item_id):
                    told.append(item_id)
                case _:
                    pass

    for now, step in enumerate(script):
        match step:
            case "start":
                turns.handle_speech_started(now, now=now)
            case "stop":
                turns.handle_speech_stopped(now)
            case "commit":
                committed.append(f"item {now}")
                turns.handle_committed(committed[-1], 0, now)
            case "words" | "final":
                turns.handle_words(asked[-1] if asked else 1, "so it is", is_final=step == "final")
            case "fail":
                turns.handle_failure(asked[-1] if asked else 1, "broken")
            case _:
                turns.handle_timeout(now=now)
        follow()
    for number in asked:
        turns.handle_words(number, "done", is_final=True)
    follow()
    assert sorted(told) == sorted(committed)
    assert turns.is_settled


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [("What time is it?", "what time is it", True), ("it's", "its", True), ("no", "now", False)],
)
def test_words_are_the_same_when_they_sound_the_same(one: str, other: str, is_same: bool) -> None:
    assert same_words(one, other) is is_same
