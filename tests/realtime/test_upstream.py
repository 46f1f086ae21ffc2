"""Raw agents: a model behind the call that speaks the API itself."""

import base64
import json
from typing import Any

import pytest

from tests.realtime.desk import Desk, Event, text_of, types, user_text
from voicegate.realtime.action import ClearOutput, InputAppended, StopDetecting
from voicegate.realtime.agent_event import (
    ClientEvent,
    ConversationTaken,
    InputTranscribed,
    ResponseBegan,
    ServerEvent,
    SessionUpdated,
)
from voicegate.realtime.notice import OutputBegan, OutputDrained, OutputInterrupted, SpeechBegan, TurnOver
from voicegate.realtime.upstream import MAX_PLACES

PLACE = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}


def serve(desk: Desk, event_type: str, **fields: Any) -> list[Event]:
    """An event of the model."""
    return desk.report(ServerEvent(event={"type": event_type, **fields}))


def forwarded(desk: Desk) -> list[Any]:
    return [notice.event for notice in desk.told() if isinstance(notice, ClientEvent)]


def test_the_model_hears_the_users_turns_itself() -> None:
    desk = Desk(taken=False)
    desk.report(ConversationTaken(is_raw=True))
    assert desk.done() == [StopDetecting()]
    assert [notice.type for notice in desk.told()] == ["session.updated"]
    assert desk.note(SpeechBegan(100), TurnOver(900)) == []


def test_a_model_that_takes_over_is_told_what_was_said() -> None:
    desk = Desk(taken=False)
    desk.send("conversation.item.create", item=user_text("Hello", id="mine"))
    desk.send("response.create", event_id="first")
    desk.take_all()
    desk.report(ConversationTaken(is_raw=True))
    assert isinstance(desk.told()[0], SessionUpdated)
    item, request = forwarded(desk)
    assert (item["type"], item["item"]["id"]) == ("conversation.item.create", "mine")
    assert request == {"type": "response.create", "event_id": "first"}


@pytest.mark.parametrize(
    "event",
    [
        {"type": "session.update", "session": {"instructions": "x"}},
        {"type": "conversation.item.create", "item": {"type": "something new"}},
        {"type": "conversation.item.retrieve", "item_id": "item_1"},
        {"type": "input_audio_buffer.commit"},
        {"type": "response.create", "event_id": "mine"},
        {"type": "response.cancel"},
        {"type": "something.new"},
    ],
)
def test_events_of_the_client_go_on_as_they_are(event: Event) -> None:
    desk = Desk(is_raw=True)
    assert desk.say(json.dumps(event)) == []
    assert forwarded(desk) == [event]


def test_an_event_without_a_type_goes_nowhere() -> None:
    desk = Desk(is_raw=True)
    assert text_of(desk.say("{}")[0]) == "missing_required_parameter type"
    assert forwarded(desk) == []


def test_audio_is_never_the_models_business() -> None:
    desk = Desk("websocket", is_raw=True)
    desk.send("input_audio_buffer.append", audio=base64.b64encode(bytes(480)).decode())
    assert desk.done() == [InputAppended(bytes(480), 24000)]
    desk = Desk(is_raw=True)
    desk.send("output_audio_buffer.clear")
    assert desk.done() == [ClearOutput()]
    assert forwarded(desk) == []


def test_events_of_the_model_go_on_with_their_own_names_and_ids() -> None:
    desk = Desk(is_raw=True)
    assert serve(desk, "something.new", event_id="theirs", x=1) == [
        {"type": "something.new", "event_id": "theirs", "x": 1}
    ]
    (event,) = serve(desk, "rate_limits.updated", rate_limits=[])
    assert isinstance(event["event_id"], str)


@pytest.mark.parametrize(
    ("beta", "today"),
    [
        ("response.text.delta", "response.output_text.delta"),
        ("response.text.done", "response.output_text.done"),
        ("response.audio.done", "response.output_audio.done"),
        ("response.audio_transcript.delta", "response.output_audio_transcript.delta"),
        ("response.audio_transcript.done", "response.output_audio_transcript.done"),
    ],
)
def test_names_of_the_beta_are_made_todays(beta: str, today: str) -> None:
    desk = Desk(is_raw=True)
    assert types(serve(desk, beta, **PLACE)) == [today]
    assert types(serve(desk, today, **PLACE)) == [today]


def test_items_of_the_beta_are_added_and_done() -> None:
    desk = Desk(is_raw=True)
    assistant = {
        "id": "a",
        "type": "message",
        "role": "assistant",
        "status": "in_progress",
        "content": [{"type": "audio"}],
    }
    (added,) = serve(desk, "conversation.item.created", item=assistant, event_id="1")
    assert added["type"] == "conversation.item.added"
    assert added["item"]["content"] == [{"type": "output_audio"}]
    user = {**user_text("x"), "status": "completed"}
    events = serve(desk, "conversation.item.created", item=user, event_id="2", previous_item_id="a")
    assert types(events) == ["conversation.item.added", "conversation.item.done"]
    assert events[0]["event_id"] != events[1]["event_id"]
    (done,) = serve(desk, "response.done", response={"output": [{**assistant, "status": "completed"}, 3]})
    assert done["response"]["output"][0]["content"] == [{"type": "output_audio"}]


@pytest.mark.parametrize("item", [None, 3, {"content": [3, {"type": 4}], "role": "assistant"}])
def test_items_that_are_none_go_on(item: Any) -> None:
    assert len(serve(Desk(is_raw=True), "conversation.item.added", item=item, event_id="1")) == 1


def test_the_session_is_ours_with_what_the_model_says_of_it() -> None:
    desk = Desk(is_raw=True)
    assert serve(desk, "session.created", session={"id": "theirs", "instructions": "I sing."}) == []
    desk.core.attach("late")
    (greeting,) = desk.look()
    assert (greeting["session"]["id"], greeting["session"]["instructions"]) == ("sess_1", "I sing.")
    (event,) = serve(desk, "session.updated", session={"voice": "ash", "expires_at": 1})
    assert event["session"]["audio"]["output"]["voice"] == "ash"
    assert event["session"]["expires_at"] == 5000


@pytest.mark.parametrize("session", [None, 3, {"type": "transcription"}, {"input_audio_format": "mp3"}])
def test_a_session_of_the_models_that_is_none_changes_nothing(session: Any) -> None:
    desk = Desk(is_raw=True)
    before = desk.core.describe()
    assert types(serve(desk, "session.updated", session=session)) == ["session.updated"]
    assert desk.core.describe() == before


def test_what_becomes_of_the_audio_is_told_by_us_alone() -> None:
    desk = Desk(is_raw=True)
    assert serve(desk, "output_audio_buffer.started", response_id="resp_1") == []
    assert serve(desk, "response.output_audio.delta", **PLACE, delta="AAAA") == []
    assert types(desk.note(OutputBegan("resp_1"), OutputBegan("resp_1"))) == ["output_audio_buffer.started"]
    assert types(desk.note(OutputDrained("resp_1", 20))) == ["output_audio_buffer.stopped"]
    assert desk.note(OutputBegan(None), OutputDrained(None, 3)) == []


@pytest.mark.parametrize(("heard_ms", "truncated_ms"), [(420, 420), (0, 1)])
def test_the_model_is_told_how_much_of_it_was_heard(heard_ms: int, truncated_ms: int) -> None:
    desk = Desk(is_raw=True)
    serve(desk, "response.content_part.added", **{**PLACE, "output_index": 1}, part={"type": "audio"})
    desk.note(OutputBegan("resp_1"))
    serve(desk, "input_audio_buffer.speech_started", item_id="item_2", audio_start_ms=100)
    assert desk.done() == [StopDetecting(), ClearOutput()][1:]
    assert types(desk.note(OutputInterrupted("resp_1", heard_ms, 300))) == ["output_audio_buffer.cleared"]
    (event,) = forwarded(desk)
    del event["event_id"]
    assert event == {
        "type": "conversation.item.truncate",
        "item_id": "item_1",
        "content_index": 0,
        "audio_end_ms": truncated_ms,
    }


def test_what_was_never_begun_is_not_cleared() -> None:
    desk = Desk(is_raw=True)
    assert desk.note(OutputInterrupted("resp_1", 0, 100), OutputDrained("resp_1", 0)) == []
    assert forwarded(desk) == []


def test_a_client_that_must_not_interrupt_does_not() -> None:
    desk = Desk(is_raw=True, session={"audio": {"input": {"turn_detection": {"interrupt_response": False}}}})
    serve(desk, "input_audio_buffer.speech_started", item_id="item_2", audio_start_ms=100)
    assert desk.done() == []


def test_audio_in_events_is_put_where_the_model_has_it() -> None:
    desk = Desk("websocket", is_raw=True)
    assert desk.output("resp_1", bytes(480)) == []
    serve(desk, "response.audio.delta", **PLACE, delta="ignored")
    (event,) = desk.output("resp_1", bytes(480))
    assert event["type"] == "response.output_audio.delta"
    assert {key: event[key] for key in PLACE} == PLACE
    assert base64.b64decode(event["delta"]) == bytes(480)
    assert desk.note(OutputBegan("resp_1"), OutputInterrupted("resp_1", 10, 10)) == []
    assert forwarded(desk) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"response_id": 3, "item_id": "i"},
        {"response_id": "resp_1"},
        {"response_id": "resp_1", "item_id": "i", "output_index": "0"},
    ],
)
def test_places_that_are_none_are_forgotten(fields: Event) -> None:
    desk = Desk("websocket", is_raw=True)
    serve(desk, "response.output_audio.delta", **fields)
    assert desk.output("resp_1", bytes(480)) == []


def test_places_are_bounded() -> None:
    desk = Desk("websocket", is_raw=True)
    for number in range(MAX_PLACES + 1):
        serve(desk, "response.output_audio.delta", **{**PLACE, "response_id": f"r{number}"})
    assert desk.output("r0", bytes(480)) == []
    assert len(desk.output(f"r{MAX_PLACES}", bytes(480))) == 1


def test_reports_in_other_words_than_the_apis_are_ignored() -> None:
    desk = Desk(is_raw=True)
    assert desk.report(ResponseBegan(response_id="r"), InputTranscribed(text="x")) == []
    assert desk.report(ServerEvent(event={"type": 3})) == []


def test_events_of_a_model_without_one_are_ignored() -> None:
    assert serve(Desk(), "response.created", response={}) == []


def test_another_agent_may_take_over_from_a_model() -> None:
    desk = Desk(is_raw=True)
    desk.report(ConversationTaken(is_raw=False))
    assert types(desk.send("response.create")) == ["response.created"]
