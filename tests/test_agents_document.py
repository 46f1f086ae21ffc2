"""The examples of docs/agents.md, run one by one."""

import builtins
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from voicegate.testing import open_call
from voicegate.testing.sound import silence, speech_like

DOCUMENT = Path(__file__).parents[1] / "docs" / "agents.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


async def synthesise(text: str) -> AsyncIterator[bytes]:
    """Make a tenth of a second of noise of each word."""
    for _ in text.split():
        await trio.sleep(0.01)
        yield speech_like(0.1).pcm


def load(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"synthesise": synthesise, "recognise": repr, "__name__": "example"}
    exec(compile(source, str(DOCUMENT), "exec"), names)
    return names


def defining(pattern: str) -> list[Any]:
    """Return the examples that define a function of such a name, with their first lines for names."""
    found = []
    for number, source in enumerate(EXAMPLES):
        names = re.findall(rf"^async def ({pattern})\(", source, re.MULTILINE)
        found += [pytest.param(source, name, id=f"{number}-{name}") for name in names]
    return found


def test_each_example_is_something_to_run() -> None:
    assert all(re.search(r"^async def (agent|main|test_\w+)\(", source, re.MULTILINE) for source in EXAMPLES)
    assert len(EXAMPLES) > 10


@pytest.mark.parametrize(("source", "name"), defining("agent"))
async def test_an_agent_of_the_document_answers_a_call(
    source: str, name: str, autojump_clock: MockClock
) -> None:
    agent = load(source)[name]
    session = {"instructions": "Be brief.", "tools": [{"type": "function", "name": "look_outside"}]}
    async with open_call(agent, session=session, metadata={"metadata": {"name": "Ann"}}) as caller:
        with trio.move_on_after(10), suppress(trio.EndOfChannel):  # some hang up
            await caller.speak(speech_like(1.0))
            await caller.speak(silence(1.0))
            caller.send("hello")
            text = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
            output = {"type": "function_call_output", "call_id": "c1", "output": "sun"}
            for item in (text, output):
                caller.send_event({"type": "conversation.item.create", "item": item})
                caller.send_event({"type": "response.create"})
                await caller.speak(silence(1.0))
            await caller.speak(speech_like(1.0))
            await caller.listen(2.0)
    kinds = [event["type"] for event in caller.events]
    assert kinds[0] == "session.created"
    if "call.converse()" in source:
        assert "response.function_call_arguments.done" in kinds
        assert "response.output_audio_transcript.done" in kinds


@pytest.mark.parametrize(("source", "name"), defining(r"test_\w+"))
async def test_a_test_of_the_document_passes(source: str, name: str, autojump_clock: MockClock) -> None:
    await load(source)[name](autojump_clock)


@pytest.mark.parametrize(("source", "name"), defining("main"))
async def test_a_program_of_the_document_serves_until_it_is_cancelled(
    source: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed: list[object] = []
    with trio.CancelScope() as scope, trio.fail_after(60):

        def note(*values: object) -> None:
            printed.extend(values)
            scope.cancel()

        monkeypatch.setattr(builtins, "print", note)
        await load(source)[name]()
    assert re.fullmatch(r"https?://127\.0\.0\.1:\d+/?", str(printed[0]))
