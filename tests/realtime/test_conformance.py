"""The tables of docs/realtime.md, held against the types of the `openai` package and against the tests."""

import ast
import base64
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.realtime.desk import CLIENT_EVENTS, SERVER_EVENTS, Desk, user_text
from tests.realtime.test_responder import MCP_CALL
from voicegate.realtime.agent_event import (
    FunctionCalled,
    InputTranscribed,
    McpCalled,
    ResponseBegan,
    ResponseEnded,
    TextAdded,
    TranscriptAdded,
)
from voicegate.realtime.client_event import CLIENT_EVENTS as READ_EVENTS
from voicegate.realtime.client_event import read_client_event
from voicegate.realtime.field import Fields
from voicegate.realtime.notice import (
    InputDtmf,
    OutputBegan,
    OutputDrained,
    OutputInterrupted,
    SpeechBegan,
    TurnOver,
)

TESTS = Path(__file__).parents[1]
DOCUMENT = (TESTS.parent / "docs" / "realtime.md").read_text()
SESSION = {
    "audio": {"input": {"transcription": {"model": "whisper-1"}, "turn_detection": {"idle_timeout_ms": 5000}}}
}


def rows(heading: str) -> dict[str, tuple[str, str]]:
    """A table of the document: its first column and what stands beside it."""
    section = DOCUMENT.split(f"### {heading}\n")[1].split("\n### ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name.strip("`"): (status, test.strip("`")) for name, status, test in cells}


@cache
def names_of_tests(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("name", sorted(set(re.findall(r"[\w/]+\.py::\w+", DOCUMENT))))
def test_each_test_that_the_document_names_is_there(name: str) -> None:
    path, _, test = name.partition("::")
    assert test in names_of_tests(TESTS / path)


@pytest.mark.parametrize("heading", ["Events of the client", "Events of the server", "Routes", "Clients"])
def test_what_is_supported_has_a_test_and_nothing_else_does(heading: str) -> None:
    for name, (status, test) in rows(heading).items():
        assert status.startswith("supported") == bool(test), name


def test_every_event_of_the_client_has_its_row_and_is_read() -> None:
    assert rows("Events of the client").keys() == CLIENT_EVENTS.keys() == READ_EVENTS.keys()


def test_every_event_of_the_server_has_its_row() -> None:
    assert rows("Events of the server").keys() == SERVER_EVENTS.keys()


EXAMPLES: dict[str, Any] = {
    "session": {"type": "realtime"},
    "audio": "AAAA",
    "item": user_text("x"),
    "item_id": "i",
    "content_index": 0,
    "audio_end_ms": 10,
}


@pytest.mark.parametrize("kind", sorted(CLIENT_EVENTS))
def test_what_the_package_takes_for_an_event_of_the_client_is_read(kind: str) -> None:
    model = CLIENT_EVENTS[kind]
    fields = {
        name: EXAMPLES[name]
        for name, field in model.model_fields.items()
        if field.is_required() and name != "type"
    }
    event = {"type": kind, **fields}
    model.model_validate(event, strict=True)
    assert read_client_event(Fields(event)) is not None


def test_every_event_that_is_supported_is_produced_as_the_package_has_it() -> None:
    desk = Desk(session=SESSION)
    desk.send("session.update", session={"instructions": "Be brief."})
    desk.send("nonsense")
    desk.send("conversation.item.create", item=user_text("Hello", id="mine"))
    desk.send("conversation.item.retrieve", item_id="mine")
    desk.send("conversation.item.delete", item_id="mine")
    desk.send("input_audio_buffer.clear")
    desk.report(ResponseBegan(response_id="a"), TranscriptAdded(response_id="a", delta="Hello"))
    desk.report(TextAdded(response_id="a", delta="Hello"))
    desk.report(FunctionCalled(response_id="a", call_id="c", name="n", arguments="{}"))
    for item in (
        MCP_CALL,
        {**MCP_CALL, "error": {"type": "tool_execution_error", "message": "no"}},
        {"type": "mcp_list_tools", "server_label": "docs", "tools": []},
    ):
        desk.report(McpCalled(response_id="a", item=item))
    desk.note(OutputBegan("a"))
    desk.report(ResponseEnded(response_id="a", status="completed"))
    desk.note(OutputDrained("a", 900))
    desk.wait(5)
    desk.report(TranscriptAdded(response_id="x", delta="dropped"), ResponseBegan(response_id="b"))
    desk.note(OutputBegan("b"), SpeechBegan(9000), OutputInterrupted("b", 100, 200))
    desk.report(InputTranscribed(text="He", is_final=False), InputTranscribed(text="Hello"))
    desk.note(TurnOver(10_000), InputDtmf("5", 80))
    socket = Desk("websocket")
    socket.send("input_audio_buffer.append", audio=base64.b64encode(bytes(480)).decode())
    socket.output(None, bytes(480))
    table = rows("Events of the server")
    assert desk.kinds | socket.kinds == {
        kind for kind, (status, _) in table.items() if status.startswith("supported")
    }
