"""The conversation so far, as chat models want it: what was said, how much was heard of it, and tools."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final, Literal

import attrs

from voicegate.wire.json_value import JSON, JSONObject

__all__ = ["History"]

MAX_ENTRIES: Final = 4096
"""As many items as a session can have; then the oldest go. What is sent to the model is far less."""


@attrs.define
class _Entry:
    """One item of the conversation."""

    id: str | None
    kind: Literal["message", "call", "result"]
    role: str = ""
    content: JSON = ""
    """Of a message: a text, or a list of parts; of a result: its text."""
    call: JSON = None
    call_id: str = ""
    response_id: str | None = None
    pieces: list[tuple[str, int]] = attrs.field(factory=list)
    """Of what the agent has said: the words, and how many milliseconds they took."""

    def keep(self, pieces: list[tuple[str, int]]) -> None:
        self.pieces = pieces
        self.content = "".join(words for words, _ in pieces).strip()


class History:
    """Items, in order.

    Args:
        max_items: how many the model gets to see, the newest.
    """

    def __init__(self, *, max_items: int) -> None:
        self._max_items = max_items
        self._entries: list[_Entry] = []
        self._words: dict[str, str] = {}
        """Of the turn whose item is still to come."""

    # The client's and the user's items

    def add_item(self, item: JSONObject, *, after: str | None = None) -> None:
        """Put an item of the Realtime API where it belongs; types that no chat model knows are left out."""
        entry = _read_item(item)
        if entry is None:
            return
        if entry.id in self._words:
            entry.content = self._words.pop(entry.id)
        self._learn_id(after)
        index = len(self._entries)
        if after is None and entry.kind == "message":
            index = 0
        elif (found := self._find(after)) is not None:
            index = found + 1
        self._entries.insert(index, entry)
        del self._entries[:-MAX_ENTRIES]

    def set_transcript(self, item_id: str, text: str) -> None:
        """Tell the words of what the user has said; they may be known before the item is there."""
        if (index := self._find(item_id)) is not None:
            self._entries[index].content = text
        else:
            self._words = {item_id: text}

    def delete(self, item_id: str) -> None:
        """Forget an item."""
        if (index := self._find(item_id)) is not None:
            del self._entries[index]

    # The agent's

    def add_words(self, response_id: str, text: str, length_ms: int) -> None:
        """Add to what the agent says in an answer; text that is not spoken takes no time."""
        entry = next((each for each in reversed(self._entries) if each.response_id == response_id), None)
        if entry is None:
            entry = _Entry(None, "message", role="assistant", response_id=response_id)
            self._entries.append(entry)
        entry.keep([*entry.pieces, (text, length_ms)])

    def truncate_response(self, response_id: str, heard_ms: int) -> None:
        """Keep of an answer only what the user has heard, to the word."""
        for entry in self._entries:
            if entry.response_id == response_id:
                entry.keep(list(_heard(entry.pieces, heard_ms)))

    def truncate_item(self, item_id: str, heard_ms: int) -> None:
        """Do the same with an answer that the client names by its item."""
        self._learn_id(item_id)
        if (index := self._find(item_id)) is not None and self._entries[index].response_id is not None:
            self._entries[index].keep(list(_heard(self._entries[index].pieces, heard_ms)))

    def add_call(self, call_id: str, name: str, arguments: str) -> None:
        """The model has called a function."""
        function = {"name": name, "arguments": arguments}
        call = {"id": call_id, "type": "function", "function": function}
        self._entries.append(_Entry(None, "call", call=call, call_id=call_id))

    def add_result(self, call_id: str, output: str) -> None:
        """The function has returned."""
        self._entries.append(_Entry(None, "result", content=output, call_id=call_id))

    # For the model

    def messages(self) -> list[JSON]:
        """Return the newest items as chat messages.

        Each call stands right before its result, as models demand; what lacks its counterpart is left out.
        """
        results: dict[str, deque[JSON]] = {}  # some models use the same few ids again and again
        for entry in self._entries:
            if entry.kind == "result":
                results.setdefault(entry.call_id, deque()).append(entry.content)
        messages: list[JSON] = []
        for entry in self._entries[-self._max_items :]:
            if entry.kind == "message" and entry.content:
                messages.append({"role": entry.role, "content": entry.content})
            elif entry.kind == "call" and results.get(entry.call_id):
                call: JSON = {"role": "assistant", "content": None, "tool_calls": [entry.call]}
                messages.append(call)
                result = results[entry.call_id].popleft()
                messages.append({"role": "tool", "tool_call_id": entry.call_id, "content": result})
        return messages

    # Internals

    def _find(self, item_id: str | None) -> int | None:
        if item_id is None:
            return None
        return next((index for index, each in enumerate(self._entries) if each.id == item_id), None)

    def _learn_id(self, item_id: str | None) -> None:
        """An id that nobody has told us can only be that of what the agent said last."""
        if item_id is None or item_id == "root" or self._find(item_id) is not None:
            return
        for entry in reversed(self._entries):
            if entry.response_id is not None:
                entry.id = entry.id or item_id
                return


def _heard(pieces: list[tuple[str, int]], heard_ms: int) -> Iterator[tuple[str, int]]:
    for text, length_ms in pieces:
        if heard_ms >= length_ms:
            yield text, length_ms
        elif heard_ms > 0:
            # Words are about evenly spread over the time that they take together.
            letters = len(text) * heard_ms // length_ms
            yield text[: text.rfind(" ", 0, letters + 1) + 1], heard_ms
        heard_ms -= length_ms


def _read_item(item: JSONObject) -> _Entry | None:
    item_id = item.get("id")
    match item.get("type"):
        case "message":
            role = str(item.get("role", "user"))
            return _Entry(item_id, "message", role=role, content=_read_content(item.get("content")))
        case "function_call":
            call_id = str(item.get("call_id", ""))
            function = {"name": item.get("name", ""), "arguments": item.get("arguments", "")}
            call = {"id": call_id, "type": "function", "function": function}
            return _Entry(item_id, "call", call=call, call_id=call_id)
        case "function_call_output":
            output = item.get("output")
            text = output if isinstance(output, str) else ""
            return _Entry(item_id, "result", content=text, call_id=str(item.get("call_id", "")))
        case _:
            return None


def _read_content(content: JSON) -> JSON:
    """Return a text if there is only one, else parts; what the user said has no words yet."""
    parts: list[JSON] = []
    for part in content if isinstance(content, list) else []:
        if not isinstance(part, Mapping):
            continue
        if part.get("type") == "input_image":
            image = {"url": part.get("image_url", "")}
            if part.get("detail") in {"auto", "low", "high"}:
                image["detail"] = part["detail"]
            parts.append({"type": "image_url", "image_url": image})
        elif isinstance(text := part.get("text", part.get("transcript")), str) and text:
            parts.append({"type": "text", "text": text})
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts
