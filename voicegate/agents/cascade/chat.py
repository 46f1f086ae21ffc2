"""A chat model's request and its streamed reply."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import attrs

from voicegate.agents.cascade.history import History
from voicegate.agents.cascade.options import CascadeOptions
from voicegate.agents.cascade.turn import same_words
from voicegate.errors import WireError
from voicegate.wire.json_value import JSON, JSONObject

__all__ = ["ChatReply", "Plan", "ToolCall", "plan_answer"]

MAX_CALLS: Final = 64
"""Of functions in one reply; models make a few."""

MAX_TEXT: Final = 1 << 20
"""Characters of a reply, and of its arguments; hours of speech."""


class ToolCall(NamedTuple):
    """A function that the model wants to be called."""

    id: str
    """The model's; empty if it gave none."""
    name: str
    arguments: str
    """JSON, as the model wrote it."""


class ChatReply:
    """What the chunks of a stream come to."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self._calls: dict[int, list[str]] = {}
        self._size = 0

    def handle_chunk(self, chunk: JSON) -> str:
        """Take a chunk, and return the text that it adds.

        Errors: WireError when it is none, or tells of an error.
        """
        if not isinstance(chunk, Mapping):
            raise WireError("a chunk of a reply is no JSON object")
        if fault := chunk.get("error"):
            message = fault.get("message") if isinstance(fault, Mapping) else fault
            raise WireError(str(message)[:200])
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            return ""  # what was used, or nothing
        choice = choices[0] if isinstance(choices[0], Mapping) else {}
        if isinstance(reason := choice.get("finish_reason"), str):
            self.finish_reason = reason
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            return ""
        calls = delta.get("tool_calls")
        for part in calls if isinstance(calls, list) else ():
            self._handle_call(part)
        text = delta.get("content")
        return self._bound(text) if isinstance(text, str) else ""

    @property
    def calls(self) -> list[ToolCall]:
        """The functions to be called, in order."""
        return [ToolCall(*map(str, self._calls[index])) for index in sorted(self._calls)]

    def _handle_call(self, part: JSON) -> None:
        if not isinstance(part, Mapping):
            raise WireError("a function call is no JSON object")
        index = part.get("index", 0)
        if not isinstance(index, int) or not 0 <= index < MAX_CALLS:
            raise WireError("no such function call")
        call = self._calls.setdefault(index, ["", "", ""])
        function = part.get("function")
        if not isinstance(function, Mapping):
            function = {}
        if isinstance(part.get("id"), str):
            call[0] = part["id"] or call[0]
        for place, key in ((1, "name"), (2, "arguments")):
            if isinstance(text := function.get(key), str):
                call[place] += self._bound(text)

    def _bound(self, text: str) -> str:
        self._size += len(text)
        if self._size > MAX_TEXT:
            raise WireError("the reply does not end")
        return text


@attrs.frozen(kw_only=True)
class Plan:
    """All that an answer follows from."""

    messages: list[JSON]
    body: JSONObject
    """Of the request, without the messages."""
    voice: str
    speed: float
    is_spoken: bool

    def is_good_for(self, other: "Plan") -> bool:
        """Tell whether an answer to this will do for another, which differs in what is not heard."""
        if attrs.evolve(self, messages=other.messages) != other or not self.messages or not other.messages:
            return False
        mine, its = self.messages[-1], other.messages[-1]
        return (
            self.messages[:-1] == other.messages[:-1]
            and mine.get("role") == its.get("role") == "user"
            and isinstance(mine["content"], str)
            and isinstance(its["content"], str)
            and same_words(mine["content"], its["content"])
        )


def plan_answer(
    options: CascadeOptions,
    *,
    session: JSONObject,
    parameters: JSONObject,
    history: History,
    tools: Sequence[JSON] = (),
    guess: str | None = None,
) -> Plan:
    """Say how to answer.

    Args:
        options: The operator's.
        session: As the client wants it.
        parameters: Of this response; they win over the session's.
        history: What was said before.
        tools: Of the operator's, as chat models want them.
        guess: What the user is about to have said.
    """
    asked = {**session, **parameters}
    if isinstance(items := parameters.get("input"), list):
        history = _history_of(items, options.max_history)
    instructions = asked.get("instructions")
    messages = [
        {"role": "system", "content": instructions or options.instructions},
        *history.messages(),
    ]
    if guess is not None:
        messages.append({"role": "user", "content": guess})
    body: dict[str, JSON] = {"model": options.chat.model, "stream": True}
    if functions := [*_functions(asked.get("tools")), *tools]:
        body["tools"] = functions
        body["tool_choice"] = _tool_choice(asked.get("tool_choice"))
    if isinstance(limit := asked.get("max_output_tokens"), int):
        body["max_completion_tokens"] = limit
    output = _child(_child(session, "audio"), "output") | _child(_child(parameters, "audio"), "output")
    speed = output.get("speed")
    voice = output.get("voice")
    return Plan(
        messages=messages,
        body=body | dict(options.chat.extra),
        voice=voice if isinstance(voice, str) and voice in options.voices else options.voice,
        speed=float(speed) if isinstance(speed, int | float) else 1.0,
        is_spoken=asked.get("output_modalities") != ["text"],
    )


def _history_of(items: Sequence[JSON], max_items: int) -> History:
    history = History(max_items=max_items)
    before = "root"
    for number, item in enumerate(items):
        if isinstance(item, Mapping):
            item_id = str(item.get("id") or f"item_{number}")
            history.add_item({**item, "id": item_id}, after=before)
            before = item_id
    return history


def _functions(tools: JSON) -> list[JSON]:
    """Turn the functions of a session into those of a chat request."""
    return [
        {
            "type": "function",
            "function": {key: tool[key] for key in ("name", "description", "parameters") if key in tool},
        }
        for tool in (tools if isinstance(tools, list) else [])
        if isinstance(tool, Mapping) and tool.get("type") == "function"
    ]


def _tool_choice(choice: JSON) -> JSON:
    if isinstance(choice, Mapping) and choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    return choice if choice in ("auto", "none", "required") else "auto"


def _child(value: JSONObject, key: str) -> dict[str, JSON]:
    child = value.get(key)
    return dict(child) if isinstance(child, Mapping) else {}
