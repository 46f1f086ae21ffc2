"""Items of a conversation: those that a client makes, checked, and those that are made here."""

from collections.abc import Mapping
from typing import Final

from voicegate.realtime.fault import EventRefused
from voicegate.realtime.field import Fields
from voicegate.wire.json_value import JSON, JSONObject

__all__ = [
    "assistant_message",
    "copy_item",
    "function_call",
    "mcp_item",
    "read_item",
    "shown_item",
    "spoken_message",
]

MAX_ID: Final = 128
"""Characters of an id; the service gives out some twenty, and takes 32."""

MAX_SHOWN: Final = 65_536
"""Characters of an image, or of audio, that a client is sent back: a message of a data channel may have four
times as many bytes, and whoever sent more has it."""

_MAX_PARTS: Final = 1024
_STATUSES: Final = ("completed", "incomplete", "in_progress")
_IMAGES: Final = ("data:image/png;base64,", "data:image/jpeg;base64,", "data:image/jpg;base64,")

_CONTENT: Final[Mapping[str, Mapping[str, str]]] = {
    "system": {"input_text": "input_text"},
    "user": {"input_text": "input_text", "input_audio": "input_audio", "input_image": "input_image"},
    "assistant": {
        "output_text": "output_text",
        "output_audio": "output_audio",
        "text": "output_text",
        "audio": "output_audio",
    },
}
"""The parts that each role may have, and what they are called since the beta."""

_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "function_call": ("name", "arguments"),
    "function_call_output": ("call_id", "output"),
    "mcp_approval_response": ("approval_request_id",),
    "mcp_approval_request": ("arguments", "name", "server_label"),
    "mcp_call": ("arguments", "name", "server_label"),
    "mcp_list_tools": ("server_label",),
}
"""The texts without which an item is none."""

_OPTIONAL: Final = ("call_id", "reason", "output", "approval_request_id")


def read_item(fields: Fields, *, item_id: str) -> dict[str, JSON]:
    """Return an item as it will stand in the conversation: under its own id if it has one.

    Errors: EventRefused.
    """
    item: dict[str, JSON] = {"id": fields.text("id", limit=MAX_ID) or item_id, "object": "realtime.item"}
    fields.require("type")
    kind = item["type"] = fields.choice("type", ("message", *_REQUIRED))
    status = fields.choice("status", _STATUSES)
    if kind == "message":
        fields.require("role")
        role = item["role"] = fields.choice("role", tuple(_CONTENT)) or ""
        item["status"] = status or "completed"
        item["content"] = [_read_part(part, role) for part in fields.children("content", limit=_MAX_PARTS)]
        return item
    for key in _REQUIRED[kind or ""]:
        item[key] = fields.required_text(key, limit=MAX_ID if key == "call_id" else None)
    for key in _OPTIONAL:
        if (text := fields.text(key)) is not None:
            item[key] = text
    if kind in ("function_call", "function_call_output"):
        item["status"] = status or "completed"
    if kind == "mcp_approval_response":
        fields.require("approve")
        item["approve"] = fields.flag("approve")
    if kind == "mcp_call":
        item["output"] = fields.text("output")
        item["error"] = None if (error := fields.child("error")) is None else error.value
    if kind == "mcp_list_tools":
        item["tools"] = [_read_tool(tool) for tool in fields.children("tools", limit=_MAX_PARTS)]
    return item


def mcp_item(item: JSONObject, *, item_id: str) -> dict[str, JSON]:
    """Return what an agent says it has done with an MCP server, as an item.

    Errors: EventRefused.
    """
    fields = Fields(item, "item")
    fields.require("type")
    fields.choice("type", ("mcp_call", "mcp_list_tools", "mcp_approval_request"))
    return read_item(fields, item_id=item_id)


def copy_item(item: JSONObject) -> dict[str, JSON]:
    """Return an item as it is now, whatever becomes of it here."""
    if "content" not in item:
        return {**item}
    return {**item, "content": [{**part} for part in item["content"]]}


def shown_item(item: JSONObject) -> dict[str, JSON]:
    """Return an item as clients see it: without large images and audio."""
    shown = copy_item(item)
    for part in shown.get("content", ()):
        for key in ("image_url", "audio"):
            if len(part.get(key) or "") > MAX_SHOWN:
                del part[key]
    return shown


def spoken_message(item_id: str) -> dict[str, JSON]:
    """Return a turn of the user; the audio itself is not kept."""
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": None}],
    }


def assistant_message(item_id: str) -> dict[str, JSON]:
    """Return an answer of which nothing is known yet."""
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": "in_progress",
        "role": "assistant",
        "content": [],
    }


def function_call(item_id: str, *, call_id: str, name: str) -> dict[str, JSON]:
    """Return a call of a function of which the arguments are not known yet."""
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "function_call",
        "status": "in_progress",
        "name": name,
        "call_id": call_id,
        "arguments": "",
    }


def _read_part(fields: Fields, role: str) -> dict[str, JSON]:
    fields.require("type")
    names = _CONTENT[role]
    kind = names[fields.choice("type", tuple(names)) or ""]
    part: dict[str, JSON] = {"type": kind}
    if kind in ("input_text", "output_text"):
        part["text"] = fields.required_text("text")
    elif kind == "input_image":
        part["image_url"] = fields.required_text("image_url")
        if not part["image_url"].startswith(_IMAGES):
            raise EventRefused(
                "Invalid 'image_url': expected a data URI of a PNG or JPEG image.",
                param=fields.name("image_url"),
            )
        part["detail"] = fields.choice("detail", ("auto", "low", "high")) or "auto"
    else:
        part["transcript"] = fields.text("transcript")
        if (audio := fields.text("audio")) is not None:
            part["audio"] = audio
    return part


def _read_tool(fields: Fields) -> dict[str, JSON]:
    schema = fields.child("input_schema")
    return {
        "name": fields.required_text("name"),
        # Clients refuse tools without a description, which for servers is optional.
        "description": fields.text("description") or "",
        "input_schema": {} if schema is None else schema.value,
        "annotations": None if (notes := fields.child("annotations")) is None else notes.value,
    }
