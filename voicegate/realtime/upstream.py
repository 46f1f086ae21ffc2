"""A model behind the call that speaks the Realtime API itself: what of its events the client gets, and how.

What the call does itself is left out: the audio, and what becomes of it. Names of the beta become today's.
"""

import base64
from collections import OrderedDict
from typing import Final, NamedTuple

from voicegate.realtime.action import ClearOutput
from voicegate.realtime.agent_event import ClientEvent
from voicegate.realtime.fault import EventRefused
from voicegate.realtime.notice import OutputBegan, OutputDrained, OutputInterrupted
from voicegate.realtime.outbox import Outbox
from voicegate.realtime.session_config import update_session
from voicegate.wire.json_value import JSON, JSONObject

__all__ = ["Upstream", "in_new_words"]

MAX_PLACES: Final = 64
"""Responses of which it is known where their audio stands."""

_RENAMED: Final = {
    "response.text.delta": "response.output_text.delta",
    "response.text.done": "response.output_text.done",
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
    "conversation.item.created": "conversation.item.added",
}
_RENAMED_PARTS: Final = {"text": "output_text", "audio": "output_audio"}


class _Place(NamedTuple):
    item_id: str
    output_index: int
    content_index: int


class Upstream:
    """The events of one upstream model.

    Args:
        outbox: where events for clients and for the model go.
        is_played_here: whether the call plays the audio, or the client gets it in events.
    """

    def __init__(self, outbox: Outbox, *, is_played_here: bool) -> None:
        self._outbox = outbox
        self._is_played_here: Final = is_played_here
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._playing: str | None = None

    def forward(self, event: JSONObject) -> None:
        """Hand an event of the client's to the model."""
        self._outbox.tell(ClientEvent(event=event))

    def handle_event(self, event: JSONObject, session: dict[str, JSON]) -> dict[str, JSON]:
        """Take an event of the model's; return the session as it is now."""
        kind = event.get("type")
        if not isinstance(kind, str):
            return session
        was_created = kind == "conversation.item.created"
        event = in_new_words(event)
        kind = event["type"]
        if kind in ("session.created", "session.updated"):
            session = _merged(session, event.get("session"))
            if kind == "session.updated":
                self._send({**event, "session": session})
            return session
        self._note_place(event)
        if kind == "response.output_audio.delta" or kind.startswith("output_audio_buffer."):
            return session  # The audio itself comes another way, and what becomes of it is known here.
        self._send(event)
        if was_created and _is_finished(event.get("item")):
            self._send({**event, "type": "conversation.item.done", "event_id": None})
        if kind == "input_audio_buffer.speech_started":
            detection = session["audio"]["input"]["turn_detection"]
            if detection is None or detection["interrupt_response"]:
                self._outbox.do(ClearOutput())
        return session

    def handle_output(self, notice: OutputBegan | OutputDrained | OutputInterrupted) -> None:
        """Take what has become of the model's audio."""
        response_id = notice.response_id
        if response_id is None or not self._is_played_here:
            return
        if isinstance(notice, OutputBegan):
            if self._playing != response_id:
                self._playing = response_id
                self._outbox.send("output_audio_buffer.started", response_id=response_id)
            return
        what = "stopped" if isinstance(notice, OutputDrained) else "cleared"
        if self._playing == response_id:
            self._playing = None
            self._outbox.send(f"output_audio_buffer.{what}", response_id=response_id)
        if isinstance(notice, OutputInterrupted) and (place := self._places.get(response_id)) is not None:
            self.forward(
                {
                    "type": "conversation.item.truncate",
                    "event_id": self._outbox.name("event"),
                    "item_id": place.item_id,
                    "content_index": place.content_index,
                    "audio_end_ms": max(1, notice.heard_ms),  # Some models refuse to truncate at nothing.
                }
            )

    def add_output(self, response_id: str | None, audio: bytes) -> None:
        """Send audio of the model's in an event, if it is known where it belongs."""
        place = None if response_id is None else self._places.get(response_id)
        if place is not None and audio and not self._is_played_here:
            delta = base64.b64encode(audio).decode()
            self._outbox.send(
                "response.output_audio.delta", response_id=response_id, **place._asdict(), delta=delta
            )

    def _note_place(self, event: JSONObject) -> None:
        kind, part = event["type"], event.get("part")
        is_audio = kind.startswith("response.output_audio") or (
            kind == "response.content_part.added" and isinstance(part, dict) and part.get("type") == "audio"
        )
        response_id, item_id = event.get("response_id"), event.get("item_id")
        if not is_audio or not isinstance(response_id, str) or not isinstance(item_id, str):
            return
        indexes = event.get("output_index", 0), event.get("content_index", 0)
        if all(isinstance(index, int) for index in indexes):
            self._places[response_id] = _Place(item_id, *indexes)
            if len(self._places) > MAX_PLACES:
                self._places.popitem(last=False)

    def _send(self, event: JSONObject) -> None:
        event_id = event.get("event_id")
        if not isinstance(event_id, str):
            event_id = self._outbox.name("event")
        self._outbox.forward({**event, "event_id": event_id})


def in_new_words(event: JSONObject) -> dict[str, JSON]:
    """Return an event of a server that may speak the beta, as it would be now."""
    renamed = {**event, "type": _RENAMED.get(event["type"], event["type"])}
    if "item" in event:
        renamed["item"] = _item_in_new_words(event["item"])
    response = event.get("response")
    if isinstance(response, dict) and isinstance(response.get("output"), list):
        renamed["response"] = {
            **response,
            "output": [_item_in_new_words(item) for item in response["output"]],
        }
    return renamed


def _item_in_new_words(item: JSON) -> JSON:
    if not isinstance(item, dict) or not isinstance(item.get("content"), list):
        return item
    if item.get("role") != "assistant":
        return item
    return {**item, "content": [_part_in_new_words(part) for part in item["content"]]}


def _part_in_new_words(part: JSON) -> JSON:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return part
    return {**part, "type": _RENAMED_PARTS.get(part["type"], part["type"])}


def _is_finished(item: JSON) -> bool:
    return isinstance(item, dict) and item.get("status", "completed") == "completed"


def _merged(session: dict[str, JSON], theirs: JSON) -> dict[str, JSON]:
    """Return our session with what the model says of it; what no client could set, it cannot either."""
    if not isinstance(theirs, dict):
        return session
    try:
        return update_session(session, theirs, has_spoken=False)
    except EventRefused:
        return session
