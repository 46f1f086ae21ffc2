"""Have the client run a function, and answer with what came of it.

    voicegate serve --agent examples.tools:agent

Any client of the OpenAI Realtime API can call it: the tools of its session say which functions there are. A
rule stands in for a model: that tool is used whose name has a word of the question in it. Instead of a
synthesiser, there is a beep for each word.
"""

import json
import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import voicegate


async def agent(call: voicegate.Call) -> None:
    """Answer each request with a function call, or with what the last one gave."""
    call.converse()
    last: Mapping[str, Any] = {}
    async for event in call.events:
        match event:
            case voicegate.ItemAdded(item=item):
                last = item
            case voicegate.ResponseRequested(response_id=response_id):
                # When the user talks over the answer, this block is left and the loop goes on.
                with call.respond(response_id) as response:
                    await answer(response, last, call)
            case _:
                pass


async def answer(response: voicegate.Response, item: Mapping[str, Any], call: voicegate.Call) -> None:
    """Go on from the last item of the conversation."""
    match item:
        case {"type": "function_call_output", "output": str(output)}:
            await speak(response, f"The answer is {output}", call.sample_rate)
        case {"type": "message", "content": [{"type": "input_text", "text": str(question)}, *_]}:
            name = find_tool(question, call.session["tools"])
            if name is None:
                await speak(response, "I have no tool for that", call.sample_rate)
            else:
                response.function_call(name, json.dumps({"question": question}))
        case _:
            await speak(response, "Please type your question", call.sample_rate)


def find_tool(question: str, tools: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the name of the tool that a question is for."""
    words = set(question.lower().strip("?!. ").split())
    return next((str(tool["name"]) for tool in tools if words & set(tool["name"].split("_"))), None)


async def speak(response: voicegate.Response, text: str, sample_rate: int) -> None:
    """Say a text word by word, and write it down meanwhile."""
    for word in text.split():
        response.transcript(f"{word} ")
        await response.send(beep(sample_rate))


def beep(sample_rate: int) -> bytes:
    """Make a tenth of a second of 660 Hz, and as much silence."""
    turn = 2 * math.pi * 660 / sample_rate
    length = sample_rate // 10
    return array("h", (int(8000 * math.sin(turn * n)) for n in range(length))).tobytes() + bytes(2 * length)
