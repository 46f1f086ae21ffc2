from typing import Any

import pytest

from tests.realtime.desk import Desk, only, types, user_text
from voicegate.realtime.agent_event import InputTranscribed, ItemAdded
from voicegate.realtime.notice import SpeechBegan, SpeechEnded, TurnOver
from voicegate.realtime.user_turn import MAX_WORDS

WANTED = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"


def turn(desk: Desk, start_ms: int = 1000, end_ms: int = 2500) -> str:
    """A turn of the user; returns its item."""
    events = desk.note(SpeechBegan(start_ms)) + desk.note(TurnOver(end_ms))
    return str(only(events, "input_audio_buffer.committed")["item_id"])


def said(text: str, **more: Any) -> InputTranscribed:
    return InputTranscribed(text=text, **more)


def test_pauses_within_a_turn_are_not_told() -> None:
    desk = Desk(session={"audio": {"input": {"turn_detection": {"create_response": False}}}})
    desk.note(SpeechBegan(1000), SpeechEnded(1300), SpeechBegan(1700), SpeechEnded(2500), TurnOver(2500))
    events = desk.take_all()
    assert (
        types(events)
        == [
            "session.created",
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
        ][1:]
    )
    assert (events[0]["audio_start_ms"], events[1]["audio_end_ms"]) == (700, 2500)


def test_a_turn_begins_after_the_one_before() -> None:
    desk = Desk()
    turn(desk, 1000, 2500)
    event = only(desk.note(SpeechBegan(2600)), "input_audio_buffer.speech_started")
    assert event["audio_start_ms"] == 2500


def test_a_turn_that_was_cleared_never_was() -> None:
    desk = Desk()
    desk.note(SpeechBegan(1000))
    desk.send("input_audio_buffer.clear")
    assert types(desk.note(SpeechBegan(1500))) == ["input_audio_buffer.speech_started"]


def test_words_of_a_turn_come_once_it_is_an_item() -> None:
    desk = Desk(session=WANTED)
    item_id = turn(desk)
    assert only(desk.report(said("He", is_final=False)), DELTA)["delta"] == "He"
    completed = only(desk.report(said("Hello")), COMPLETED)
    assert (completed["item_id"], completed["transcript"]) == (item_id, "Hello")
    assert completed["usage"] == {"type": "duration", "seconds": 1.8}
    assert desk.item(item_id)["content"] == [{"type": "input_audio", "transcript": "Hello"}]


def test_words_that_are_there_before_the_turn_is_over_wait_for_it() -> None:
    desk = Desk(session=WANTED)
    desk.note(SpeechBegan(1000))
    assert types(desk.report(said("He", is_final=False))) == [DELTA]
    assert desk.report(said("Hello")) == []
    kinds = types(desk.note(TurnOver(2000)))
    assert kinds.index("conversation.item.done") < kinds.index(COMPLETED) < kinds.index("response.created")


def test_words_of_an_earlier_turn_are_for_its_item() -> None:
    desk = Desk(session=WANTED)
    first, second = turn(desk), turn(desk, 3000, 4000)
    desk.note(SpeechBegan(5000))
    completed = only(desk.report(said("First", item_id=first)), COMPLETED)
    assert (completed["item_id"], completed["usage"]["seconds"]) == (first, 0.0)
    assert desk.item(second)["content"][0]["transcript"] is None


def test_the_client_gets_words_only_if_it_wants_them() -> None:
    desk = Desk()
    item_id = turn(desk)
    assert desk.report(said("x", is_final=False), said("Hello")) == []
    assert desk.item(item_id)["content"][0]["transcript"] == "Hello"


@pytest.mark.parametrize("item_id", [None, "nowhere", "text", "system"])
def test_words_of_nothing_that_was_said_are_dropped(item_id: str | None) -> None:
    desk = Desk(session=WANTED)
    desk.send("conversation.item.create", item=user_text("x", id="text"))
    desk.send("conversation.item.create", item={"type": "function_call_output", "call_id": "c", "output": ""})
    before = desk.item("text")
    assert desk.report(said("x", item_id=item_id), said("x", item_id=item_id, is_final=False)) == []
    assert desk.item("text") == before


def test_words_are_bounded() -> None:
    desk = Desk(session=WANTED)
    turn(desk)
    assert len(only(desk.report(said("x" * (MAX_WORDS + 1))), COMPLETED)["transcript"]) == MAX_WORDS


def test_words_of_an_item_that_was_deleted_are_dropped() -> None:
    desk = Desk(session=WANTED)
    item_id = turn(desk)
    desk.send("conversation.item.delete", item_id=item_id)
    assert desk.report(said("Hello")) == []


def test_what_the_agent_was_told_does_not_change_under_its_hands() -> None:
    desk = Desk()
    turn(desk)
    (added,) = [notice for notice in desk.told() if isinstance(notice, ItemAdded)]
    desk.report(said("Hello"))
    assert added.item["content"][0]["transcript"] is None
