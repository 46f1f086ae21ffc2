from typing import Any

import pytest

from voicegate.realtime.fault import EventRefused
from voicegate.realtime.live_config import MAX_HISTORY, LiveConfig
from voicegate.realtime.session_config import MAX_SESSION

Json = dict[str, Any]

FUNCTION = {"type": "function", "name": "time"}
MESSAGE = {"role": "user", "content": [{"type": "input_text", "text": "Hello."}]}


def read(**session: Any) -> LiveConfig:
    return LiveConfig.read({"model": "gpt-live-1", **session})


def responses(**settings: Any) -> Json:
    return {"type": "responses", "responses": {"model": "gpt", **settings}}


def channel(**permissions: Any) -> Json:
    return {"data_channel": permissions}


def test_what_is_not_said_is_as_it_is_by_default() -> None:
    config = read(instructions=None, delegation=None, client=None, triggers=[], audio={}, store=True)
    assert config == LiveConfig(model="gpt-live-1")
    assert (config.voice, config.delegation) == ("marin", {"type": "client"})
    assert config.resource(session_id="live_1", expires_at=None)["store"] is False, "nothing is ever stored"


def test_everything_that_is_known_is_taken() -> None:
    config = read(
        audio={"output": {"voice": {"id": "voice_1"}}},
        client=channel(allowed_client_events="all", allowed_server_events="all"),
        delegation={**responses(tools=[FUNCTION, {"type": "web_search"}]), "acknowledgement_delay_ms": 400},
        input=[{**MESSAGE, "type": "message", "id": "x", "status": "incomplete"}],
        instructions="Be brief.",
        safety_identifier="user_1",
        store=False,
    )
    resource = config.resource(session_id="live_1", expires_at=5)
    assert resource["audio"]["output"]["voice"] == {"id": "voice_1"}
    assert resource["safety_identifier"] == "user_1"
    assert resource["delegation"]["acknowledgement_delay_ms"] == 400
    told = config.for_agent(session_id="live_1", expires_at=5)
    assert told["tools"] == [FUNCTION], "agents have no web search"
    assert told["live"] == resource
    assert config.may_send("session.update")
    assert config.may_receive({"type": "error"})


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"model": None}, "missing_required_parameter", "session.model"),
        ({"tools": []}, "unknown_parameter", "session.tools"),
        ({"audio": {"input": {}}}, "unknown_parameter", "session.audio.input"),
        ({"audio": {"output": {"speed": 2}}}, "unknown_parameter", "session.audio.output.speed"),
        ({"audio": {"output": {"voice": 5}}}, "invalid_type", "session.audio.output.voice"),
        ({"audio": {"output": {"voice": {}}}}, "missing_required_parameter", "session.audio.output.voice.id"),
        ({"store": "yes"}, "invalid_type", "session.store"),
        ({"triggers": [{}]}, "unsupported_parameter", "session.triggers"),
        ({"instructions": ["x"]}, "invalid_type", "session.instructions"),
        ({"instructions": "x" * MAX_SESSION}, "session_too_large", "session"),
        ({"delegation": {}}, "missing_required_parameter", "session.delegation.type"),
        ({"delegation": {"type": "decisions"}}, "unsupported_parameter", "session.delegation.type"),
        ({"delegation": {"type": "nobody"}}, "invalid_value", "session.delegation.type"),
        (
            {"delegation": {"type": "client", "responses": {}}},
            "unknown_parameter",
            "session.delegation.responses",
        ),
        (
            {"delegation": {"type": "responses"}},
            "missing_required_parameter",
            "session.delegation.responses",
        ),
        (
            {"delegation": responses(temperature=1)},
            "unknown_parameter",
            "session.delegation.responses.temperature",
        ),
        (
            {"delegation": responses(tools=[{"type": "function"}])},
            "missing_required_parameter",
            "session.delegation.responses.tools[0].name",
        ),
        ({"input": [MESSAGE] * (MAX_HISTORY + 1)}, "array_above_max_length", "session.input"),
        ({"input": [{**MESSAGE, "content": []}]}, "invalid_value", "session.input[0].content"),
        ({"input": [{**MESSAGE, "role": "system"}]}, "invalid_value", "session.input[0].role"),
        (
            {"input": [{**MESSAGE, "content": [{"type": "input_image"}]}]},
            "invalid_value",
            "session.input[0].content[0].type",
        ),
        ({"client": {}}, "missing_required_parameter", "session.client.data_channel"),
        (
            {"client": channel(allowed_client_events=[1])},
            "invalid_type",
            "session.client.data_channel.allowed_client_events",
        ),
        (
            {"client": channel(allowed_server_events=[{"type": "response.event"}])},
            "invalid_value",
            "session.client.data_channel.allowed_server_events[0].response_event",
        ),
        (
            {"client": channel(allowed_server_events=[{"type": "error", "response_event": "x"}])},
            "invalid_value",
            "session.client.data_channel.allowed_server_events[0].response_event",
        ),
    ],
)
def test_what_is_unknown_or_wrong_is_refused_with_its_path(session: Json, code: str, param: str) -> None:
    with pytest.raises(EventRefused) as refused:
        read(**session)
    assert (refused.value.code, refused.value.param) == (code, param)


def test_a_page_without_permissions_sends_and_sees_nothing() -> None:
    config = read(client=channel(allowed_client_events=[], allowed_server_events=[]))
    assert not config.may_send("session.close")
    assert not config.may_receive({"type": "session.started"})
    assert read(client=channel()).may_send("session.close")


def test_an_update_changes_what_it_names_and_nothing_else() -> None:
    config = read(delegation={**responses(tools=[FUNCTION]), "acknowledgement_delay_ms": 400})
    changed = config.update({"delegation": {"type": "responses", "responses": {"instructions": "Tell it."}}})
    assert changed.delegation == {
        **responses(tools=[FUNCTION], instructions="Tell it."),
        "acknowledgement_delay_ms": 400,
    }
    same = {"delegation": {"type": "responses", "responses": None, "acknowledgement_delay_ms": None}}
    assert config.update(same) == config
    client = read(delegation={"type": "client"})
    later = client.update({"delegation": {"type": "client", "acknowledgement_delay_ms": 100}})
    assert later.delegation == {"type": "client", "acknowledgement_delay_ms": 100}
    with pytest.raises(EventRefused, match="responses"):
        client.update({"delegation": {"type": "client", "responses": {}}})
