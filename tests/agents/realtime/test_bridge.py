"""The bridge's core: nothing a server sends can hurt it, and its pieces keep their laws."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicegate.agents.realtime.bridge import (
    KEPT_SECONDS,
    MAX_EARLY,
    AudioReceived,
    Bridge,
    BridgeEvent,
    EventReceived,
    ServerExpired,
    SpeechHeard,
)
from voicegate.agents.realtime.dialect import item_for, modern_event, recognise, session_for
from voicegate.agents.realtime.history import MAX_CHARACTERS, MAX_ITEMS, History
from voicegate.agents.realtime.names import Names
from voicegate.agents.realtime.options import RealtimeOptions

KINDS = (
    "error",
    "session.created",
    "session.updated",
    "conversation.item.added",
    "conversation.item.created",
    "conversation.item.done",
    "conversation.item.truncated",
    "conversation.item.input_audio_transcription.completed",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "response.created",
    "response.done",
    "response.audio.delta",
    "response.output_audio.delta",
    "response.output_audio_transcript.delta",
    "response.output_item.done",
)
KEYS = ("item", "item_id", "response", "response_id", "session", "delta", "error", "audio_start_ms", "part")

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=4)
    | st.sampled_from(("AAAA", "resp", "item")),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(("id", "type", "role", "content", "output", "audio", "code")), children
        )
    ),
    max_leaves=8,
)
messages = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)}, optional=dict.fromkeys(KEYS, values)
) | st.dictionaries(st.text(max_size=3), values, max_size=3)


def opened(**options: Any) -> Bridge:
    bridge = Bridge(RealtimeOptions(**options))
    bridge.use_session({"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad"}}}})
    bridge.connected(now=0.0)
    bridge.handle_text('{"type":"session.created","session":{"type":"realtime"}}')
    return bridge


def transmits(bridge: Bridge) -> list[dict[str, Any]]:
    sent = []
    while (text := bridge.poll_transmit()) is not None:
        sent.append(json.loads(text))
    return sent


def events(bridge: Bridge) -> list[BridgeEvent]:
    polled = []
    while (event := bridge.poll_event()) is not None:
        polled.append(event)
    return polled


@pytest.mark.slow
@settings(max_examples=100)
@given(st.lists(messages, max_size=8), st.booleans())
def test_nothing_that_a_server_sends_raises(script: list[Mapping[str, Any]], is_open: bool) -> None:
    bridge = opened() if is_open else Bridge(RealtimeOptions())
    bridge.connected(now=0.0)
    for message in script:
        bridge.handle_text(json.dumps(message))
        bridge.handle_timeout(now=0.5)
    bridge.disconnected("gone")
    bridge.connected(now=1.0)
    bridge.handle_timeout(now=10.0)
    for event in events(bridge):
        assert isinstance(event, EventReceived | AudioReceived | SpeechHeard | ServerExpired)
        if isinstance(event, EventReceived):
            json.dumps(event.event)
    transmits(bridge)


@settings(max_examples=50)
@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda data: data.decode("latin-1")))
def test_no_text_raises(text: str) -> None:
    bridge = opened()
    bridge.handle_text(text)
    assert bridge.dropped <= 1


def test_what_is_heard_without_a_server_is_kept_for_a_while() -> None:
    bridge = Bridge(RealtimeOptions())
    for second in range(KEPT_SECONDS + 5):
        bridge.add_audio(bytes(48_000), position_ms=second * 1000.0)
    bridge.connected(now=0.0)
    bridge.handle_text('{"type":"session.created","session":{}}')
    appended = transmits(bridge)
    assert len(appended) == 1
    assert len(appended[0]["audio"]) == KEPT_SECONDS * 64_000
    started = {"type": "input_audio_buffer.speech_started", "audio_start_ms": 1500, "item_id": "i"}
    bridge.handle_text(json.dumps(started))
    told = [event.event for event in events(bridge) if isinstance(event, EventReceived)]
    assert told[-1]["audio_start_ms"] == 6500, "by the call's clock"


def heard(bridge: Bridge) -> bytes:
    """Return what the server is told of the user's voice."""
    sent = transmits(bridge)
    return b"".join(base64.b64decode(event["audio"]) for event in sent if event["type"].endswith("append"))


@pytest.mark.parametrize(
    "end", ["input_audio_buffer.committed", "input_audio_buffer.cleared", "response.created", None]
)
def test_a_question_that_was_cut_off_is_heard_whole_by_the_next_server(end: str | None) -> None:
    bridge = opened()
    bridge.add_audio(b"\1\0" * 2400, position_ms=0.0)
    bridge.handle_text('{"type":"input_audio_buffer.speech_started","audio_start_ms":0,"item_id":"i"}')
    if end is not None:
        bridge.handle_text(json.dumps({"type": end, "item_id": "i"}))
    bridge.add_audio(b"\2\0" * 2400, position_ms=100.0)
    assert heard(bridge) == b"\1\0" * 2400 + b"\2\0" * 2400
    bridge.disconnected("gone")
    bridge.add_audio(b"\3\0" * 2400, position_ms=200.0)
    bridge.connected(now=1.0)
    bridge.handle_text('{"type":"session.created","session":{"type":"realtime"}}')
    begun = b"" if end else b"\1\0" * 2400
    assert heard(bridge) == begun + b"\2\0" * 2400 + b"\3\0" * 2400
    bridge.handle_text('{"type":"input_audio_buffer.speech_started","audio_start_ms":50,"item_id":"j"}')
    told = [event.event for event in events(bridge) if isinstance(event, EventReceived)]
    assert told[-1]["audio_start_ms"] == (150 if end else 50), "by the call's clock"


def test_what_the_client_clears_no_server_hears() -> None:
    bridge = opened()
    bridge.add_audio(bytes(4800), position_ms=0.0)
    bridge.disconnected("gone")
    bridge.handle_client_event({"type": "input_audio_buffer.clear"}, now=0.0)
    transmits(bridge)
    bridge.connected(now=1.0)
    bridge.handle_text('{"type":"session.created","session":{"type":"realtime"}}')
    assert heard(bridge) == b""


def test_early_events_are_bounded_and_come_after_the_session() -> None:
    bridge = Bridge(RealtimeOptions())
    for number in range(MAX_EARLY + 3):
        bridge.handle_client_event({"type": "conversation.item.retrieve", "item_id": str(number)}, now=0.0)
    refused = [event.event for event in events(bridge) if isinstance(event, EventReceived)]
    assert [event["error"]["code"] for event in refused] == ["upstream_lost"] * 3
    bridge.use_session({"type": "realtime"})
    bridge.connected(now=0.0)
    bridge.handle_timeout(now=5.0)
    kinds = [event["type"] for event in transmits(bridge)]
    assert kinds == ["session.update"] + ["conversation.item.retrieve"] * MAX_EARLY


def test_without_a_server_the_client_is_answered_by_the_bridge() -> None:
    bridge = opened()
    bridge.disconnected("gone")
    events(bridge)
    for event in (
        {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": []}},
        {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 5},
        {"type": "conversation.item.delete", "item_id": "i"},
        {"type": "input_audio_buffer.clear"},
        {"type": "input_audio_buffer.commit"},
        {"type": "response.cancel"},
        {"type": "session.update", "session": {"instructions": "new"}},
        {"type": "conversation.item.retrieve", "item_id": "i", "event_id": "mine"},
    ):
        bridge.handle_client_event(event, now=0.0)
    told = [event.event for event in events(bridge) if isinstance(event, EventReceived)]
    assert [event["type"] for event in told] == [
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.truncated",
        "conversation.item.deleted",
        "input_audio_buffer.cleared",
        "session.updated",
        "error",
    ]
    assert told[-1]["error"]["event_id"] == "mine"
    bridge.connected(now=1.0)
    bridge.handle_timeout(now=5.0)
    assert transmits(bridge)[0]["session"]["instructions"] == "new"


def test_an_item_is_replayed_in_the_words_that_were_heard() -> None:
    history = History()
    history.add({"id": "a", "type": "message", "role": "user", "content": [{"type": "input_audio"}]})
    history.add_words("a", "How are you?", is_all=True)
    history.add({"id": "b", "type": "message", "role": "assistant", "content": []})
    history.add_words("b", "Very well ", is_all=False)
    history.add_words("b", "thank you.", is_all=False)
    history.add_audio("b", 1000.0)
    history.truncate("b", 500)
    history.add({"id": "c", "type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"})
    history.add({"id": "d", "type": "function_call", "call_id": "2", "name": "g", "arguments": "{}"})
    history.add({"id": "e", "type": "function_call_output", "call_id": "2", "output": "x"})
    history.add({"id": "f", "type": "message", "role": "user", "content": [{"type": "input_audio"}]})
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    history.add({"id": "g", "type": "message", "role": "user", "content": [picture]})
    history.add({"no": "id"})
    items = history.items()
    assert [item["id"] for item in items] == ["a", "b", "d", "e", "g"]
    assert items[0]["content"] == [{"type": "input_text", "text": "How are you?"}]
    assert items[1]["content"] == [{"type": "output_text", "text": "Very well"}]
    assert items[4]["content"] == [picture]


def test_a_history_is_bounded() -> None:
    history = History()
    for number in range(MAX_ITEMS + 10):
        history.add({"id": str(number), "type": "message", "role": "user", "content": []})
    assert "0" not in history
    assert str(MAX_ITEMS + 9) in history
    for name in ("long", "longer"):
        history.add({"id": name, "type": "message", "role": "user", "content": []})
        history.add_words(name, "x" * (2 * MAX_CHARACTERS), is_all=False)
    assert [item["id"] for item in history.items()] == ["longer"]


def test_a_dialect_is_recognised_by_what_only_it_has() -> None:
    assert recognise({"type": "session.created", "session": {"modalities": ["text"]}}) == "beta"
    assert recognise({"type": "session.created", "session": {"type": "realtime"}}) == "ga"
    assert recognise({"type": "response.audio.delta"}) == "beta"
    assert recognise({"type": "response.output_audio.delta"}) == "ga"
    assert recognise({"type": "conversation.item.created"}) is None
    assert recognise({"type": "response.done"}) is None


def test_a_session_in_beta_has_its_old_words_and_none_it_does_not_know() -> None:
    whole = {
        "type": "realtime",
        "model": "m",
        "instructions": "hi",
        "output_modalities": ["text"],
        "max_output_tokens": 10,
        "tracing": None,
        "audio": {
            "input": {"format": {"type": "audio/pcm", "rate": 24_000}, "turn_detection": None},
            "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
        },
    }
    assert session_for("beta", whole) == {
        "instructions": "hi",
        "modalities": ["text"],
        "input_audio_format": "pcm16",
        "output_audio_format": "g711_ulaw",
        "voice": "marin",
        "max_response_output_tokens": 10,
        "turn_detection": None,
    }
    assert session_for("ga", whole)["audio"] == whole["audio"]


@given(st.sampled_from(("user", "assistant", "system")), st.text(max_size=5))
def test_an_item_in_beta_is_the_same_item_when_it_comes_back(role: str, text: str) -> None:
    kind = "output_text" if role == "assistant" else "input_text"
    item = {"id": "i", "type": "message", "role": role, "content": [{"type": kind, "text": text}]}
    event = {"type": "conversation.item.created", "item": item_for("beta", item)}
    assert modern_event(event) == {"type": "conversation.item.added", "item": item}


def test_an_item_renamed_by_the_server_keeps_its_name_for_the_client() -> None:
    names = Names()
    told = {"id": "ours", "type": "message", "role": "user", "content": []}
    names.expect_item(told)
    assert names.is_replayed({**told, "id": "theirs"}, is_last=False)
    assert names.is_replayed({**told, "id": "theirs"}, is_last=True)
    assert not names.is_replayed({**told, "id": "theirs"}, is_last=False)
    assert names.inner("ours") == "theirs"
    event = names.outer_event(
        {"type": "x", "item_id": "theirs", "item": {"id": "theirs"}, "response_id": "r"}
    )
    assert event == {"type": "x", "item_id": "ours", "item": {"id": "ours"}, "response_id": "r"}
    assert names.inner_event(event)["item_id"] == "theirs"


def test_what_a_client_gets_wrong_is_told_and_no_server_hears_of_it() -> None:
    bridge = opened()
    transmits(bridge)
    events(bridge)
    bridge.handle_client_event({"type": "conversation.item.truncate", "event_id": "mine"}, now=0.0)
    (told,) = [event.event for event in events(bridge) if isinstance(event, EventReceived)]
    assert told["error"]["type"] == "invalid_request_error"
    assert told["error"]["event_id"] == "mine"
    assert transmits(bridge) == []


def test_speech_does_not_stop_an_answer_when_the_client_wants_it_so() -> None:
    bridge = opened()
    detection = {"type": "server_vad", "interrupt_response": False}
    session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
    bridge.handle_client_event({"type": "session.update", "session": session}, now=0.0)
    bridge.handle_text('{"type":"response.created","response":{"id":"r"}}')
    bridge.handle_text('{"type":"input_audio_buffer.speech_started","audio_start_ms":0,"item_id":"i"}')
    assert not any(isinstance(event, SpeechHeard) for event in events(bridge))
    assert "response.cancel" not in [event["type"] for event in transmits(bridge)]
