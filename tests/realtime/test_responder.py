import base64
from typing import Any

import pytest

from tests.realtime.desk import Desk, Event, of, only, text_of, types
from voicegate.realtime import responder
from voicegate.realtime.action import CancelResponse, ClearOutput
from voicegate.realtime.agent_event import (
    AgentReport,
    FunctionCalled,
    ItemTruncated,
    McpCalled,
    ResponseBegan,
    ResponseCancelled,
    ResponseEnded,
    ResponseRequested,
    TextAdded,
    TranscriptAdded,
)
from voicegate.realtime.notice import OutputBegan, OutputDrained, OutputInterrupted, SpeechBegan, TurnOver
from voicegate.realtime.responder import MAX_RESPONSES
from voicegate.realtime.response import MAX_ITEMS, MAX_TEXT

SPOKEN = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio_transcript.delta",
    "output_audio_buffer.started",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
    "output_audio_buffer.stopped",
]


def speak(desk: Desk, name: str = "r", *, words: str = "Hello there") -> None:
    """The agent says something, of which the first packet has left."""
    desk.report(ResponseBegan(response_id=name), TranscriptAdded(response_id=name, delta=words))
    desk.note(OutputBegan(name))


def end(desk: Desk, name: str = "r", **more: Any) -> list[Event]:
    return desk.report(ResponseEnded(response_id=name, **{"status": "completed", **more}))


def everything(desk: Desk) -> list[Event]:
    return [event for _, event in desk.events]


# The life of a response


def test_a_spoken_response_is_told_from_created_to_stopped() -> None:
    desk = Desk()
    desk.report(ResponseBegan(response_id="r"))
    for delta in ("Hello", " there"):
        desk.report(TranscriptAdded(response_id="r", delta=delta))
    desk.note(OutputBegan("r"))
    end(desk)
    desk.note(OutputDrained("r", 900))
    events = everything(desk)
    assert types(events) == SPOKEN
    done = only(events, "response.done")["response"]
    (item,) = done["output"]
    assert (done["status"], done["status_details"], done["id"]) == ("completed", None, "r")
    assert (item["status"], item["role"]) == ("completed", "assistant")
    assert item["content"] == [{"type": "output_audio", "transcript": "Hello there"}]
    assert desk.item(item["id"]) == item
    for event in events:
        if "item_id" in event:
            assert (event["item_id"], event["output_index"], event["content_index"]) == (item["id"], 0, 0)


def test_a_written_response_has_text() -> None:
    desk = Desk(session={"output_modalities": ["text"]})
    desk.report(ResponseBegan(response_id="r"), TextAdded(response_id="r", delta="Hello"))
    end(desk)
    events = everything(desk)
    assert types(events) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    assert only(events, "response.output_text.done")["text"] == "Hello"
    assert events[0]["response"]["output_modalities"] == ["text"]


def test_a_function_call_is_an_item_of_its_own() -> None:
    desk = Desk()
    desk.report(
        ResponseBegan(response_id="r"),
        FunctionCalled(response_id="r", call_id="call_1", name="clock", arguments='{"zone":"UTC"}'),
    )
    end(desk)
    events = everything(desk)
    assert types(events) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    assert events[1]["item"]["arguments"] == ""
    item = only(events, "response.output_item.done")["item"]
    assert (item["status"], item["arguments"], item["call_id"]) == ("completed", '{"zone":"UTC"}', "call_1")


def test_a_function_may_be_called_while_the_agent_speaks() -> None:
    desk = Desk()
    speak(desk)
    desk.report(FunctionCalled(response_id="r", call_id="c", name="clock", arguments="{}"))
    desk.report(TranscriptAdded(response_id="r", delta=" again"))
    response = only(end(desk), "response.done")["response"]
    assert [item["type"] for item in response["output"]] == ["message", "function_call"]
    assert response["output"][0]["content"][0]["transcript"] == "Hello there again"


MCP_CALL: Event = {
    "type": "mcp_call",
    "server_label": "docs",
    "name": "search",
    "arguments": "{}",
    "output": "found",
}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(None, "completed"), ({"type": "http_error", "code": 500, "message": "no"}, "failed")],
)
def test_use_of_an_mcp_server_is_shown(error: Any, outcome: str) -> None:
    desk = Desk()
    desk.report(ResponseBegan(response_id="r"), McpCalled(response_id="r", item={**MCP_CALL, "error": error}))
    events = desk.take_all()
    assert types(events) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.in_progress",
        f"response.mcp_call.{outcome}",
        "response.output_item.done",
        "conversation.item.done",
    ]
    assert (events[1]["item"]["arguments"], events[1]["item"]["output"]) == ("", None)
    item = events[-1]["item"]
    assert (item["output"], item["error"]) == ("found", error)
    assert desk.item(item["id"]) == item


def test_the_tools_of_an_mcp_server_are_listed() -> None:
    desk = Desk()
    tools = [{"name": "search", "input_schema": {"type": "object"}}]
    item = {"type": "mcp_list_tools", "server_label": "docs", "tools": tools}
    events = desk.report(McpCalled(response_id="", item=item))
    assert types(events) == [
        "conversation.item.added",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "conversation.item.done",
    ]
    assert events[-1]["item"]["tools"] == [{**tools[0], "description": "", "annotations": None}]


def test_approval_is_asked_for() -> None:
    desk = Desk()
    desk.report(ResponseBegan(response_id="r"))
    item = {**MCP_CALL, "type": "mcp_approval_request", "id": "mcpr_1"}
    events = desk.report(McpCalled(response_id="r", item=item))
    assert types(events)[-1] == "conversation.item.done"
    assert events[-1]["item"]["id"] == "mcpr_1"


@pytest.mark.parametrize("item", [{}, {"type": "message"}, {"type": "mcp_call"}, {"type": "mcp_list_tools"}])
def test_a_report_that_is_no_item_is_dropped(item: Event) -> None:
    desk = Desk()
    desk.report(ResponseBegan(response_id="r"))
    assert desk.report(McpCalled(response_id="r", item=item)) == []
    assert desk.core.describe()["dropped_reports"] == 1


@pytest.mark.parametrize(
    ("status", "reason", "details"),
    [
        ("cancelled", None, {"type": "cancelled"}),
        ("cancelled", "turn_detected", {"type": "cancelled", "reason": "turn_detected"}),
        ("incomplete", "max_output_tokens", {"type": "incomplete", "reason": "max_output_tokens"}),
        ("incomplete", "tired", {"type": "incomplete"}),
        (
            "failed",
            "no model",
            {
                "type": "failed",
                "error": {"type": "server_error", "code": "agent_failed", "message": "no model"},
            },
        ),
    ],
)
def test_a_response_that_is_not_completed_says_why(status: str, reason: str | None, details: Event) -> None:
    desk = Desk()
    speak(desk)
    response = only(end(desk, status=status, reason=reason), "response.done")["response"]
    assert (response["status"], response["status_details"]) == (status, details)
    assert response["output"][0]["status"] == "incomplete"


def test_what_comes_of_a_response_that_is_over_is_dropped() -> None:
    desk = Desk()
    speak(desk)
    end(desk)
    desk.take_all()
    late: list[AgentReport] = [
        TranscriptAdded(response_id="r", delta="x"),
        TextAdded(response_id="never", delta="x"),
        ResponseEnded(response_id="r", status="failed"),
        ResponseBegan(response_id="r"),
        ResponseBegan(response_id=""),
    ]
    assert desk.report(*late) == []
    assert desk.core.describe()["dropped_reports"] == 3


def test_empty_words_are_no_event() -> None:
    desk = Desk()
    speak(desk)
    assert desk.report(TranscriptAdded(response_id="r", delta="")) == []


def test_what_one_response_may_hold_is_bounded() -> None:
    desk = Desk()
    speak(desk)
    assert desk.report(TranscriptAdded(response_id="r", delta="x" * MAX_TEXT)) == []
    for _ in range(MAX_ITEMS + 3):
        desk.report(FunctionCalled(response_id="r", call_id="c", name="n", arguments="{}"))
        desk.report(McpCalled(response_id="r", item=MCP_CALL))
    assert len(only(end(desk), "response.done")["response"]["output"]) == MAX_ITEMS


def test_only_so_many_responses_are_remembered() -> None:
    desk = Desk()
    for number in range(MAX_RESPONSES + 1):
        speak(desk, f"r{number}")
    assert types(desk.take_all()).count("response.done") == 1


# Asked for


def test_a_request_is_created_at_once_and_shows_what_was_asked_for() -> None:
    desk = Desk()
    parameters = {
        "output_modalities": ["text"],
        "max_output_tokens": 12,
        "metadata": {"topic": "x"},
        "audio": {"output": {"voice": {"id": "voice_1"}}},
        "instructions": "Be brief.",
        "input": [{"type": "item_reference", "id": "x"}],
        "unknown": True,
    }
    created = only(desk.send("response.create", response=parameters), "response.created")["response"]
    assert created["status"] == "in_progress"
    assert created["output_modalities"] == ["text"]
    assert (created["max_output_tokens"], created["metadata"]) == (12, {"topic": "x"})
    assert created["audio"]["output"]["voice"] == "voice_1"
    assert desk.told() == [ResponseRequested(response_id=created["id"], parameters=parameters)]


def test_there_is_one_response_of_the_conversation_at_a_time() -> None:
    desk = Desk()
    desk.send("response.create")
    (error,) = desk.send("response.create", event_id="second")
    assert text_of(error) == "conversation_already_has_active_response None"
    assert error["error"]["event_id"] == "second"


def test_a_response_beside_the_conversation_leaves_no_items_in_it() -> None:
    desk = Desk()
    desk.send("response.create")
    created = only(desk.send("response.create", response={"conversation": "none"}), "response.created")
    name = created["response"]["id"]
    assert created["response"]["conversation_id"] is None
    desk.report(TextAdded(response_id=name, delta="aside"))
    events = end(desk, name)
    assert not any(event["type"].startswith("conversation.") for event in events)
    assert desk.core.describe()["items"] == 0
    assert only(events, "response.done")["response"]["output"][0]["content"][0]["text"] == "aside"


def test_an_agent_that_answers_under_a_name_of_its_own_gives_up_the_one_it_was_given() -> None:
    desk = Desk()
    desk.send("response.create")
    events = desk.report(ResponseBegan(response_id="mine"))
    assert types(events) == ["response.done", "response.created"]
    assert events[0]["response"]["status"] == "cancelled"


def test_a_response_that_was_asked_for_may_be_begun_without_a_word() -> None:
    desk = Desk()
    name = desk.send("response.create")[0]["response"]["id"]
    assert desk.report(ResponseBegan(response_id=name)) == []
    assert desk.report(ResponseBegan(response_id="other"))[0]["type"] == "response.created"


def test_cancel_ends_what_goes_on_and_tells_the_agent() -> None:
    desk = Desk()
    speak(desk)
    desk.take_all()
    events = desk.send("response.cancel")
    done = only(events, "response.done")["response"]
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert desk.done() == [CancelResponse("r")]
    assert desk.told() == [ResponseCancelled(response_id="r", reason="client_cancelled")]
    desk.send("output_audio_buffer.clear")
    assert desk.done() == [ClearOutput()]
    assert types(desk.note(OutputInterrupted("r", 300, 500))) == [
        "output_audio_buffer.cleared",
        "conversation.item.truncated",
    ]
    assert text_of(desk.send("response.cancel")[0]) == "response_cancel_not_active None"


def test_a_response_is_cancelled_by_name() -> None:
    desk = Desk()
    speak(desk)
    assert text_of(desk.send("response.cancel", response_id="x")[0]) == (
        "response_cancel_not_active response_id"
    )
    assert types(desk.send("response.cancel", response_id="r"))[-1] == "response.done"


# What the client hears


def test_barge_in_cancels_clears_and_truncates() -> None:
    desk = Desk()
    speak(desk)
    item_id = next(of(everything(desk), "response.output_item.added"))["item"]["id"]
    desk.take_all()
    assert types(desk.note(SpeechBegan(5000))) == [
        "input_audio_buffer.speech_started",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    cleared, truncated = desk.note(OutputInterrupted("r", 420, 600))
    assert (cleared["type"], cleared["response_id"]) == ("output_audio_buffer.cleared", "r")
    assert (truncated["item_id"], truncated["content_index"], truncated["audio_end_ms"]) == (item_id, 0, 420)
    assert desk.told() == [
        ResponseCancelled(response_id="r", reason="turn_detected"),
        ItemTruncated(item_id=item_id, audio_end_ms=420),
    ]
    assert desk.item(item_id)["content"] == [{"type": "output_audio", "transcript": None}]


def test_speech_after_the_response_is_done_clears_what_still_plays() -> None:
    desk = Desk()
    speak(desk)
    end(desk)
    assert types(desk.note(SpeechBegan(5000), OutputInterrupted("r", 420, 600)))[-2:] == [
        "output_audio_buffer.cleared",
        "conversation.item.truncated",
    ]
    assert desk.note(OutputDrained("r", 420)) == []
    assert desk.note(OutputBegan("r")) == []


def test_stopped_waits_for_the_response_to_be_done() -> None:
    desk = Desk()
    speak(desk)
    assert desk.note(OutputDrained("r", 500)) == []
    assert desk.note(OutputBegan("r"), OutputDrained("r", 900)) == []
    assert types(end(desk))[-2:] == ["response.done", "output_audio_buffer.stopped"]


def test_a_response_may_end_before_its_audio_has_left() -> None:
    desk = Desk()
    desk.report(ResponseBegan(response_id="r"))
    assert types(desk.output("r", b"")) == SPOKEN[1:4]
    assert types(end(desk))[-1] == "response.done"
    assert types(desk.note(OutputBegan("r"))) == ["output_audio_buffer.started"]
    assert types(desk.note(OutputDrained("r", 500))) == ["output_audio_buffer.stopped"]


def test_a_response_may_have_nothing_in_it() -> None:
    desk = Desk()
    desk.report(ResponseBegan(response_id="r"))
    assert only(end(desk), "response.done")["response"]["output"] == []


def test_audio_of_what_was_cut_short_is_no_response_any_more() -> None:
    desk = Desk(taken=False)
    desk.note(OutputBegan("mine"), OutputInterrupted("mine", 100, 100))
    desk.take_all()
    assert desk.output("mine", b"") == []
    assert desk.note(OutputBegan("mine")) == []


def test_an_agent_that_interrupts_itself_goes_on_with_the_response() -> None:
    desk = Desk()
    speak(desk)
    desk.take_all()
    assert types(desk.note(OutputInterrupted("r", 100, 200))) == [
        "output_audio_buffer.cleared",
        "conversation.item.truncated",
    ]
    assert desk.report(TranscriptAdded(response_id="r", delta="unheard")) == []
    desk.report(TextAdded(response_id="r", delta="in writing"))
    (item,) = only(end(desk), "response.done")["response"]["output"]
    assert item["content"] == [
        {"type": "output_audio", "transcript": None},
        {"type": "output_text", "text": "in writing"},
    ]


def test_speech_that_was_dropped_before_it_began_is_not_cleared() -> None:
    desk = Desk()
    desk.report(ResponseBegan(response_id="r"), TranscriptAdded(response_id="r", delta="x"))
    assert types(desk.note(OutputInterrupted("r", 0, 500))) == ["conversation.item.truncated"]
    assert desk.note(OutputInterrupted("never", 0, 1), OutputDrained(None, 0)) == []


def test_an_aside_that_was_not_heard_is_no_item_to_truncate() -> None:
    desk = Desk()
    created = only(desk.send("response.create", response={"conversation": "none"}), "response.created")
    name = created["response"]["id"]
    desk.report(TranscriptAdded(response_id=name, delta="aside"))
    desk.note(OutputBegan(name))
    assert types(desk.note(SpeechBegan(500))) == ["input_audio_buffer.speech_started"]
    assert types(desk.note(OutputInterrupted(name, 10, 10))) == ["output_audio_buffer.cleared"]
    assert only(end(desk, name), "response.output_audio_transcript.done")["transcript"] == ""


# Agents that are only heard


def test_a_stretch_of_audio_is_a_response() -> None:
    desk = Desk(taken=False)
    desk.note(OutputBegan(None))
    desk.note(OutputDrained(None, 700))
    assert types(desk.take_all()) == [kind for kind in SPOKEN if not kind.endswith("transcript.delta")]
    desk.note(OutputBegan(None))
    assert types(desk.take_all())[0] == "response.created"
    assert desk.told() == []


def test_each_stretch_under_a_name_of_the_agents_is_a_response_too() -> None:
    desk = Desk(taken=False)
    for _ in range(2):
        desk.note(OutputBegan("mine"), OutputDrained("mine", 100))
    created = [event["response"]["id"] for event in of(desk.take_all(), "response.created")]
    assert len(set(created)) == 2


@pytest.mark.parametrize("reason", ["turn_detected", "client_cancelled"])
def test_barge_in_cancels_what_is_only_heard(reason: str) -> None:
    desk = Desk(taken=False)
    desk.note(OutputBegan(None))
    desk.take_all()
    if reason == "turn_detected":
        desk.note(SpeechBegan(2000))
    else:
        desk.send("response.cancel")
        assert desk.done() == [ClearOutput()]
    events = desk.note(OutputInterrupted(None, 200, 100))
    assert only(events, "response.done")["response"]["status_details"]["reason"] == reason
    assert types(events)[-2:] == ["output_audio_buffer.cleared", "conversation.item.truncated"]
    assert desk.told() == []


def test_turns_that_the_agent_detects_by_itself_are_items() -> None:
    desk = Desk(taken=False)
    desk.note(SpeechBegan(100), TurnOver(900))
    assert types(desk.take_all()) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]


# Truncation by the client


def truncate(desk: Desk, item_id: str, audio_end_ms: int, content_index: int = 0) -> list[Event]:
    return desk.send(
        "conversation.item.truncate",
        item_id=item_id,
        content_index=content_index,
        audio_end_ms=audio_end_ms,
    )


def test_no_more_can_be_truncated_than_was_heard() -> None:
    desk = Desk()
    speak(desk)
    item_id = next(of(everything(desk), "response.output_item.added"))["item"]["id"]
    desk.now += 0.5
    (error,) = truncate(desk, item_id, 501)
    assert text_of(error) == "invalid_value audio_end_ms"
    assert error["error"]["message"] == "Audio content of 500ms is already shorter than 501ms."
    end(desk)
    desk.note(OutputDrained("r", 450))
    assert text_of(truncate(desk, item_id, 451)[0]) == "invalid_value audio_end_ms"
    assert types(truncate(desk, item_id, 450)) == ["conversation.item.truncated"]
    assert types(truncate(desk, item_id, 200)) == ["conversation.item.truncated"]
    assert text_of(truncate(desk, item_id, 201)[0]) == "invalid_value audio_end_ms"


def test_only_audio_of_the_assistant_can_be_truncated() -> None:
    desk = Desk()
    desk.note(TurnOver(500))
    user = next(of(everything(desk), "conversation.item.done"))["item"]["id"]
    assert text_of(truncate(desk, user, 0)[0]) == "invalid_value content_index"
    speak(desk)
    item_id = list(of(everything(desk), "response.output_item.added"))[-1]["item"]["id"]
    assert text_of(truncate(desk, item_id, 0, content_index=1)[0]) == "invalid_value content_index"


def test_words_of_what_was_truncated_are_not_added_any_more() -> None:
    desk = Desk("websocket")
    desk.report(ResponseBegan(response_id="r"), TranscriptAdded(response_id="r", delta="Hello"))
    desk.output("r", bytes(4800))
    item_id = next(of(everything(desk), "response.output_item.added"))["item"]["id"]
    truncate(desk, item_id, 50)
    assert desk.report(TranscriptAdded(response_id="r", delta=" there")) == []
    assert only(end(desk), "response.output_audio_transcript.done")["transcript"] == ""
    assert desk.item(item_id)["content"][0]["transcript"] is None


def test_lengths_are_remembered_for_as_many_items_as_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder, "MAX_ITEMS", 1)
    desk = Desk("websocket")
    for name in ("r", "s"):
        desk.report(ResponseBegan(response_id=name))
        desk.output(name, bytes(480))
        end(desk, name)
    first, second = (event["item"]["id"] for event in of(everything(desk), "response.output_item.done"))
    assert text_of(truncate(desk, first, 10)[0]) == "invalid_value audio_end_ms"
    assert types(truncate(desk, second, 10)) == ["conversation.item.truncated"]


# Audio in events


def test_audio_in_events_is_part_of_the_response() -> None:
    desk = Desk("websocket")
    desk.report(ResponseBegan(response_id="r"))
    desk.note(OutputBegan("r"))
    pcm = bytes(range(240)) * 20
    assert only(desk.output("r", pcm), "response.output_audio.delta")["delta"] == (
        base64.b64encode(pcm).decode()
    )
    events = end(desk)
    assert types(events)[0] == "response.output_audio.done"
    assert desk.note(OutputDrained("r", 100)) == []
    assert not any(kind.startswith("output_audio_buffer") for kind in types(everything(desk)))
    item_id = events[0]["item_id"]
    assert text_of(truncate(desk, item_id, 101)[0]) == "invalid_value audio_end_ms"
    assert types(truncate(desk, item_id, 100)) == ["conversation.item.truncated"]


def test_a_client_that_plays_itself_truncates_itself() -> None:
    desk = Desk("websocket")
    speak(desk)
    desk.output("r", bytes(48000))
    desk.take_all()
    desk.note(SpeechBegan(3000), OutputInterrupted("r", 400, 600))
    assert types(desk.take_all())[-1] == "response.done"
    assert desk.output("r", bytes(480)) == []


def test_audio_without_a_name_is_a_response_of_its_own() -> None:
    desk = Desk("websocket", taken=False)
    desk.output(None, bytes(480))
    desk.note(OutputDrained(None, 10))
    assert types(desk.take_all()) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]


def test_over_webrtc_audio_is_only_announced() -> None:
    desk = Desk()
    desk.report(ResponseBegan(response_id="r"))
    assert types(desk.output("r", b"")) == SPOKEN[1:4]
    assert types(end(desk))[-1] == "response.done"
    assert desk.output("r", b"") == []
