"""The session object of the Live API: strict, unlike the Realtime one. What it doesn't know it refuses.

Agents know sessions of one kind only: `LiveConfig.for_agent` says the same in the words of the Realtime API.
"""

from collections.abc import Collection
from typing import Final, Self

import attrs

from voicegate.realtime.fault import EventRefused
from voicegate.realtime.field import Fields
from voicegate.realtime.session_config import MAX_SESSION, new_session
from voicegate.wire.json_value import JSON, JSONObject, encode_object

__all__ = ["LiveConfig", "refuse_unknown"]

DEFAULT_VOICE: Final = "marin"

MAX_HISTORY: Final = 128
"""Messages from before the session, the service's own limit."""
_MAX_NAMES: Final = 256
_MAX_DELAY_MS: Final = 60_000

_SESSION: Final = (
    "model",
    "audio",
    "client",
    "delegation",
    "input",
    "instructions",
    "safety_identifier",
    "store",
    "triggers",
)
_RESPONSES: Final = (
    "model",
    "instructions",
    "max_output_tokens",
    "parallel_tool_calls",
    "reasoning",
    "service_tier",
    "text",
    "tool_choice",
    "tools",
)
_ROLES: Final = ("developer", "user", "assistant")
_TEXTS: Final = ("input_text", "output_text", "text")


@attrs.frozen(kw_only=True)
class LiveConfig:
    """What a Live session begins with; only the settings of its delegation can change."""

    model: str
    voice: JSON = DEFAULT_VOICE
    """A name, or an object with the ``id`` of a voice."""
    instructions: str = ""
    delegation: JSONObject = attrs.field(factory=lambda: {"type": "client"})
    history: tuple[JSONObject, ...] = ()
    """Messages from before."""
    client: JSONObject | None = None
    """What the page may do on its data channel; None: everything."""
    safety_identifier: str | None = None

    @classmethod
    def read(cls, value: JSON) -> Self:
        """Read the ``session`` of a request.

        Errors: EventRefused.
        """
        fields = Fields(value, "session")
        refuse_unknown(fields, _SESSION)
        if len(encode_object(fields.value)) > MAX_SESSION:
            message = f"A session may have {MAX_SESSION} characters."
            raise EventRefused(message, code="session_too_large", param="session")
        fields.flag("store")  # Nothing is ever stored, and the answer says so.
        if fields.items("triggers", limit=_MAX_NAMES):
            raise _unsupported("session.triggers")
        return cls(
            model=fields.required_text("model", limit=256),
            voice=_voice(fields),
            instructions=fields.text("instructions") or "",
            delegation=_delegation(fields.child("delegation")),
            history=tuple(_message(each) for each in fields.children("input", limit=MAX_HISTORY)),
            client=_client(fields.child("client")),
            safety_identifier=fields.text("safety_identifier", limit=256),
        )

    def update(self, value: JSON) -> Self:
        """Return this with other settings of the delegation, as ``session.update`` wants them.

        Errors: EventRefused.
        """
        fields = Fields(value, "session")
        refuse_unknown(fields, ("delegation", "triggers"))
        if fields.items("triggers", limit=_MAX_NAMES):
            raise _unsupported("session.triggers")
        wanted = fields.child("delegation")
        if wanted is None:
            return self
        if wanted.required_text("type") != self.delegation["type"]:
            raise wanted.refusal("type", f"{self.delegation['type']!r}, as the session began")
        said = {name: value for name, value in wanted.value.items() if value is not None}
        if (nested := wanted.child("responses")) is not None:
            said["responses"] = {**self.delegation.get("responses", {}), **nested.value}
        changed = {**self.delegation, **said}
        return attrs.evolve(self, delegation=_delegation(Fields(changed, wanted.path)))

    def with_instructions(self, more: str, *, limit: int) -> Self:
        """Return this with more instructions behind those that there are.

        Errors: EventRefused when all together have more than ``limit`` characters.
        """
        instructions = f"{self.instructions}\n\n{more}" if self.instructions else more
        if len(instructions) > limit:
            message = f"The instructions of a session may have {limit} characters."
            raise EventRefused(message, code="string_above_max_length", param="content")
        return attrs.evolve(self, instructions=instructions)

    def resource(self, *, session_id: str, expires_at: int | None) -> dict[str, JSON]:
        """Describe the session to its client."""
        described = {
            "id": session_id,
            "object": "live.session",
            "status": "active",
            "model": self.model,
            "expires_at": expires_at or 0,
            "audio": {"output": {"voice": self.voice}},
            "delegation": self.delegation,
            "input": list(self.history),
            "instructions": self.instructions,
            "store": False,
        }
        known = (("client", self.client), ("safety_identifier", self.safety_identifier))
        return described | {name: value for name, value in known if value is not None}

    def for_agent(self, *, session_id: str, expires_at: int | None) -> dict[str, JSON]:
        """Say it as a session of the Realtime API."""
        responses = self.delegation.get("responses", {})
        # Agents have functions and MCP servers; whoever knows other tools finds them in ``live``.
        tools = [tool for tool in responses.get("tools", ()) if tool["type"] in ("function", "mcp")]
        instructions = [text for text in (self.instructions, responses.get("instructions")) if text]
        session = new_session(
            {
                "type": "realtime",
                "instructions": "\n\n".join(instructions),
                "tools": tools,
                "audio": {"output": {"voice": self.voice}},
            },
            session_id=session_id,
            model=self.model,
            expires_at=expires_at,
        )
        return {**session, "live": self.resource(session_id=session_id, expires_at=expires_at)}

    def may_send(self, event_type: str) -> bool:
        """Tell whether the page may send such an event on its data channel."""
        allowed = self._allowed("allowed_client_events")
        return allowed == "all" or event_type in allowed

    def may_receive(self, event: JSONObject) -> bool:
        """Tell whether the page may see such an event on its data channel."""
        allowed = self._allowed("allowed_server_events")
        if allowed == "all":
            return True
        nested = event.get("event", {}).get("type") if event["type"] == "response.event" else None
        return any(each["type"] == event["type"] and each.get("response_event") == nested for each in allowed)

    @property
    def is_restricted(self) -> bool:
        """Whether there is anything that the page may not."""
        return self.client is not None

    def _allowed(self, name: str) -> JSON:
        return "all" if self.client is None else self.client["data_channel"].get(name, "all")


def refuse_unknown(fields: Fields, known: Collection[str]) -> None:
    """Refuse an object with a field that isn't known.

    Errors: EventRefused.
    """
    for name in fields.value:
        if name not in known:
            path = fields.name(name)[:200]
            raise EventRefused(f"Unknown parameter: '{path}'.", code="unknown_parameter", param=path)


def _voice(session: Fields) -> JSON:
    audio = session.child("audio") or Fields({})
    refuse_unknown(audio, ("output",))
    output = audio.child("output") or Fields({})
    refuse_unknown(output, ("voice",))
    if not isinstance(output.value.get("voice"), dict):
        return output.text("voice", limit=128) or DEFAULT_VOICE
    custom = Fields(output.value["voice"], output.name("voice"))
    refuse_unknown(custom, ("id",))
    return {"id": custom.required_text("id", limit=128)}


def _delegation(fields: Fields | None) -> JSONObject:
    if fields is None:
        return {"type": "client"}
    kind = fields.required_text("type")
    if kind == "decisions":
        raise _unsupported(fields.name("type"))
    if kind not in ("client", "responses"):
        raise fields.refusal("type", "'client' or 'responses'")
    refuse_unknown(
        fields, ("type", "acknowledgement_delay_ms", *(["responses"] if kind == "responses" else []))
    )
    fields.integer("acknowledgement_delay_ms", 0, _MAX_DELAY_MS)
    if kind == "responses":
        fields.require("responses")
        _check_responses(Fields(fields.value["responses"], fields.name("responses")))
    return fields.value


def _check_responses(fields: Fields) -> None:
    refuse_unknown(fields, _RESPONSES)
    fields.required_text("model", limit=256)
    fields.text("instructions")
    fields.integer("max_output_tokens", 1, 1_000_000)
    fields.flag("parallel_tool_calls")
    for tool in fields.children("tools", limit=_MAX_NAMES):
        if tool.required_text("type") == "function":
            tool.required_text("name", limit=256)


def _message(fields: Fields) -> JSONObject:
    refuse_unknown(fields, ("type", "id", "role", "status", "content"))
    fields.choice("type", ("message",))
    fields.text("id", limit=256)
    fields.choice("status", ("incomplete", "completed"))
    fields.require("role")
    role = fields.choice("role", _ROLES)
    parts = fields.children("content", limit=1)
    if not parts:
        raise fields.refusal("content", "one part of text")
    refuse_unknown(parts[0], ("type", "text"))
    parts[0].choice("type", _TEXTS)
    kind = "output_text" if role == "assistant" else "input_text"
    return {
        "type": "message",
        "role": role,
        "status": "completed",
        "content": [{"type": kind, "text": parts[0].required_text("text")}],
    }


def _client(fields: Fields | None) -> JSONObject | None:
    if fields is None:
        return None
    refuse_unknown(fields, ("data_channel",))
    fields.require("data_channel")
    channel = Fields(fields.value["data_channel"], fields.name("data_channel"))
    refuse_unknown(channel, ("allowed_client_events", "allowed_server_events"))
    if channel.value.get("allowed_client_events") != "all":
        channel.texts("allowed_client_events", limit=_MAX_NAMES)
    if channel.value.get("allowed_server_events") != "all":
        for selector in channel.children("allowed_server_events", limit=_MAX_NAMES):
            refuse_unknown(selector, ("type", "response_event"))
            is_nested = selector.required_text("type") == "response.event"
            if is_nested != (selector.text("response_event") is not None):
                raise selector.refusal("response_event", "one for 'response.event', and for that alone")
    permissions = {name: value for name, value in channel.value.items() if value is not None}
    return {"data_channel": permissions}


def _unsupported(path: str) -> EventRefused:
    return EventRefused(
        f"'{path}' is not supported by this server.", code="unsupported_parameter", param=path
    )
