"""One response: the events of its life, from ``response.created`` to ``response.done``.

1. ``response.created``
2. for each item: ``response.output_item.added`` and ``conversation.item.added``; a message has parts, each
   with ``response.content_part.added``, deltas, what is done, ``response.content_part.done``; then
   ``response.output_item.done`` and ``conversation.item.done``
3. ``response.done``
"""

import base64
from enum import Enum, auto
from typing import Final, Literal, TypeAlias

from voicegate.realtime.conversation import Conversation
from voicegate.realtime.item import assistant_message, function_call
from voicegate.realtime.outbox import Outbox
from voicegate.wire.json_value import JSON, JSONObject

__all__ = ["PartKind", "Playout", "Response"]

MAX_TEXT: Final = 1024 * 1024
"""Characters of the words of one response: days of speech. What comes beyond is dropped."""

MAX_ITEMS: Final = 256
"""Items of one response; what an agent adds beyond is dropped."""

PartKind: TypeAlias = Literal["audio", "text"]
_WORDS: Final = {"audio": "transcript", "text": "text"}
_NAMES: Final = {"audio": "output_audio_transcript", "text": "output_text"}

_KNOWN_REASONS: Final = {
    "cancelled": ("turn_detected", "client_cancelled"),
    "incomplete": ("max_output_tokens", "content_filter"),
}


class Playout(Enum):
    """What has become of a response's audio."""

    SILENT = auto()
    PLAYING = auto()
    DRAINED = auto()
    """All that there was has been played; there may be more as long as the response goes on."""
    OVER = auto()
    """The client has been told that there will be no more."""


class Response:
    """One response and what it has said.

    Args:
        response_id: its name.
        session: as it is when the response begins.
        parameters: what the client wants otherwise for this response.
        conversation_id: None if it is none of the conversation's.
        conversation: where its items go in that case.
        outbox: where its events go.
        is_implicit: whether it is only known by its audio.
    """

    def __init__(
        self,
        response_id: str,
        *,
        session: JSONObject,
        parameters: JSONObject,
        conversation_id: str | None,
        conversation: Conversation,
        outbox: Outbox,
        is_implicit: bool,
    ) -> None:
        self.id: Final = response_id
        self.is_implicit: Final = is_implicit
        self.is_in_conversation: Final = conversation_id is not None
        self.has_begun = is_implicit
        """Whether the agent has begun it, or it was only asked for."""
        self.is_done = False
        self.playout = Playout.SILENT
        self.heard_ms = 0
        """How much of the audio was played, as of when it last stopped."""
        self.playing_since: float | None = None
        self.sent_ms = 0.0
        """Audio that was sent in events."""
        self._outbox = outbox
        self._conversation = conversation
        self._facts = _facts(response_id, session, parameters, conversation_id)
        self._items: list[dict[str, JSON]] = []
        self._message: dict[str, JSON] | None = None
        self._message_index = 0
        self._parts: list[PartKind] = []
        self._text_size = 0
        self._is_cut = False
        outbox.send("response.created", response=self._describe("in_progress", None))

    @property
    def audio_item_id(self) -> str | None:
        """The item that is being said."""
        return self._message["id"] if self._message is not None and "audio" in self._parts else None

    # What it says

    def open_part(self, kind: PartKind) -> int:
        """Have a part of audio or of text, and return its index."""
        if self._message is None:
            self._message_index = len(self._items)
            self._message = assistant_message(self._outbox.name("item"))
            self._add_item(self._message)
        if kind not in self._parts:
            self._parts.append(kind)
            self._message["content"].append({"type": f"output_{kind}", _WORDS[kind]: ""})
            self._send_part("response.content_part.added", kind, part={"type": kind, _WORDS[kind]: ""})
        return self._parts.index(kind)

    def add_words(self, kind: PartKind, delta: str) -> None:
        """Add to what is said or written."""
        if not delta or self._text_size + len(delta) > MAX_TEXT or (self._is_cut and kind == "audio"):
            return
        self._text_size += len(delta)
        part = self._content(kind)
        part[_WORDS[kind]] += delta
        self._send_part(f"response.{_NAMES[kind]}.delta", kind, delta=delta)

    def add_audio(self, audio: bytes) -> None:
        """Send audio in an event."""
        self.open_part("audio")
        delta = base64.b64encode(audio).decode()
        self._send_part("response.output_audio.delta", "audio", delta=delta)

    def call_function(self, *, call_id: str, name: str, arguments: str) -> None:
        """Have the client run a function."""
        if len(self._items) >= MAX_ITEMS or self._text_size + len(arguments) > MAX_TEXT:
            return
        self._text_size += len(arguments)
        item = function_call(self._outbox.name("item"), call_id=call_id, name=name)
        index = self._add_item(item)
        place = {"response_id": self.id, "item_id": item["id"], "output_index": index, "call_id": call_id}
        prefix = "response.function_call_arguments"
        self._outbox.send(f"{prefix}.delta", **place, delta=arguments)
        self._outbox.send(f"{prefix}.done", **place, name=name, arguments=arguments)
        item["arguments"] = arguments
        item["status"] = "completed"
        self._end_item(item, index)

    def add_mcp(self, item: dict[str, JSON]) -> None:
        """Show what came of an MCP server, a finished item."""
        if len(self._items) >= MAX_ITEMS:
            return
        if item["type"] != "mcp_call":
            self._end_item(item, self._add_item(item))
            return
        finished = dict(item)
        item |= {"arguments": "", "output": None, "error": None}
        index = self._add_item(item)
        item |= finished
        place = {"item_id": item["id"], "output_index": index}
        prefix = "response.mcp_call_arguments"
        arguments = item["arguments"]
        self._outbox.send(f"{prefix}.delta", **place, response_id=self.id, delta=arguments, obfuscation="")
        self._outbox.send(f"{prefix}.done", **place, response_id=self.id, arguments=arguments)
        self._outbox.send("response.mcp_call.in_progress", **place)
        outcome = "completed" if item["error"] is None else "failed"
        self._outbox.send(f"response.mcp_call.{outcome}", **place)
        self._end_item(item, index)

    def cut(self) -> None:
        """Forget the words of the audio: not all of it was heard, and nobody knows how many of them were."""
        self._is_cut = True
        if self._message is not None and "audio" in self._parts:
            self._content("audio")["transcript"] = None
            self._conversation.recount(self._message)

    def finish(self, status: str, reason: str | None) -> None:
        """End all that is open, and the response."""
        self.is_done = True
        if self._message is not None:
            for kind in self._parts:
                self._end_part(kind)
            self._message["status"] = "completed" if status == "completed" else "incomplete"
            self._end_item(self._message, self._message_index)
        self._outbox.send("response.done", response=self._describe(status, _details(status, reason)))

    # Internals

    def _add_item(self, item: dict[str, JSON]) -> int:
        index = len(self._items)
        self._items.append(item)
        self._outbox.send("response.output_item.added", response_id=self.id, output_index=index, item=item)
        if self.is_in_conversation:
            previous = self._conversation.append(item)
            self._outbox.send("conversation.item.added", previous_item_id=previous, item=item)
        return index

    def _end_item(self, item: dict[str, JSON], index: int) -> None:
        self._outbox.send("response.output_item.done", response_id=self.id, output_index=index, item=item)
        if self._conversation.find(item["id"]) is item:
            self._conversation.recount(item)
            previous = self._conversation.previous_id(item["id"])
            self._outbox.send("conversation.item.done", previous_item_id=previous, item=item)

    def _end_part(self, kind: PartKind) -> None:
        words = self._content(kind)[_WORDS[kind]] or ""
        if kind == "audio":
            self._send_part("response.output_audio.done", kind)
        self._send_part(f"response.{_NAMES[kind]}.done", kind, **{_WORDS[kind]: words})
        self._send_part("response.content_part.done", kind, part={"type": kind, _WORDS[kind]: words})

    def _content(self, kind: PartKind) -> dict[str, JSON]:
        index = self.open_part(kind)
        content: list[dict[str, JSON]] = [] if self._message is None else self._message["content"]
        return content[index]

    def _send_part(self, event_type: str, kind: PartKind, **fields: JSON) -> None:
        self._outbox.send(
            event_type,
            response_id=self.id,
            item_id=None if self._message is None else self._message["id"],
            output_index=self._message_index,
            content_index=self._parts.index(kind),
            **fields,
        )

    def _describe(self, status: str, details: JSON) -> dict[str, JSON]:
        return {**self._facts, "status": status, "status_details": details, "output": self._items}


def _facts(
    response_id: str, session: JSONObject, parameters: JSONObject, conversation_id: str | None
) -> dict[str, JSON]:
    """Return what a response shows of how it was asked for."""
    output = {**session["audio"]["output"]}
    output |= {key: value for key, value in _output(parameters).items() if value is not None}
    voice = output["voice"]
    return {
        "object": "realtime.response",
        "id": response_id,
        "conversation_id": conversation_id,
        "output_modalities": parameters.get("output_modalities") or session["output_modalities"],
        "max_output_tokens": parameters.get("max_output_tokens") or session["max_output_tokens"],
        "audio": {
            "output": {
                "format": output["format"],
                "voice": voice["id"] if isinstance(voice, dict) else voice,
            }
        },
        "metadata": parameters.get("metadata"),
        "usage": None,
    }


def _output(parameters: JSONObject) -> JSONObject:
    return (parameters.get("audio") or {}).get("output") or {}


def _details(status: str, reason: str | None) -> dict[str, JSON] | None:
    if status == "completed":
        return None
    if status == "failed":
        error = {"type": "server_error", "code": "agent_failed", "message": reason or "The agent failed."}
        return {"type": "failed", "error": error}
    details = {"type": status}
    if reason in _KNOWN_REASONS[status]:
        details["reason"] = reason
    return details
