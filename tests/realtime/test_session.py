import base64
import json
from typing import Any

import pytest

from tests.realtime.desk import Desk, Event, only, text_of, types, user_text
from voicegate.audio.pcm import audioop
from voicegate.realtime.action import (
    ClearInput,
    ClearOutput,
    CommitInput,
    DetectSpeech,
    EndCall,
    InputAppended,
    StopDetecting,
)
from voicegate.realtime.agent_event import (
    ConversationTaken,
    DtmfReceived,
    InputTranscribed,
    ItemAdded,
    ItemDeleted,
    ResponseBegan,
    ResponseEnded,
    ResponseRequested,
    SessionUpdated,
    TranscriptAdded,
)
from voicegate.realtime.client import BURST, EVENTS_PER_SECOND
from voicegate.realtime.conversation import MAX_ITEMS, MAX_SIZE
from voicegate.realtime.notice import (
    InputDtmf,
    OutputBegan,
    OutputDrained,
    ServerLeaving,
    SpeechBegan,
    SpeechEnded,
    TurnOver,
)
from voicegate.realtime.session import AGENT_SECONDS
from voicegate.wire.json_value import MAX_EVENT

# The session


def test_each_connection_is_greeted_with_the_session_and_nobody_else_is() -> None:
    desk = Desk(session={"instructions": "Be brief."})
    desk.core.attach("sideband")
    desk.look()
    assert [(source, event["type"]) for source, event in desk.events] == [("sideband", "session.created")]
    session = desk.events[0][1]["session"]
    assert (session["id"], session["instructions"], session["expires_at"]) == ("sess_1", "Be brief.", 5000)


def test_session_created_is_the_first_event() -> None:
    desk = Desk(source=None)
    desk.send("session.update", session={})
    desk.core.attach("channel")
    assert types(desk.look()) == ["session.created"]


def test_session_update_is_answered_to_all_and_told_to_the_agent() -> None:
    desk = Desk()
    event = only(desk.send("session.update", session={"instructions": "Sing."}), "session.updated")
    assert event["session"]["instructions"] == "Sing."
    assert desk.events[-1][0] is None
    assert desk.told() == [SessionUpdated(session=event["session"])]
    assert desk.done() == []


def test_what_agents_js_sends_first_is_answered() -> None:
    desk = Desk()
    session = {
        "type": "realtime",
        "instructions": "",
        "model": "gpt-realtime-2.1",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "noise_reduction": None,
                "transcription": {"model": "gpt-4o-mini-transcribe"},
                "turn_detection": {"type": "semantic_vad"},
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "speed": 1},
        },
        "tool_choice": "auto",
        "tools": [],
    }
    assert types(desk.send("session.update", session=session)) == ["session.updated"]
    assert desk.done() == [
        DetectSpeech(silence_ms=700, threshold=0.5, prefix_ms=300, barge_in=True, eagerness="medium")
    ]
    event = only(
        desk.send("session.update", session={"type": "realtime", "tracing": "auto"}), "session.updated"
    )
    assert event["session"]["tracing"] == "auto"


def test_turn_detection_is_the_clients_once_the_agent_converses() -> None:
    desk = Desk(taken=False)
    desk.send("session.update", session={"audio": {"input": {"turn_detection": None}}})
    assert desk.done() == []
    desk.report(ConversationTaken(is_raw=False))
    assert desk.done() == [StopDetecting()]
    desk.send("session.update", session={"audio": {"input": {"turn_detection": {"type": "server_vad"}}}})
    assert desk.done() == [
        DetectSpeech(silence_ms=500, threshold=0.5, prefix_ms=300, barge_in=True, eagerness=None)
    ]


def test_the_voice_is_locked_once_it_was_heard() -> None:
    desk = Desk()
    desk.report(ResponseBegan(response_id="r"))
    assert types(desk.send("session.update", session={"audio": {"output": {"voice": "ash"}}})) == [
        "session.updated"
    ]
    desk.note(OutputBegan("r"))
    (error,) = desk.send("session.update", session={"audio": {"output": {"voice": "coral"}}})
    assert text_of(error) == "cannot_update_voice session.audio.output.voice"


def test_expiry_is_an_error_and_the_end_of_the_call() -> None:
    desk = Desk()
    desk.core.expire()
    assert only(desk.look(), "error")["error"]["code"] == "session_expired"
    assert desk.done() == [EndCall("session_expired", "Your session hit the maximum duration.")]


def test_a_session_is_described() -> None:
    desk = Desk()
    desk.send("conversation.item.create", item=user_text("Hello"))
    described = desk.core.describe()
    assert described["session"]["id"] == "sess_1"
    assert (described["items"], described["is_taken"], described["is_raw"]) == (1, True, False)


# Errors


def test_an_error_names_the_event_and_goes_to_its_sender_alone() -> None:
    desk = Desk()
    desk.core.attach("sideband")
    desk.take_all()
    desk.core.handle_text('{"type":"nonsense","event_id":"mine"}', source="sideband", now=desk.now)
    desk.look()
    ((source, event),) = desk.events
    assert source == "sideband"
    assert event["error"] == {
        "type": "invalid_request_error",
        "code": "invalid_value",
        "message": "Invalid value for 'type': 'nonsense' is not an event of this API.",
        "param": "type",
        "event_id": "mine",
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "invalid_json None"),
        ("nonsense", "invalid_json None"),
        ("[]", "invalid_json None"),
        ('{"type":"session.update","session":{"instructions":"\\ud800"}}', "invalid_json None"),
        ("{}", "missing_required_parameter type"),
        ('{"type":3}', "invalid_type type"),
        ('{"type":"response.cancel","event_id":3}', "invalid_type event_id"),
        ('{"type":"session.update"}', "missing_required_parameter session"),
        ('{"type":"session.update","session":3}', "invalid_type session"),
        ('{"type":"conversation.item.create"}', "missing_required_parameter item"),
        ('{"type":"conversation.item.delete"}', "missing_required_parameter item_id"),
        ('{"type":"conversation.item.delete","item_id":"x"}', "item_not_found item_id"),
        ('{"type":"conversation.item.retrieve","item_id":"x"}', "item_not_found item_id"),
        ('{"type":"conversation.item.truncate","item_id":"x"}', "missing_required_parameter content_index"),
        (
            '{"type":"conversation.item.truncate","item_id":"x","content_index":0,"audio_end_ms":-1}',
            "invalid_value audio_end_ms",
        ),
        (
            '{"type":"conversation.item.truncate","item_id":"x","content_index":0,"audio_end_ms":1}',
            "item_not_found item_id",
        ),
        ('{"type":"response.create","response":[]}', "invalid_type response"),
        ('{"type":"response.create","response":{"metadata":{"a":1}}}', "invalid_type response.metadata.a"),
        (
            '{"type":"response.create","response":{"output_modalities":["video"]}}',
            "invalid_value response.output_modalities",
        ),
        (
            '{"type":"response.create","response":{"input":[{"type":"message"}]}}',
            "missing_required_parameter response.input[0].role",
        ),
        (
            json.dumps(
                {"type": "response.create", "response": {"metadata": dict.fromkeys("0123456789abcdefg", "")}}
            ),
            "invalid_value response.metadata",
        ),
        ('{"type":"response.cancel"}', "response_cancel_not_active None"),
        ('{"type":"response.cancel","response_id":"x"}', "response_cancel_not_active response_id"),
        ('{"type":"input_audio_buffer.append","audio":"AAAA"}', "unsupported_event type"),
        ('{"type":"input_audio_buffer.append"}', "missing_required_parameter audio"),
        (f'{{"type":"{"x" * MAX_EVENT}"}}', "event_too_large None"),
    ],
    ids=range(26),
)
def test_what_is_wrong_gets_an_error_and_changes_nothing(text: str, found: str) -> None:
    desk = Desk()
    before = desk.core.describe()
    (error,) = desk.say(text)
    assert text_of(error) == found
    assert desk.core.describe() == before
    assert desk.actions == []


def test_a_flood_gets_one_error_until_it_ebbs() -> None:
    desk = Desk()
    text = '{"type":"input_audio_buffer.clear"}'
    answers = [types(desk.say(text)) for _ in range(BURST + 10)]
    assert answers[BURST - 1] == ["input_audio_buffer.cleared"]
    assert answers[BURST:] == [["error"]] + [[]] * 9
    assert desk.events[-1][1]["error"]["code"] == "rate_limit_exceeded"
    desk.now += 1
    answers = [types(desk.say(text)) for _ in range(EVENTS_PER_SECOND + 1)]
    assert [answer for answer in answers if answer != ["input_audio_buffer.cleared"]] == [["error"]]


def test_each_connection_has_a_rate_of_its_own() -> None:
    desk = Desk()
    desk.core.attach("sideband")
    for _ in range(BURST + 1):
        desk.say('{"type":"input_audio_buffer.clear"}')
    assert types(desk.send("input_audio_buffer.clear", source="sideband")) == ["input_audio_buffer.cleared"]


def test_nothing_is_heard_of_a_connection_that_is_not_there() -> None:
    desk = Desk()
    desk.core.detach("channel")
    desk.core.detach("channel")
    assert desk.send("session.update", session={"instructions": "x"}) == []
    assert desk.core.describe()["session"]["instructions"] == ""


# Items

PIXEL = "data:image/png;base64,iVBORw0KGgo="
ITEMS: list[Event] = [
    {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be kind."}]},
    user_text("Hello"),
    {
        "type": "message",
        "role": "user",
        "content": [
            {"type": "input_image", "image_url": PIXEL, "detail": "low"},
            {"type": "input_audio", "audio": "AAAA", "transcript": "Look"},
        ],
    },
    {
        "type": "message",
        "role": "assistant",
        "status": "incomplete",
        "content": [{"type": "output_text", "text": "Hi"}, {"type": "output_audio", "transcript": "Hi"}],
    },
    {"type": "function_call", "name": "clock", "arguments": "{}", "call_id": "call_1"},
    {"type": "function_call_output", "call_id": "call_1", "output": "noon"},
    {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True, "reason": "fine"},
    {"type": "mcp_approval_request", "server_label": "docs", "name": "search", "arguments": "{}"},
    {"type": "mcp_list_tools", "server_label": "docs", "tools": [{"name": "x", "input_schema": {}}]},
    {
        "type": "mcp_call",
        "server_label": "docs",
        "name": "search",
        "arguments": "{}",
        "error": {"type": "tool_execution_error", "message": "no"},
    },
]


@pytest.mark.parametrize("item", ITEMS, ids=[item["type"] for item in ITEMS])
def test_an_item_is_added_done_told_and_retrieved(item: Event) -> None:
    desk = Desk()
    events = desk.send("conversation.item.create", item={**item, "id": "mine", "unknown": 1})
    assert types(events) == ["conversation.item.added", "conversation.item.done"]
    added = events[0]["item"]
    assert added["id"] == "mine"
    assert added["object"] == "realtime.item"
    assert "unknown" not in added
    for key, value in item.items():
        assert added[key] == value or key in ("content", "tools")
    assert desk.told() == [ItemAdded(item=added)]
    assert desk.item("mine") == added


def test_an_item_without_an_id_is_given_one() -> None:
    desk = Desk()
    first, second = (
        desk.send("conversation.item.create", item=user_text("Hi"))[0]["item"]["id"] for _ in range(2)
    )
    assert first.startswith("item_")
    assert first != second


def test_parts_in_the_words_of_the_beta_are_renamed() -> None:
    desk = Desk()
    item = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hi"}]}
    event = desk.send("conversation.item.create", item=item)[0]
    assert event["item"]["content"] == [{"type": "output_text", "text": "Hi"}]


@pytest.mark.slow
def test_an_image_may_be_large_and_is_not_sent_back() -> None:
    desk = Desk()
    part = {"type": "input_image", "image_url": "data:image/jpeg;base64," + "A" * 8_000_000}
    item = {"type": "message", "role": "user", "content": [part]}
    events = desk.send("conversation.item.create", item=item)
    assert types(events) == ["conversation.item.added", "conversation.item.done"]
    assert events[0]["item"]["content"] == [{"type": "input_image", "detail": "auto"}]
    (added,) = desk.told()
    assert isinstance(added, ItemAdded)
    assert added.item["content"] == [{**part, "detail": "auto"}]


def test_items_stand_where_the_client_wants_them() -> None:
    desk = Desk(taken=False)
    previous = {}
    for name, after in [("b", None), ("d", None), ("a", "root"), ("c", "b")]:
        place = {} if after is None else {"previous_item_id": after}
        event = desk.send("conversation.item.create", item=user_text(name, id=name), **place)[0]
        previous[name] = event["previous_item_id"]
    assert previous == {"b": None, "d": "b", "a": None, "c": "b"}
    desk.report(ConversationTaken(is_raw=False))
    told = [(n.item["id"], n.previous_item_id) for n in desk.told() if isinstance(n, ItemAdded)]
    assert told == [("a", None), ("b", "a"), ("c", "b"), ("d", "c")]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"item": user_text("x", id="there")}, "item_already_exists item.id"),
        ({"item": user_text("x"), "previous_item_id": "nowhere"}, "item_not_found previous_item_id"),
        ({"item": user_text("x", id="x" * 200)}, "string_above_max_length item.id"),
        ({"item": {"type": "message", "content": []}}, "missing_required_parameter item.role"),
        ({"item": {"type": "message", "role": "tool", "content": []}}, "invalid_value item.role"),
        ({"item": {"type": "video"}}, "invalid_value item.type"),
        ({"item": {"type": "message", "role": "user", "content": [3]}}, "invalid_type item.content[0]"),
        (
            {"item": {"type": "message", "role": "user", "content": [{"type": "output_text"}]}},
            "invalid_value item.content[0].type",
        ),
        (
            {"item": {"type": "message", "role": "user", "content": [{"type": "input_text"}]}},
            "missing_required_parameter item.content[0].text",
        ),
        (
            {
                "item": {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_image", "image_url": "https://example.org/x.png"}],
                }
            },
            "invalid_value item.content[0].image_url",
        ),
        ({"item": {"type": "function_call_output"}}, "missing_required_parameter item.call_id"),
        (
            {"item": {"type": "mcp_approval_response", "approval_request_id": "x"}},
            "missing_required_parameter item.approve",
        ),
    ],
)
def test_an_item_that_is_none_is_refused(fields: dict[str, Any], found: str) -> None:
    desk = Desk()
    desk.send("conversation.item.create", item=user_text("x", id="there"))
    (error,) = desk.send("conversation.item.create", **fields)
    assert text_of(error) == found
    assert desk.core.describe()["items"] == 1
    assert desk.told() == []


def test_an_item_is_deleted() -> None:
    desk = Desk()
    desk.send("conversation.item.create", item=user_text("x", id="mine"))
    assert types(desk.send("conversation.item.delete", item_id="mine")) == ["conversation.item.deleted"]
    assert desk.told() == [ItemDeleted(item_id="mine")]
    assert text_of(desk.send("conversation.item.retrieve", item_id="mine")[0]) == "item_not_found item_id"
    assert desk.core.describe()["size"] == 0


@pytest.mark.slow
def test_a_conversation_has_so_many_items_at_most_and_what_is_said_makes_room() -> None:
    desk = Desk()
    for number in range(MAX_ITEMS):
        desk.now += 0.01
        desk.send("conversation.item.create", item=user_text("x", id=f"i{number}"))
    (error,) = desk.send("conversation.item.create", item=user_text("x"))
    assert text_of(error) == "too_many_items None"
    desk.note(TurnOver(1000))
    assert desk.core.describe()["items"] == MAX_ITEMS
    assert text_of(desk.send("conversation.item.retrieve", item_id="i0")[0]) == "item_not_found item_id"


@pytest.mark.slow
def test_a_conversation_has_so_many_characters_at_most() -> None:
    desk = Desk()
    text = "x" * 12_000_000
    for _ in range(2):
        desk.send("conversation.item.create", item=user_text(text))
    (error,) = desk.send("conversation.item.create", item=user_text(text))
    assert text_of(error) == "conversation_too_large None"
    assert desk.core.describe()["items"] == 2


@pytest.mark.slow
def test_what_is_said_makes_room_in_a_conversation_that_is_full() -> None:
    desk = Desk()
    for number in range(2):
        desk.send("conversation.item.create", item=user_text("x" * 15_000_000, id=f"i{number}"))
    desk.note(TurnOver(1000))
    desk.report(InputTranscribed(text="x" * 1_000_000))
    for name in "abcd":
        desk.report(ResponseBegan(response_id=name), TranscriptAdded(response_id=name, delta="x" * 999_999))
        desk.report(ResponseEnded(response_id=name, status="completed"))
    assert 15_000_000 < desk.core.describe()["size"] < MAX_SIZE
    assert text_of(desk.send("conversation.item.retrieve", item_id="i0")[0]) == "item_not_found item_id"
    assert desk.item("i1")


def test_a_name_of_ours_that_the_client_took_first_does_no_harm() -> None:
    desk = Desk()
    name = desk.send("conversation.item.create", item=user_text("x"))[0]["item"]["id"]
    seed, number = name[:-4], int(name[-4:], 16)
    for offset in range(3, 40):
        desk.send("conversation.item.create", item=user_text("x", id=f"{seed}{number + 200 + offset:04x}"))
    before = desk.core.describe()["items"]
    for _ in range(40):
        desk.note(TurnOver(1000))
    assert before < desk.core.describe()["items"] <= before + 40
    for _, event in desk.events:
        if event["type"] == "conversation.item.added":
            desk.send("conversation.item.delete", item_id=event["item"]["id"])


# Audio in


def append(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


def test_audio_in_events_is_samples() -> None:
    desk = Desk("websocket")
    assert desk.send("input_audio_buffer.append", audio=append(b"\1\0" * 240)) == []
    assert desk.done() == [InputAppended(b"\1\0" * 240, 24000)]


@pytest.mark.parametrize(
    ("name", "encode"), [("audio/pcmu", audioop.lin2ulaw), ("audio/pcma", audioop.lin2alaw)]
)
def test_g711_in_events_is_samples_both_ways(name: str, encode: Any) -> None:
    pcm = b"\0\x10" * 80
    formats = {side: {"format": {"type": name}} for side in ("input", "output")}
    desk = Desk("websocket", session={"audio": formats})
    desk.send("input_audio_buffer.append", audio=append(encode(pcm, 2)))
    (action,) = desk.done()
    assert isinstance(action, InputAppended)
    assert (len(action.pcm), action.rate) == (160, 8000)
    assert desk.core.output_rate == 8000
    delta = only(desk.output(None, pcm), "response.output_audio.delta")["delta"]
    assert base64.b64decode(delta) == encode(pcm, 2)


@pytest.mark.parametrize("audio", ["AAA", "AA==A", "!!!!", "AAAA\n", append(b"\1\2\3"), "A" * 16_000_000])
def test_audio_that_is_none_is_refused(audio: str) -> None:
    desk = Desk("websocket")
    (error,) = desk.send("input_audio_buffer.append", audio=audio)
    assert error["error"]["param"] == "audio"
    assert desk.actions == []


def test_a_commit_is_for_the_media_and_what_comes_of_it_is_the_users_turn() -> None:
    desk = Desk("websocket", session={"audio": {"input": {"turn_detection": None}}})
    desk.send("input_audio_buffer.append", audio=append(bytes(9600)))
    assert desk.send("input_audio_buffer.commit") == []
    assert desk.done() == [CommitInput()]
    assert types(desk.note(TurnOver(200))) == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert [notice.type for notice in desk.told()] == ["item.added", "input.committed"]


def test_a_commit_of_hardly_any_audio_is_refused() -> None:
    desk = Desk("websocket")
    desk.send("input_audio_buffer.append", audio=append(bytes(4700)))
    (error,) = desk.send("input_audio_buffer.commit")
    assert text_of(error) == "input_audio_buffer_commit_empty None"
    desk.send("input_audio_buffer.append", audio=append(bytes(4700)))
    assert desk.send("input_audio_buffer.commit") == []
    desk.note(TurnOver(195))
    assert text_of(desk.send("input_audio_buffer.commit")[0]) == "input_audio_buffer_commit_empty None"


def test_push_to_talk_over_webrtc() -> None:
    desk = Desk(session={"audio": {"input": {"turn_detection": None}}})
    assert types(desk.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    assert desk.done() == [ClearInput()]
    desk.send("input_audio_buffer.commit")
    assert desk.done() == [CommitInput()]
    desk.note(TurnOver(3000))
    assert types(desk.send("response.create")) == ["response.created"]
    assert [notice.type for notice in desk.told()] == ["response.requested"]


def test_output_is_cleared_over_webrtc_only() -> None:
    desk = Desk()
    assert desk.send("output_audio_buffer.clear") == []
    assert desk.done() == [ClearOutput()]
    (error,) = Desk("websocket").send("output_audio_buffer.clear")
    assert text_of(error) == "unsupported_event type"


def test_keys_of_a_telephone_are_told_to_both_sides() -> None:
    desk = Desk()
    (event,) = desk.note(InputDtmf("5", 80))
    assert (event["type"], event["event"]) == ("input_audio_buffer.dtmf_event_received", "5")
    assert event["received_at"] == 1_700_000_000
    assert desk.told() == [DtmfReceived(digit="5", duration_ms=80)]


def test_clients_are_told_that_the_server_goes_away() -> None:
    desk = Desk()
    for seconds, source in ((60.0, None), (12.5, "channel"), (1.0, "who has left")):
        desk.core.handle_notice(ServerLeaving(seconds, source), now=desk.now)
    told = []
    while (event := desk.core.poll_event()) is not None:
        told.append((event.source, json.loads(event.text)))
    assert [(source, each["type"], each["seconds"]) for source, each in told] == [
        (None, "voicegate.going_away", 60.0),
        ("channel", "voicegate.going_away", 12.5),
    ]
    assert all(each["event_id"] for _, each in told)


# Turns and responses


def speak(desk: Desk, start_ms: int = 1000, end_ms: int = 2000) -> list[Event]:
    """A whole turn of the user."""
    desk.take_all()
    desk.note(SpeechBegan(start_ms), SpeechEnded(end_ms), TurnOver(end_ms))
    events = [event for _, event in desk.events]
    desk.events = []
    return events


def test_a_turn_becomes_an_item_and_asks_for_a_response() -> None:
    desk = Desk()
    events = speak(desk)
    assert types(events) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert len({event.get("item_id") or event["item"]["id"] for event in events[:5]}) == 1
    assert (events[0]["audio_start_ms"], events[1]["audio_end_ms"]) == (700, 2000)
    added, committed, requested = desk.told()
    assert isinstance(added, ItemAdded)
    assert added.item["content"] == [{"type": "input_audio", "transcript": None}]
    assert isinstance(requested, ResponseRequested)
    assert events[5]["response"]["id"] == requested.response_id
    assert (committed.type, requested.parameters) == ("input.committed", {})


def test_the_client_may_want_turns_without_responses() -> None:
    desk = Desk(session={"audio": {"input": {"turn_detection": {"create_response": False}}}})
    speak(desk)
    assert [notice.type for notice in desk.told()] == ["item.added", "input.committed"]


def test_a_commit_by_the_client_asks_for_no_response() -> None:
    desk = Desk()
    desk.note(SpeechBegan(1000))
    desk.send("input_audio_buffer.commit")
    assert types(desk.note(TurnOver(2000)))[-1] == "conversation.item.done"
    assert types(speak(desk, 3000, 4000))[-1] == "response.created"


def test_a_turn_while_a_response_must_not_be_interrupted_is_answered_afterwards() -> None:
    desk = Desk(session={"audio": {"input": {"turn_detection": {"interrupt_response": False}}}})
    desk.report(ResponseBegan(response_id="long"))
    assert "response.created" not in types(speak(desk))
    events = desk.report(ResponseEnded(response_id="long", status="failed"))
    assert types(events) == ["response.done", "response.created"]


def test_who_speaks_again_is_answered_only_then() -> None:
    desk = Desk(session={"audio": {"input": {"turn_detection": {"interrupt_response": False}}}})
    desk.report(ResponseBegan(response_id="long"))
    speak(desk)
    desk.note(SpeechBegan(3000))
    assert types(desk.report(ResponseEnded(response_id="long", status="failed"))) == ["response.done"]
    assert types(desk.note(TurnOver(4000)))[-1] == "response.created"


def test_a_request_waits_for_an_agent_that_is_slow_to_begin() -> None:
    desk = Desk(taken=False)
    parameters = {"instructions": "Greet."}
    assert desk.send("response.create", event_id="mine", response=parameters) == []
    assert types(desk.report(ConversationTaken(is_raw=False))) == ["response.created"]
    requested = desk.told()[-1]
    assert isinstance(requested, ResponseRequested)
    assert requested.parameters == parameters
    assert desk.wait(10) == []


def test_an_agent_that_does_not_converse_takes_no_requests() -> None:
    desk = Desk(taken=False)
    desk.send("response.create", event_id="mine")
    second = desk.send("response.create", event_id="other")
    assert text_of(second[0]) == "response_create_not_supported None"
    (error,) = desk.wait(AGENT_SECONDS)
    assert (error["error"]["code"], error["error"]["event_id"]) == ("response_create_not_supported", "mine")
    assert text_of(desk.send("response.create")[0]) == "response_create_not_supported None"


def test_when_an_agent_has_gone_the_next_one_may_take_no_part() -> None:
    desk = Desk()
    assert types(desk.send("response.create")) == ["response.created"]
    desk.core.release_agent(now=desk.now)
    assert types(desk.look()) == ["response.done"]
    assert types(desk.note(OutputBegan(None)))[0] == "response.created", "it only speaks"
    desk.note(OutputDrained(None, 1000))
    desk.send("response.create")
    assert text_of(desk.wait(AGENT_SECONDS)[0]) == "response_create_not_supported None"


def test_when_an_agent_has_gone_the_next_one_is_told_all() -> None:
    desk = Desk()
    desk.send("conversation.item.create", item=user_text("hello"))
    desk.core.release_agent(now=desk.now)
    desk.take_all()
    desk.report(ConversationTaken(is_raw=False))
    assert [notice.type for notice in desk.told()] == ["session.updated", "item.added"]
    assert types(desk.send("response.create")) == ["response.created"]


def test_a_request_that_waited_is_refused_if_the_agent_speaks_already() -> None:
    desk = Desk(taken=False)
    desk.note(OutputBegan(None))
    desk.send("response.create", event_id="mine")
    error = desk.report(ConversationTaken(is_raw=False))[-1]
    assert (text_of(error), error["error"]["event_id"]) == (
        "conversation_already_has_active_response None",
        "mine",
    )


def test_a_refusal_for_a_connection_that_is_gone_is_for_nobody() -> None:
    desk = Desk(taken=False)
    desk.core.attach("sideband")
    desk.take_all()
    desk.core.handle_text('{"type":"response.create"}', source="sideband", now=desk.now)
    desk.core.detach("sideband")
    assert desk.wait(AGENT_SECONDS) == []


def test_an_agent_that_takes_over_hears_what_was_said_and_ends_what_was_begun() -> None:
    desk = Desk()
    desk.send("conversation.item.create", item=user_text("Hello", id="mine"))
    desk.report(ResponseBegan(response_id="r"), TranscriptAdded(response_id="r", delta="Hi"))
    desk.take_all()
    assert types(desk.report(ConversationTaken(is_raw=False)))[-1] == "response.done"
    told = desk.told()
    assert [notice.type for notice in told] == ["session.updated", "item.added", "item.added"]
    assert isinstance(told[2], ItemAdded)
    assert told[2].item["content"] == [{"type": "output_audio", "transcript": "Hi"}]
    assert told[2].previous_item_id == "mine"


def test_who_says_nothing_for_long_is_spoken_to() -> None:
    desk = Desk(session={"audio": {"input": {"turn_detection": {"idle_timeout_ms": 5000}}}})
    assert desk.wait(60) == []
    desk.report(ResponseBegan(response_id="r"))
    desk.note(OutputBegan("r"))
    desk.report(ResponseEnded(response_id="r", status="completed"))
    assert "input_audio_buffer.timeout_triggered" not in types(desk.wait(60))
    desk.note(OutputDrained("r", 60_000))
    events = desk.wait(5)
    assert types(events) == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert desk.wait(60) == []


def test_who_speaks_is_not_idle() -> None:
    desk = Desk(session={"audio": {"input": {"turn_detection": {"idle_timeout_ms": 5000}}}})
    desk.report(ResponseBegan(response_id="r"))
    desk.note(OutputBegan("r"))
    desk.report(ResponseEnded(response_id="r", status="completed"))
    desk.note(OutputDrained("r", 1000))
    desk.wait(4)
    desk.note(SpeechBegan(1000))
    assert desk.wait(10) == []


def test_a_session_with_nobody_attached_says_nothing_and_follows_all() -> None:
    desk = Desk(source=None)
    speak(desk)
    assert desk.events == []
    assert desk.core.describe()["items"] == 1
    desk.core.attach("late")
    assert types(desk.look()) == ["session.created"]


def test_events_are_short_json() -> None:
    desk = Desk(taken=False, source=None)
    desk.core.attach("channel")
    out = desk.core.poll_event()
    assert out is not None
    assert json.dumps(json.loads(out.text), separators=(",", ":")) == out.text
