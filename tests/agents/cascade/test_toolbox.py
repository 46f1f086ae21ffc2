"""Tools of a real MCP server, in a process of its own."""

import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import trio

from tests.agents.cascade.stub import Stub, call, open_stub, say
from tests.agents.cascade.test_conversation import ask, talk
from voicegate.testing.agent import Caller

pytestmark = pytest.mark.slow

NOTES = {"command": [sys.executable, "-m", "tests.agents.cascade.mcp_server"]}


def reply_with(*calls: Any) -> Any:
    """Return replies that call a tool first and tell what came of it then."""

    def reply(messages: list[Any]) -> list[Any]:
        last = messages[-1]
        return say(f"Done: {last['content']}") if last["role"] == "tool" else [*calls]

    return reply


def listed_tools(caller: Caller) -> list[Any]:
    """Return what the client has been told of MCP servers."""
    done = [event["item"] for event in caller.events if event["type"] == "conversation.item.done"]
    return [item for item in done if item["type"] == "mcp_list_tools"]


def items(stub: Stub) -> list[str]:
    return [each["role"] for each in stub.asked("completions")[-1].json["messages"]]


async def test_the_model_uses_tools_of_the_operator() -> None:
    reply = reply_with(*call("notes__read_note", '{"name": "monday"}'))
    async with open_stub(reply=reply) as stub, talk(stub, mcp={"notes": NOTES}) as caller:
        done = await ask(caller, "what is in the note of monday", output_modalities=["text"])
        used, said = done["output"]
        (listed,) = listed_tools(caller)
        offered = [each["function"] for each in stub.asked("completions")[0].json["tools"]]
    assert {each["name"] for each in offered} == {"notes__read_note", "notes__delete_note"}
    assert offered[0]["parameters"]["required"] == ["name"]
    assert (listed["type"], listed["server_label"]) == ("mcp_list_tools", "notes")
    assert {tool["name"] for tool in listed["tools"]} == {"read_note", "delete_note"}
    assert (used["type"], used["name"], used["output"]) == ("mcp_call", "read_note", "monday: buy milk")
    assert said["content"][0]["text"] == "Done: monday: buy milk"
    assert items(stub) == ["system", "user", "assistant", "tool"]


async def test_a_tool_that_fails_is_told_to_the_model() -> None:
    reply = reply_with(*call("notes__read_note", '{"name": "lost"}'))
    async with open_stub(reply=reply) as stub, talk(stub, mcp={"notes": NOTES}) as caller:
        done = await ask(caller, "read it", output_modalities=["text"])
    message = done["output"][0]["error"]["message"]
    assert "read_note" in message
    assert done["output"][1]["content"][0]["text"] == f"Done: {message}"


async def test_a_client_may_be_asked_first_and_may_want_fewer_tools() -> None:
    wanted = {
        "type": "mcp",
        "server_label": "anything",
        "connector_id": "notes",
        "allowed_tools": ["delete_note"],
        "require_approval": "always",
    }
    reply = reply_with(*call("notes__delete_note", '{"name": "monday"}'))
    async with (
        open_stub(reply=reply) as stub,
        talk(stub, {"tools": [wanted]}, mcp={"notes": NOTES}) as caller,
    ):
        for approves, content in ((False, "the user did not allow this"), (True, "deleted monday")):
            done = await ask(caller, "delete it", output_modalities=["text"])
            request = done["output"][-1]
            assert request["type"] == "mcp_approval_request"
            item = {
                "type": "mcp_approval_response",
                "approval_request_id": request["id"],
                "approve": approves,
            }
            caller.send_event({"type": "conversation.item.create", "item": item})
            caller.send_event({"type": "response.create", "response": {"output_modalities": ["text"]}})
            done = (await caller.wait_event("response.done"))["response"]
            assert done["output"][-1]["content"][0]["text"] == f"Done: {content}"
        assert done["output"][0]["type"] == "mcp_call"
        names = [each["function"]["name"] for each in stub.asked("completions")[0].json["tools"]]
        assert names == ["notes__delete_note"]


async def test_servers_that_clients_name_are_not_connected_to() -> None:
    async with open_stub() as stub:
        tool = {"type": "mcp", "server_label": "theirs", "server_url": stub.url}
        async with talk(stub, {"tools": [tool]}) as caller:
            done = await ask(caller, "hello", output_modalities=["text"])
    assert done["status"] == "completed"
    assert [each["server_label"] for each in listed_tools(caller)] == ["theirs"]
    assert {each.path.rpartition("/")[2] for each in stub.requests} == {"completions"}


async def test_a_model_that_only_calls_tools_is_stopped() -> None:
    def reply(_messages: list[Any]) -> list[Any]:
        return call("notes__read_note", '{"name": "monday"}')

    async with open_stub(reply=reply) as stub, talk(stub, mcp={"notes": NOTES}) as caller:
        done = await ask(caller, "read it", output_modalities=["text"])
    assert done["status"] == "failed"
    assert "still calling tools" in str(done["status_details"])


async def test_a_client_that_may_names_a_server_until_it_does_no_more() -> None:
    tool = {
        "type": "mcp",
        "server_label": "theirs",
        "authorization": "secret",
        "headers": {"x-client": "yes"},
        "require_approval": {"never": {"tool_names": ["read_note"]}},
        "allowed_tools": {"tool_names": ["read_note"]},
    }
    reply = reply_with(*call("theirs__read_note", '{"name": "monday"}'))
    command = [sys.executable, "-m", "tests.agents.cascade.mcp_server", "http"]
    async with trio.open_nursery() as nursery, open_stub(reply=reply) as stub:
        process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE))
        tool["server_url"] = (await process.stdout.receive_some()).decode().strip()
        async with talk(stub, {"tools": [tool]}, allows_client_mcp=True) as caller:
            done = await ask(caller, "read it", output_modalities=["text"])
            assert done["output"][-1]["content"][0]["text"] == "Done: monday: buy milk"
            caller.send_event({"type": "session.update", "session": {"type": "realtime", "tools": []}})
            await caller.wait_event("session.updated")
            done = await ask(caller, "and now", output_modalities=["text"])
            assert "tools" not in stub.asked("completions")[-1].json
        nursery.cancel_scope.cancel()


async def test_a_server_that_does_not_start_is_done_without() -> None:
    broken = {"command": [sys.executable, "-c", "raise SystemExit"]}
    async with open_stub() as stub, talk(stub, mcp={"broken": broken}) as caller:
        done = await ask(caller, "hello", output_modalities=["text"])
    assert done["status"] == "completed"
    assert [each["tools"] for each in listed_tools(caller)] == [[]]
