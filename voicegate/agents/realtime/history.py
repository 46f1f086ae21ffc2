"""What has been said in a conversation, so that a server that never heard it can be told."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

__all__ = ["History"]

MAX_ITEMS: Final = 128
"""Later ones push out earlier ones: a model does not need the first minutes to go on."""

MAX_CHARACTERS: Final = 262_144
"""Of all items together; half an hour of talk has about 30 000."""

JSONObject: TypeAlias = Mapping[str, Any]


@attrs.define(eq=False)
class _Entry:
    item: JSONObject
    words: str = ""
    """What was said, as far as it is known."""
    audio_ms: float = 0.0
    """How long it takes to say."""
    heard_ms: int | None = None
    """After which it was cut short; None: it was not."""


class History:
    """The items of a conversation in order, in words."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._entries

    def add(self, item: JSONObject) -> None:
        """Take a new item, or a later state of one."""
        item_id = item.get("id")
        if not isinstance(item_id, str):
            return
        entry = self._entries.get(item_id)
        if entry is None:
            self._entries[item_id] = entry = _Entry(item)
        entry.item = item
        entry.words = _words(item) or entry.words
        self._bound()

    def add_words(self, item_id: str, words: str, *, is_all: bool) -> None:
        """Take a transcript, or more of one."""
        if (entry := self._entries.get(item_id)) is not None:
            entry.words = (words if is_all else entry.words + words)[:MAX_CHARACTERS]
            self._bound()

    def add_audio(self, item_id: str, milliseconds: float) -> None:
        """Take it that an item takes so much longer to say."""
        if (entry := self._entries.get(item_id)) is not None:
            entry.audio_ms += milliseconds

    def truncate(self, item_id: str, heard_ms: int) -> None:
        """Take it that the user heard no more than the beginning."""
        if (entry := self._entries.get(item_id)) is not None:
            entry.heard_ms = heard_ms

    def remove(self, item_id: str) -> None:
        """Forget an item."""
        self._entries.pop(item_id, None)

    def items(self) -> Sequence[JSONObject]:
        """Return the items as they can be created again: speech as text, and no call without its output."""
        answered = {
            entry.item.get("call_id")
            for entry in self._entries.values()
            if entry.item.get("type") == "function_call_output"
        }
        replayed = (_replayed(item_id, entry, answered) for item_id, entry in self._entries.items())
        return [item for item in replayed if item is not None]

    def _bound(self) -> None:
        while len(self._entries) > 1 and (
            len(self._entries) > MAX_ITEMS or sum(map(_size, self._entries.values())) > MAX_CHARACTERS
        ):
            del self._entries[next(iter(self._entries))]


def _replayed(item_id: str, entry: _Entry, answered: set[Any]) -> JSONObject | None:
    item = entry.item
    match item.get("type"):
        case "message":
            return _message(item_id, entry)
        case "function_call" if item.get("call_id") in answered:
            kept: tuple[str, ...] = ("type", "call_id", "name", "arguments")
        case "function_call_output":
            kept = ("type", "call_id", "output")
        case _:
            return None
    return {"id": item_id} | {key: item[key] for key in kept if key in item}


def _message(item_id: str, entry: _Entry) -> JSONObject | None:
    role = entry.item.get("role")
    images = [part for part in _parts(entry.item) if part.get("type") == "input_image"]
    words = entry.words
    if entry.heard_ms is not None and entry.audio_ms:
        words = _beginning(words, min(1.0, entry.heard_ms / entry.audio_ms))
    if not words and not images:
        return None
    kind = "output_text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": words}] if words else []
    return {"id": item_id, "type": "message", "role": role, "content": [*content, *images]}


def _beginning(words: str, share: float) -> str:
    """Return the words, whole ones, that a share of the time was long enough for."""
    length = int(len(words) * share)
    begun = words[: length + 1]
    return words if share == 1 else begun[: max(0, begun.rfind(" "))]


def _parts(item: JSONObject) -> Sequence[JSONObject]:
    content = item.get("content")
    return [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []


def _words(item: JSONObject) -> str:
    words = (part.get("text") or part.get("transcript") for part in _parts(item))
    return " ".join(each for each in words if isinstance(each, str))


def _size(entry: _Entry) -> int:
    images = (part.get("image_url") for part in _parts(entry.item))
    texts = (entry.words, entry.item.get("arguments"), entry.item.get("output"), *images)
    return sum(len(text) for text in texts if isinstance(text, str))
