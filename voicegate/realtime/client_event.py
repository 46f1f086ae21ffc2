"""The eleven events of a client, as values. Fields that the API does not know are ignored, as it does."""

import binascii
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import attrs

from voicegate.realtime.fault import EventRefused
from voicegate.realtime.field import Fields
from voicegate.realtime.item import MAX_ID
from voicegate.wire.json_value import JSONObject

__all__ = [
    "CLIENT_EVENTS",
    "CancelWanted",
    "ClientCommand",
    "DeletionWanted",
    "InputAppend",
    "InputClear",
    "InputCommit",
    "ItemOffered",
    "OutputClear",
    "ResponseWanted",
    "RetrievalWanted",
    "SessionUpdate",
    "TruncationWanted",
    "read_client_event",
]

MAX_AUDIO: Final = 15 * 1024 * 1024
"""Characters of the audio of one event, in base64: the service's own limit."""

_MAX_DURATION_MS: Final = 24 * 3600 * 1000


@attrs.frozen
class SessionUpdate:
    """``session.update``."""

    session: JSONObject


@attrs.frozen
class InputAppend:
    """``input_audio_buffer.append``."""

    audio: bytes


@attrs.frozen
class InputCommit:
    """``input_audio_buffer.commit``."""


@attrs.frozen
class InputClear:
    """``input_audio_buffer.clear``."""


@attrs.frozen
class OutputClear:
    """``output_audio_buffer.clear``."""


@attrs.frozen
class ItemOffered:
    """``conversation.item.create``; the item is read by whom gives it an id."""

    item: Fields
    previous_item_id: str | None


@attrs.frozen
class DeletionWanted:
    """``conversation.item.delete``."""

    item_id: str


@attrs.frozen
class RetrievalWanted:
    """``conversation.item.retrieve``."""

    item_id: str


@attrs.frozen
class TruncationWanted:
    """``conversation.item.truncate``."""

    item_id: str
    content_index: int
    audio_end_ms: int


@attrs.frozen
class ResponseWanted:
    """``response.create``."""

    parameters: Fields


@attrs.frozen
class CancelWanted:
    """``response.cancel``."""

    response_id: str | None


ClientCommand: TypeAlias = (
    SessionUpdate
    | InputAppend
    | InputCommit
    | InputClear
    | OutputClear
    | ItemOffered
    | DeletionWanted
    | RetrievalWanted
    | TruncationWanted
    | ResponseWanted
    | CancelWanted
)


def read_client_event(fields: Fields) -> ClientCommand:
    """Return what an event asks for.

    Errors: EventRefused.
    """
    fields.require("type")
    kind = fields.text("type") or ""
    if kind not in CLIENT_EVENTS:
        raise fields.refusal("type", "an event of this API")
    return CLIENT_EVENTS[kind](fields)


def _session_update(fields: Fields) -> SessionUpdate:
    fields.require("session")
    return SessionUpdate(Fields(fields.value["session"], "session").value)


def _append(fields: Fields) -> InputAppend:
    text = fields.required_text("audio", limit=MAX_AUDIO)
    try:
        return InputAppend(binascii.a2b_base64(text, strict_mode=True))
    except ValueError as error:
        raise EventRefused("Invalid 'audio': expected base64.", param="audio") from error


def _item_create(fields: Fields) -> ItemOffered:
    fields.require("item")
    return ItemOffered(
        Fields(fields.value["item"], "item"), fields.text("previous_item_id", limit=MAX_ID) or None
    )


def _item_id(fields: Fields) -> str:
    return fields.required_text("item_id", limit=MAX_ID)


def _truncate(fields: Fields) -> TruncationWanted:
    for key in ("content_index", "audio_end_ms"):
        fields.require(key)
    return TruncationWanted(
        _item_id(fields),
        fields.integer("content_index", 0, MAX_ID) or 0,
        fields.integer("audio_end_ms", 0, _MAX_DURATION_MS) or 0,
    )


CLIENT_EVENTS: Final[Mapping[str, Callable[[Fields], ClientCommand]]] = {
    "session.update": _session_update,
    "input_audio_buffer.append": _append,
    "input_audio_buffer.commit": lambda _: InputCommit(),
    "input_audio_buffer.clear": lambda _: InputClear(),
    "output_audio_buffer.clear": lambda _: OutputClear(),
    "conversation.item.create": _item_create,
    "conversation.item.delete": lambda fields: DeletionWanted(_item_id(fields)),
    "conversation.item.retrieve": lambda fields: RetrievalWanted(_item_id(fields)),
    "conversation.item.truncate": _truncate,
    "response.create": lambda fields: ResponseWanted(fields.child("response") or Fields({}, "response")),
    "response.cancel": lambda fields: CancelWanted(fields.text("response_id", limit=MAX_ID)),
}
"""What the name of each event stands for."""
