from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeSessionCreateRequest, RealtimeSessionCreateResponse

from tests.realtime.test_agent_event import JSON_VALUES
from voicegate.realtime.action import DetectSpeech, StopDetecting
from voicegate.realtime.fault import EventRefused
from voicegate.realtime.session_config import detection, new_session, update_session

Session = dict[str, Any]


def made(session: Session | None = None) -> Session:
    return new_session(session, session_id="sess_1", model="", expires_at=7)


def updated(update: Any, *, before: Session | None = None, has_spoken: bool = False) -> Session:
    return update_session(before or made(), update, has_spoken=has_spoken)


def test_the_defaults_are_those_of_the_service() -> None:
    assert made() == {
        "type": "realtime",
        "object": "realtime.session",
        "id": "sess_1",
        "model": "",
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "include": None,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                    "idle_timeout_ms": None,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0},
        },
        "expires_at": 7,
    }
    RealtimeSessionCreateResponse.model_validate(made(), strict=True)


def test_only_what_an_update_names_changes() -> None:
    session = updated({"type": "realtime", "instructions": "Be brief.", "audio": {"output": {"speed": 1.5}}})
    assert session == {
        **made(),
        "instructions": "Be brief.",
        "audio": {
            "input": made()["audio"]["input"],
            "output": {**made()["audio"]["output"], "speed": 1.5},
        },
    }


def test_null_makes_a_field_what_it_is_by_default() -> None:
    changed = updated({"instructions": "Be brief.", "audio": {"output": {"voice": "ash"}}})
    assert updated({"instructions": None, "audio": {"output": {"voice": None}}}, before=changed) == made()


def test_null_turns_detection_off_and_an_object_turns_it_on() -> None:
    off = updated({"audio": {"input": {"turn_detection": None}}})
    assert off["audio"]["input"]["turn_detection"] is None
    assert detection(off) == StopDetecting()
    on = updated({"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}, before=off)
    assert on == made()


def test_detection_keeps_what_was_set_unless_its_type_changes() -> None:
    first = updated({"audio": {"input": {"turn_detection": {"threshold": 0.7}}}})
    second = updated({"audio": {"input": {"turn_detection": {"silence_duration_ms": 900}}}}, before=first)
    assert detection(second) == DetectSpeech(
        silence_ms=900, threshold=0.7, prefix_ms=300, barge_in=True, eagerness=None
    )
    semantic = updated(
        {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}}, before=second
    )
    assert semantic["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "low",
        "create_response": True,
        "interrupt_response": True,
    }
    assert detection(semantic) == DetectSpeech(
        silence_ms=1000, threshold=0.5, prefix_ms=300, barge_in=True, eagerness="low"
    )


def test_semantic_detection_is_of_medium_eagerness_by_default() -> None:
    action = detection(updated({"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}))
    assert isinstance(action, DetectSpeech)
    assert (action.eagerness, action.silence_ms) == ("medium", 700)


def test_the_client_cannot_change_what_is_ours() -> None:
    session = updated({"id": "sess_2", "object": "x", "expires_at": 1, "model": "gpt-realtime"})
    assert session == {**made(), "model": "gpt-realtime"}
    assert updated({"model": "another"}, before=session) == session


def test_fields_that_the_api_does_not_know_are_kept_for_the_agent() -> None:
    session = updated({"persona": {"name": "Ada"}, "audio": {"input": {"turn_detection": {"model": "x"}}}})
    assert session["persona"] == {"name": "Ada"}
    assert session["audio"]["input"]["turn_detection"]["model"] == "x"


FUNCTION = {"type": "function", "name": "clock", "description": "", "parameters": {"type": "object"}}
MCP = {
    "type": "mcp",
    "server_label": "docs",
    "server_url": "https://example.org",
    "headers": {"a": "b"},
    "allowed_tools": ["x"],
    "require_approval": {"never": {"tool_names": ["x"]}},
}


@pytest.mark.parametrize(
    "update",
    [
        {"tools": [FUNCTION, MCP]},
        {"tools": [{**MCP, "allowed_tools": {"read_only": True}, "require_approval": "always"}]},
        {"tool_choice": {"type": "function", "name": "clock"}},
        {"tool_choice": {"type": "mcp", "server_label": "docs"}},
        {"tool_choice": "required"},
        {"max_output_tokens": 4096},
        {"max_output_tokens": "inf"},
        {"output_modalities": ["text"]},
        {"truncation": {"type": "retention_ratio", "retention_ratio": 0.8}},
        {"tools": [{"type": "mcp", "server_label": "docs", "connector_id": "connector_gmail"}]},
        {"tracing": "auto"},
        {"tracing": {"workflow_name": "w", "group_id": "g", "metadata": {}}},
        {"prompt": {"id": "pmpt_1"}},
        {"reasoning": {"effort": "low"}},
        {"include": ["item.input_audio_transcription.logprobs"]},
        {"audio": {"output": {"voice": {"id": "voice_1"}}}},
        {"audio": {"input": {"format": {"type": "audio/pcmu"}, "noise_reduction": {"type": "near_field"}}}},
        {"audio": {"input": {"transcription": {"model": "whisper-1", "language": "en"}}}},
        {"audio": {"input": {"turn_detection": {"idle_timeout_ms": 6000}}}},
    ],
)
def test_what_the_api_allows_is_taken_and_shown(update: Session) -> None:
    session = updated(update)
    RealtimeSessionCreateRequest.model_validate(session, strict=True)
    for key, value in update.items():
        assert key == "audio" or session[key] == value


@pytest.mark.parametrize(
    ("update", "code", "param"),
    [
        ([], "invalid_type", "session"),
        ({"type": "transcription"}, "unsupported_value", "session.type"),
        ({"type": "live"}, "invalid_value", "session.type"),
        ({"instructions": 3}, "invalid_type", "session.instructions"),
        ({"output_modalities": ["audio", "text"]}, "invalid_value", "session.output_modalities"),
        ({"output_modalities": "audio"}, "invalid_type", "session.output_modalities"),
        ({"max_output_tokens": 0}, "invalid_value", "session.max_output_tokens"),
        ({"max_output_tokens": 4097}, "invalid_value", "session.max_output_tokens"),
        ({"max_output_tokens": 2.5}, "invalid_value", "session.max_output_tokens"),
        ({"max_output_tokens": True}, "invalid_type", "session.max_output_tokens"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
        ({"tools": [{"name": "x"}]}, "missing_required_parameter", "session.tools[0].type"),
        ({"tools": ["x"]}, "invalid_type", "session.tools[0]"),
        ({"tools": [{}] * 2000}, "array_above_max_length", "session.tools"),
        (
            {"tools": [{"type": "mcp", "server_label": "x"}]},
            "missing_required_parameter",
            "session.tools[0].server_url",
        ),
        ({"tools": [{**MCP, "headers": {"a": 1}}]}, "invalid_type", "session.tools[0].headers.a"),
        ({"tools": [{**MCP, "allowed_tools": [1]}]}, "invalid_type", "session.tools[0].allowed_tools"),
        ({"tool_choice": "some"}, "invalid_value", "session.tool_choice"),
        ({"tool_choice": {"type": "function"}}, "missing_required_parameter", "session.tool_choice.name"),
        ({"truncation": "never"}, "invalid_value", "session.truncation"),
        (
            {"truncation": {"type": "retention_ratio", "retention_ratio": 2}},
            "invalid_value",
            "session.truncation.retention_ratio",
        ),
        ({"audio": []}, "invalid_type", "session.audio"),
        ({"audio": {"input": 1}}, "invalid_type", "session.audio.input"),
        ({"audio": {"output": {"speed": 2}}}, "invalid_value", "session.audio.output.speed"),
        ({"audio": {"output": {"voice": 2}}}, "invalid_type", "session.audio.output.voice"),
        ({"voice": "ash", "audio": {"output": 3}}, "invalid_type", "session.audio.output"),
        (
            {"audio": {"output": {"voice": {}}}},
            "missing_required_parameter",
            "session.audio.output.voice.id",
        ),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
            "invalid_value",
            "session.audio.input.format.rate",
        ),
        (
            {"audio": {"input": {"format": {"type": "audio/opus"}}}},
            "invalid_value",
            "session.audio.input.format.type",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "none"}}}},
            "invalid_value",
            "session.audio.input.turn_detection.type",
        ),
        (
            {"audio": {"input": {"turn_detection": {"threshold": 1.1}}}},
            "invalid_value",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"audio": {"input": {"turn_detection": {"idle_timeout_ms": 10}}}},
            "invalid_value",
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
        ({"instructions": "x" * 1_100_000}, "session_too_large", "session"),
    ],
)
def test_what_the_api_does_not_allow_is_refused_by_its_path(update: Any, code: str, param: str) -> None:
    with pytest.raises(EventRefused) as caught:
        updated(update)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_the_voice_stays_once_it_was_heard() -> None:
    with pytest.raises(EventRefused, match="Cannot update a conversation's voice") as caught:
        updated({"audio": {"output": {"voice": "ash"}}}, has_spoken=True)
    assert caught.value.code == "cannot_update_voice"
    assert updated({"audio": {"output": {"voice": "alloy"}}}, has_spoken=True) == made()


def test_sessions_in_the_words_of_the_beta_are_understood() -> None:
    session = updated(
        {
            "modalities": ["text", "audio"],
            "voice": "ash",
            "input_audio_format": "pcm16",
            "output_audio_format": "g711_ulaw",
            "input_audio_transcription": {"model": "whisper-1"},
            "turn_detection": None,
            "max_response_output_tokens": 100,
        }
    )
    assert session["output_modalities"] == ["audio"]
    assert session["max_output_tokens"] == 100
    assert session["audio"] == {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": {"model": "whisper-1"},
            "noise_reduction": None,
            "turn_detection": None,
        },
        "output": {"format": {"type": "audio/pcmu"}, "voice": "ash", "speed": 1.0},
    }
    assert "voice" not in session


KNOWN = st.sampled_from(
    ["type", "audio", "input", "output", "tools", "turn_detection", "voice", "format", "modalities"]
)
ANYTHING = st.recursive(
    JSON_VALUES,
    lambda inner: st.dictionaries(KNOWN, inner, max_size=5) | st.lists(inner, max_size=2),
    max_leaves=8,
)


@pytest.mark.slow
@given(st.lists(ANYTHING, max_size=3))
def test_whatever_is_asked_for_the_session_stays_one(updates: list[Any]) -> None:
    session = made()
    for update in updates:
        try:
            session = update_session(session, update, has_spoken=False)
        except EventRefused:
            continue
        RealtimeSessionCreateRequest.model_validate(session)
        detection(session)
