"""Requests to a chat model, and its replies."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.agents.cascade import stub
from voicegate.agents.cascade import CascadeOptions
from voicegate.agents.cascade.chat import MAX_TEXT, ChatReply, Plan, ToolCall, plan_answer
from voicegate.agents.cascade.history import History
from voicegate.errors import WireError

OPTIONS = CascadeOptions(voices=("anna",), instructions="Be kind.")
TOOL = {"type": "function", "name": "get_time", "description": "The time.", "parameters": {"type": "object"}}


def chunk(delta: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, **others}]}


def plan(session: dict[str, Any] | None = None, guess: str | None = None, **parameters: Any) -> Plan:
    history = History(max_items=10)
    return plan_answer(OPTIONS, session=session or {}, parameters=parameters, history=history, guess=guess)


def test_a_reply_is_text_and_calls() -> None:
    reply = ChatReply()
    deltas = [
        *stub.say("It is noon."),
        *stub.call("a", '{"x": 1}'),
        *stub.call("b", "{}", index=1, call_id="2"),
    ]
    assert "".join(reply.handle_chunk(chunk(delta)) for delta in deltas) == "It is noon."
    reply.handle_chunk(chunk({}, finish_reason="tool_calls"))
    assert reply.handle_chunk({"choices": [], "usage": {}}) == ""
    assert reply.handle_chunk({"choices": [{"delta": None}]}) == ""
    assert reply.handle_chunk({"choices": [7]}) == ""
    assert reply.calls == [ToolCall("call_1", "a", '{"x": 1}'), ToolCall("2", "b", "{}")]
    assert reply.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"error": {"message": "overloaded"}},
        {"error": "overloaded"},
        7,
        chunk({"tool_calls": [7]}),
        chunk({"tool_calls": [{"index": 64}]}),
        chunk({"tool_calls": [{"index": "0"}]}),
        chunk({"content": "x" * (MAX_TEXT + 1)}),
    ],
)
def test_what_is_no_chunk_is_refused(value: Any) -> None:
    with pytest.raises(WireError):
        ChatReply().handle_chunk(value)


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "content", "tool_calls", "index", "function", "name", "error"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


deltas = st.dictionaries(st.sampled_from(["content", "tool_calls"]), values | st.lists(values)).map(chunk)


@given(st.lists(values | deltas, max_size=4))
def test_nothing_but_a_wire_error_comes_of_strange_chunks(given_chunks: list[Any]) -> None:
    reply = ChatReply()
    for value in given_chunks:
        with suppress(WireError):
            assert isinstance(reply.handle_chunk(value), str)
    assert all(isinstance(each, ToolCall) for each in reply.calls)


def test_the_session_says_how_to_answer_and_the_response_may_say_otherwise() -> None:
    session = {
        "instructions": "Be brief.",
        "tools": [TOOL, {"type": "mcp", "server_label": "x"}],
        "tool_choice": {"type": "function", "name": "get_time"},
        "max_output_tokens": "inf",
        "audio": {"output": {"voice": "anna", "speed": 1.5}},
    }
    first = plan(session)
    assert first.messages == [{"role": "system", "content": "Be brief."}]
    assert first.body["tools"] == [
        {"type": "function", "function": {key: TOOL[key] for key in ("name", "description", "parameters")}}
    ]
    assert first.body["tool_choice"] == {"type": "function", "function": {"name": "get_time"}}
    assert "max_completion_tokens" not in first.body
    assert (first.voice, first.speed, first.is_spoken) == ("anna", 1.5, True)
    second = plan(session, tools=[], output_modalities=["text"], max_output_tokens=9, instructions="Sing.")
    assert second.messages[0]["content"] == "Sing."
    assert "tools" not in second.body
    assert second.body["max_completion_tokens"] == 9
    assert not second.is_spoken


def test_a_voice_that_the_operator_does_not_list_is_not_used() -> None:
    assert plan({"audio": {"output": {"voice": "someone"}}}).voice == OPTIONS.voice


def test_a_response_may_have_an_input_of_its_own() -> None:
    content = [{"type": "input_text", "text": "translate this"}]
    made = plan(input=[{"type": "message", "role": "user", "content": content}, 7])
    assert made.messages[1:] == [{"role": "user", "content": "translate this"}]


def test_an_answer_to_a_guess_will_do_when_the_words_are_the_same() -> None:
    assert plan(guess="What time is it?").is_good_for(plan(guess="what time is it"))
    assert not plan(guess="what time is it").is_good_for(plan(guess="what time was it"))
    assert not plan(guess="hello").is_good_for(plan({"instructions": "Be brief."}, guess="hello"))
    assert not plan(guess="hello").is_good_for(plan(guess="hello", output_modalities=["text"]))
    assert not plan(guess="hello").is_good_for(plan())
