"""What a call's conversation and its agent say to each other, as values and as JSON.

Notices go to the agent, reports come from it; audio goes beside them. The JSON is the same wherever the agent
runs: the fields of the class, and ``type``.
"""

import typing
from collections.abc import Callable, Mapping
from types import UnionType
from typing import ClassVar, Final, Literal, TypeAlias

import attrs

from voicegate.errors import WireError
from voicegate.wire.json_value import JSON, JSONObject

__all__ = [
    "AgentEvent",
    "AgentNotice",
    "AgentReport",
    "CancelReason",
    "ClientEvent",
    "ConversationTaken",
    "DtmfReceived",
    "FunctionCalled",
    "InputCommitted",
    "InputTranscribed",
    "ItemAdded",
    "ItemDeleted",
    "ItemTruncated",
    "McpCalled",
    "ResponseBegan",
    "ResponseCancelled",
    "ResponseEnded",
    "ResponseRequested",
    "ResponseStatus",
    "ServerEvent",
    "SessionUpdated",
    "TextAdded",
    "TranscriptAdded",
    "agent_event_from_json",
    "agent_event_to_json",
]

CancelReason: TypeAlias = Literal["turn_detected", "client_cancelled"]
ResponseStatus: TypeAlias = Literal["completed", "cancelled", "incomplete", "failed"]


# Notices


@attrs.frozen(kw_only=True)
class SessionUpdated:
    """How the client wants the session to be; comes once when the agent takes the conversation, too."""

    type: ClassVar = "session.updated"
    session: JSONObject
    """Whole, with defaults filled in: instructions, tools, voice, turn detection and the rest."""


@attrs.frozen(kw_only=True)
class ItemAdded:
    """The client has put an item into the conversation, or the user has said something.

    What was said is an item whose content is ``input_audio``, without the audio.
    """

    type: ClassVar = "item.added"
    item: JSONObject
    previous_item_id: str | None = None
    """After which item it stands; None: at the beginning."""


@attrs.frozen(kw_only=True)
class ItemDeleted:
    """The client has taken an item out of the conversation."""

    type: ClassVar = "item.deleted"
    item_id: str


@attrs.frozen(kw_only=True)
class ItemTruncated:
    """The user has heard only the beginning of something the agent said."""

    type: ClassVar = "item.truncated"
    item_id: str
    audio_end_ms: int
    """How much was heard."""


@attrs.frozen(kw_only=True)
class InputCommitted:
    """The user's turn is over: detected, or because the client says so."""

    type: ClassVar = "input.committed"
    item_id: str
    audio_start_ms: int
    audio_end_ms: int


@attrs.frozen(kw_only=True)
class ResponseRequested:
    """An answer is wanted: the client asks for it, or the user's turn is over."""

    type: ClassVar = "response.requested"
    response_id: str
    """To be used for all that belongs to the answer."""
    parameters: JSONObject
    """What the client wants otherwise than the session says, for this answer only."""


@attrs.frozen(kw_only=True)
class ResponseCancelled:
    """No more of a response is wanted."""

    type: ClassVar = "response.cancelled"
    response_id: str
    reason: CancelReason


@attrs.frozen(kw_only=True)
class ClientEvent:
    """An event of the client that the gateway does not deal with itself; only raw agents get it."""

    type: ClassVar = "client.event"
    event: JSONObject


@attrs.frozen(kw_only=True)
class DtmfReceived:
    """The user has pressed a key of a telephone."""

    type: ClassVar = "dtmf.received"
    digit: str
    duration_ms: int


# Reports


@attrs.frozen(kw_only=True)
class ConversationTaken:
    """From now on the agent wants notices, and answers for what it says."""

    type: ClassVar = "conversation.taken"
    is_raw: bool
    """Whether it speaks the events of the Realtime API itself."""


@attrs.frozen(kw_only=True)
class ResponseBegan:
    """The agent begins to answer, asked or not."""

    type: ClassVar = "response.began"
    response_id: str


@attrs.frozen(kw_only=True)
class TranscriptAdded:
    """More of the words of what is being said."""

    type: ClassVar = "transcript.added"
    response_id: str
    delta: str


@attrs.frozen(kw_only=True)
class TextAdded:
    """More of an answer in writing."""

    type: ClassVar = "text.added"
    response_id: str
    delta: str


@attrs.frozen(kw_only=True)
class FunctionCalled:
    """The agent wants the client to run a function of its tools."""

    type: ClassVar = "function.called"
    response_id: str
    call_id: str
    name: str
    arguments: str
    """JSON, as the model wrote it."""


@attrs.frozen(kw_only=True)
class McpCalled:
    """The agent has used an MCP server itself."""

    type: ClassVar = "mcp.called"
    response_id: str
    item: JSONObject
    """A finished ``mcp_call`` or ``mcp_list_tools``, or a ``mcp_approval_request``."""


@attrs.frozen(kw_only=True)
class ResponseEnded:
    """Nothing more comes of a response; what was sent of it may still be playing."""

    type: ClassVar = "response.ended"
    response_id: str
    status: ResponseStatus
    reason: str | None = None
    """Why, if it was not completed: the API's word for it if it has one."""


@attrs.frozen(kw_only=True)
class InputTranscribed:
    """Words of what the user says or has said."""

    type: ClassVar = "input.transcribed"
    item_id: str | None = None
    """None: the present turn, or the last one."""
    text: str
    """All of the turn if final, else what has been added."""
    is_final: bool = True


@attrs.frozen(kw_only=True)
class ServerEvent:
    """An event of an upstream model for the client, from a raw agent."""

    type: ClassVar = "server.event"
    event: JSONObject


AgentNotice: TypeAlias = (
    SessionUpdated
    | ItemAdded
    | ItemDeleted
    | ItemTruncated
    | InputCommitted
    | ResponseRequested
    | ResponseCancelled
    | ClientEvent
    | DtmfReceived
)

AgentReport: TypeAlias = (
    ConversationTaken
    | ResponseBegan
    | TranscriptAdded
    | TextAdded
    | FunctionCalled
    | McpCalled
    | ResponseEnded
    | InputTranscribed
    | ServerEvent
)

AgentEvent: TypeAlias = AgentNotice | AgentReport


def agent_event_to_json(event: AgentEvent) -> dict[str, JSON]:
    """Return the object that stands for an event."""
    return {"type": event.type} | attrs.asdict(event, recurse=False)


def agent_event_from_json(value: JSON) -> AgentEvent:
    """Read the object that stands for an event; fields that it does not know are left to later versions.

    Errors: WireError for anything else.
    """
    if not isinstance(value, Mapping):
        raise WireError("an event is a JSON object")
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _CLASSES:
        raise WireError("no such type of event")
    fields = {}
    for name, (is_right, is_required) in _FIELDS[kind].items():
        if name in value:
            if not is_right(value[name]):
                raise WireError(f"{kind} cannot have this as its {name}")
            fields[name] = value[name]
        elif is_required:
            raise WireError(f"{kind} lacks its {name}")
    return _CLASSES[kind](**fields)


def _checker(annotation: object) -> Callable[[JSON], bool]:
    """Return what tells whether a JSON value fits a field."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return lambda value: isinstance(value, str) and value in arguments
    if origin is UnionType:
        checkers = [_checker(argument) for argument in arguments]
        return lambda value: any(check(value) for check in checkers)
    if annotation is int:
        return lambda value: isinstance(value, int) and not isinstance(value, bool)
    expected = Mapping if annotation == JSONObject else typing.cast("type", annotation)
    return lambda value: isinstance(value, expected)


_CLASSES: Final[Mapping[str, type[AgentEvent]]] = {
    event_class.type: event_class for event_class in typing.get_args(AgentEvent)
}
_FIELDS: Final = {
    kind: {
        field.name: (_checker(hints[field.name]), field.default is attrs.NOTHING)
        for field in attrs.fields(event_class)
    }
    for kind, event_class in _CLASSES.items()
    for hints in [typing.get_type_hints(event_class)]
}
