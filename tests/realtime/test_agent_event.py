import json
import typing
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import WireError
from voicegate.realtime.agent_event import (
    AgentEvent,
    AgentNotice,
    AgentReport,
    InputTranscribed,
    ItemAdded,
    ResponseEnded,
    agent_event_from_json,
    agent_event_to_json,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
CLASSES = typing.get_args(AgentEvent)
FIELD_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "is_raw": st.booleans(),
    "is_final": st.booleans(),
    "reason": st.sampled_from(["turn_detected", "client_cancelled"]),
    "status": st.sampled_from(["completed", "cancelled", "incomplete", "failed"]),
    **dict.fromkeys(["audio_end_ms", "audio_start_ms", "duration_ms"], st.integers()),
    **dict.fromkeys(
        ["session", "item", "parameters", "event"], st.dictionaries(st.text(max_size=5), JSON_VALUES)
    ),
}


@st.composite
def agent_events(draw: st.DrawFn) -> AgentEvent:
    event_class = draw(st.sampled_from(CLASSES))
    fields = {
        field.name: draw(FIELD_VALUES.get(field.name, st.text(max_size=8)))
        for field in attrs.fields(event_class)
    }
    return typing.cast("AgentEvent", event_class(**fields))


@pytest.mark.slow
@given(agent_events())
def test_what_is_written_as_json_is_read_as_the_same(event: AgentEvent) -> None:
    assert agent_event_from_json(json.loads(json.dumps(agent_event_to_json(event)))) == event


@given(JSON_VALUES | st.fixed_dictionaries({"type": st.sampled_from([c.type for c in CLASSES])}))
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(WireError):
        agent_event_from_json(value)


def test_a_field_that_is_missing_has_its_default() -> None:
    event = agent_event_from_json({"type": "input.transcribed", "text": "yes"})
    assert event == InputTranscribed(item_id=None, text="yes", is_final=True)


def test_fields_of_later_versions_are_ignored() -> None:
    value = {"type": "response.ended", "response_id": "r", "status": "failed", "cost": 3}
    assert agent_event_from_json(value) == ResponseEnded(response_id="r", status="failed")


@pytest.mark.parametrize(
    "value",
    [
        {"type": "response.ended", "response_id": "r", "status": "over"},
        {"type": "response.ended", "response_id": 3, "status": "failed"},
        {"type": "conversation.taken", "is_raw": 1},
        {"type": "item.truncated", "item_id": "i", "audio_end_ms": True},
        {"type": "item.added", "item": []},
        {"type": "text.added", "response_id": "r"},
        {"type": ["text.added"]},
    ],
)
def test_a_field_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(WireError):
        agent_event_from_json(value)


def test_every_event_is_a_notice_or_a_report_and_has_a_type_of_its_own() -> None:
    classes = typing.get_args(AgentNotice) + typing.get_args(AgentReport)
    assert set(classes) == set(CLASSES)
    assert len({event_class.type for event_class in classes}) == len(classes) == 18


def test_none_is_written_as_null() -> None:
    assert agent_event_to_json(ItemAdded(item={})) == {
        "type": "item.added",
        "item": {},
        "previous_item_id": None,
    }
