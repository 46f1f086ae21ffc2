"""The session of a client of the OpenAI Live API: its verbs are those of `RealtimeSession`, its words others.

A Live client sees no turns, items or responses, only what was said, on one timeline. Whoever answers is still
an agent that knows them. So this translates both ways:

- turns are found here and become the notices that a Realtime client would have caused;
- appended commentary and thinking become items, with a request to answer or without;
- a function that the agent calls becomes a delegation: to the client's backend (`session.delegation.created`,
  answered by an append with its id), or, where the session began with a Responses delegation, as the events
  of a response with a ``function_call``, answered by ``response.item.create`` and ``response.create``.

What comes before the agent has taken the conversation waits for it. Audio never gets here.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple

from voicegate.errors import WireError
from voicegate.realtime.action import (
    Action,
    CancelResponse,
    ClearOutput,
    EndCall,
    MuteInput,
    StopDetecting,
    TellAgent,
)
from voicegate.realtime.agent_event import (
    AgentNotice,
    AgentReport,
    ClientEvent,
    ConversationTaken,
    DtmfReceived,
    FunctionCalled,
    InputCommitted,
    InputTranscribed,
    ItemAdded,
    ItemTruncated,
    ResponseBegan,
    ResponseCancelled,
    ResponseEnded,
    ResponseRequested,
    ServerEvent,
    SessionUpdated,
    TranscriptAdded,
)
from voicegate.realtime.client_session import ServerEventOut
from voicegate.realtime.fault import EventRefused
from voicegate.realtime.field import Fields
from voicegate.realtime.item import read_item
from voicegate.realtime.live_config import LiveConfig, refuse_unknown
from voicegate.realtime.notice import (
    CallNotice,
    InputDtmf,
    OutputInterrupted,
    ServerLeaving,
    SpeechBegan,
    TurnOver,
)
from voicegate.realtime.outbox import GOING_AWAY, Outbox
from voicegate.realtime.session_config import detection
from voicegate.wire.json_value import JSON, JSONObject, decode_object

__all__ = ["CHANNEL", "LiveSession"]

CHANNEL: Final = "channel"
"""The connection whose permissions a session may restrict: the page's data channel."""

USAGE_SECONDS: Final = 15.0
"""Between two reports of usage, as the service has it."""

MAX_APPEND: Final = 8192
"""Characters of one append; the service takes 500 tokens."""
MAX_INSTRUCTIONS: Final = 256 * 1024
"""Characters of all instructions together."""
MAX_WAITING: Final = 256
"""Notices for an agent that has not taken the conversation yet, and may never."""
MAX_DELEGATIONS: Final = 256
"""That wait for their results; of more the oldest is forgotten."""

EVENT_RATE: Final = 200.0
EVENT_BURST: Final = 1000
"""Client events per second in the long run, and at once: far more than people or their programs cause."""


class _Command(NamedTuple):
    """An event of the client."""

    fields: Fields
    event_id: str | None
    now: float


class LiveSession:
    """A core: see `voicegate.realtime.ClientSession` for its verbs and the drain rule.

    Args:
        session_id: ``live_...``.
        model: What the client would talk to; what the session says if empty.
        session: As `LiveConfig.read` takes it.
        random: Where random bytes come from.
        now: Seconds; the beginning of the timeline.
        expires_at: When the session is over at the latest, in seconds since 1970.

    Errors: EventRefused for a session that can't be.
    """

    def __init__(
        self,
        *,
        session_id: str,
        model: str,
        session: Mapping[str, JSON] | None,
        random: Callable[[int], bytes],
        now: float,
        expires_at: int | None = None,
    ) -> None:
        self._id = session_id
        self._expires_at = expires_at
        self._config = LiveConfig.read({"model": model or "default", **(session or {})})
        self._began_at = now
        self._outbox = Outbox(random(6).hex())
        self._sources: dict[str, None] = {}
        self._agent: Literal["absent", "conversing", "raw"] = "absent"
        # One command may add two; more than that is refused, and dropped of what is no command.
        self._waiting: deque[AgentNotice] = deque(maxlen=MAX_WAITING + 1)
        self._response_id: str | None = None
        self._delegations: dict[str, str] = {}
        """Functions that were called, by the id of the call."""
        self._turn_began_ms = 0
        self._turn_ended_ms: int | None = None
        self._heard = ""
        """What the present turn's transcript is so far."""
        self._output_until_ms = 0
        self._usage_at = now + USAGE_SECONDS
        self._allowance = float(EVENT_BURST)
        self._spent_at = self._seen_at = now
        self._is_closed = False

    # Input

    def attach(self, source: str) -> None:
        """Take a connection, which is told of the session first."""
        self._sources[source] = None
        self._outbox.clients = len(self._sources)
        self._send("session.started", source=source, session=self.describe())
        if source == CHANNEL and self._config.is_restricted:
            message = "What this channel may send and receive is restricted by the session."
            self._send("info", source=source, code="data_channel_permissions", message=message)

    def detach(self, source: str) -> None:
        """Forget a connection."""
        self._sources.pop(source, None)
        self._outbox.clients = len(self._sources)

    def handle_text(self, text: str, *, source: str, now: float) -> None:
        """Take an event of the client; what is wrong with it is answered by an error and changes nothing."""
        if self._is_closed:
            return
        event_id = None
        try:
            self._spend(now)
            fields = Fields(_decode(text))
            event_id = fields.text("event_id", limit=512)
            kind = self._admit(fields, source)
            self._perform(kind, _Command(fields, event_id, now))
        except EventRefused as refused:
            self._refuse(refused, event_id=event_id, source=source)

    def handle_notice(self, notice: CallNotice, *, now: float) -> None:
        """Take what the media side has seen; agents without a conversation see to turns themselves."""
        self._seen_at = now
        if isinstance(notice, InputDtmf):
            if self._agent != "absent":
                self._tell(DtmfReceived(digit=notice.digit, duration_ms=notice.duration_ms))
            for source in self._sources:
                if source != CHANNEL:
                    self._send("transport.dtmf.received", source=source, event=notice.digit)
        if isinstance(notice, ServerLeaving) and notice.source in {None, *self._sources}:
            self._send(GOING_AWAY, source=notice.source, seconds=notice.seconds)
        if self._agent != "conversing":
            return
        match notice:
            case SpeechBegan(position_ms=position_ms):
                self._turn_began_ms, self._turn_ended_ms, self._heard = position_ms, None, ""
                self._cancel_response()
            case TurnOver(position_ms=position_ms):
                self._turn_ended_ms = position_ms
                self._end_turn(position_ms)
            case OutputInterrupted(response_id=str() as response_id, heard_ms=heard_ms):
                # The agent knows its words by the response that they are of.
                self._tell(ItemTruncated(item_id=response_id, audio_end_ms=heard_ms))
            case _:
                pass

    def handle_report(self, report: AgentReport, *, now: float) -> None:
        """Take what the agent has done."""
        self._seen_at = now
        match report:
            case ConversationTaken(is_raw=is_raw):
                self._take_conversation(is_raw=is_raw)
            case ResponseBegan(response_id=response_id):
                self._response_id = response_id
                self._output_until_ms = self._position_ms(now)
            case ResponseEnded(response_id=response_id) if response_id == self._response_id:
                self._response_id = None
            case TranscriptAdded(delta=delta):
                self._add_output_transcript(delta, now)
            case InputTranscribed(text=text, is_final=is_final):
                self._add_input_transcript(text, is_final=is_final, now=now)
            case FunctionCalled():
                self._delegate(report, now)
            case ServerEvent(event=event):
                self._translate(event, now)
            case _:
                pass  # Written answers and MCP calls have no event here.

    def release_agent(self, *, now: float) -> None:
        """Take it that the agent has gone: the next one on the call takes part, or does not."""
        self._seen_at = now
        if self._agent != "absent":
            self._agent = "absent"
            self._response_id = None
            self._outbox.do(StopDetecting())

    def add_output(self, response_id: str | None, pcm: bytes, *, now: float) -> None:
        """Take audio of the agent: it goes on the track, and nobody is told."""

    def handle_timeout(self, *, now: float) -> None:
        """Report usage, if it is time."""
        self._seen_at = now
        if not self._is_closed and now >= self._usage_at:
            self._usage_at = now + USAGE_SECONDS
            self._send("session.usage.updated", usage=self._usage(now))

    def expire(self) -> None:
        """Tell the client that its session has lasted long enough, and end the call."""
        self._close("expired", self._seen_at)

    # Output

    def poll_event(self) -> ServerEventOut | None:
        """Return the next event for clients."""
        return self._outbox.poll_event()

    def poll_action(self) -> Action | None:
        """Return the next thing to do for the call."""
        return self._outbox.poll_action()

    def poll_timeout(self) -> float | None:
        """Return when to call `handle_timeout`."""
        return self._usage_at if self._sources and not self._is_closed else None

    def describe(self) -> dict[str, JSON]:
        """Return the session as it is now."""
        return self._config.resource(session_id=self._id, expires_at=self._expires_at)

    # Internals: commands

    def _admit(self, fields: Fields, source: str) -> str:
        """Return the type of an event that this connection may send, and that has nothing unknown in it."""
        kind = fields.required_text("type")
        if kind not in _COMMANDS:
            raise _unknown_event(kind)
        if source == CHANNEL and not self._config.may_send(kind):
            message = f"This channel may not send '{kind}'."
            raise EventRefused(message, code="event_not_allowed", param="type")
        if len(self._waiting) >= MAX_WAITING and kind != "session.close":
            raise EventRefused("The agent does not take part in the session.", code="agent_not_conversing")
        refuse_unknown(fields, ("type", "event_id", *_COMMANDS[kind]))
        return kind

    def _perform(self, kind: str, command: _Command) -> None:
        match kind:
            case "session.update":
                self._update(command)
            case "session.input_audio.mute" | "session.input_audio.unmute":
                self._mute(command, is_muted=kind.endswith(".mute"))
            case "session.instructions.append":
                self._append_instructions(command)
            case "session.thinking.append" | "session.commentary.append":
                self._append_context(command, is_to_be_said=kind.startswith("session.commentary"))
            case "response.item.create":
                self._create_item(command)
            case "response.create":
                self._want_responses(kind)
                self._ask()
            case _:
                self._close("close_requested", command.now, command=command)

    def _update(self, command: _Command) -> None:
        command.fields.require("session")
        self._config = self._config.update(command.fields.value["session"])
        self._tell(self._session_updated())
        self._send("session.updated", command=command, session=self.describe())

    def _mute(self, command: _Command, *, is_muted: bool) -> None:
        self._outbox.do(MuteInput(is_muted=is_muted))
        self._send(f"session.input_audio.{'muted' if is_muted else 'unmuted'}", command=command)

    def _append_instructions(self, command: _Command) -> None:
        content, _ = self._read_append(command.fields)
        self._config = self._config.with_instructions(content, limit=MAX_INSTRUCTIONS)
        self._tell(self._session_updated())
        self._acknowledge("session.instructions.appended", command)

    def _append_context(self, command: _Command, *, is_to_be_said: bool) -> None:
        self._add_context(*self._read_append(command.fields))
        if is_to_be_said:
            self._ask()
        self._acknowledge(f"session.{'commentary' if is_to_be_said else 'thinking'}.appended", command)

    def _create_item(self, command: _Command) -> None:
        self._want_responses("response.item.create")
        command.fields.require("item")
        item = Fields(command.fields.value["item"], "item")
        self._tell_item(read_item(item, item_id=self._outbox.name("item")))

    def _read_append(self, fields: Fields) -> tuple[str, str | None]:
        """Return what is to be appended, and the delegation that it is the result of, if any."""
        content = fields.required_text("content", limit=MAX_APPEND)
        delegation_id = fields.text("delegation_id", limit=256)
        if delegation_id is not None and delegation_id not in self._delegations:
            message = f"There is no delegation '{delegation_id[:64]}'."
            raise EventRefused(message, code="delegation_not_found", param="delegation_id")
        return content, delegation_id

    def _add_context(self, content: str, delegation_id: str | None) -> None:
        item: dict[str, JSON] = {"id": self._outbox.name("item"), "object": "realtime.item"}
        if delegation_id is not None and self._delegations[delegation_id]:
            self._delegations[delegation_id] = ""
            item |= {"type": "function_call_output", "call_id": delegation_id, "output": content}
        else:
            part = {"type": "input_text", "text": content}
            item |= {"type": "message", "role": "system", "status": "completed", "content": [part]}
        self._tell_item(item)

    def _want_responses(self, kind: str) -> None:
        if self._config.delegation["type"] != "responses":
            raise EventRefused(
                f"{kind} requires Responses delegation.", code="invalid_delegation", param="type"
            )

    def _close(
        self, reason: Literal["close_requested", "expired"], now: float, *, command: _Command | None = None
    ) -> None:
        if not self._is_closed:
            session, usage = self.describe(), self._usage(now)
            self._send("session.closed", command=command, reason=reason, session=session, usage=usage)
            self._is_closed = True
            code = "session_expired" if reason == "expired" else reason
            self._outbox.do(EndCall(code=code, message=f"the session was closed: {reason}"))

    # Internals: the agent

    def _take_conversation(self, *, is_raw: bool) -> None:
        if self._agent != "absent":
            return
        self._agent = "raw" if is_raw else "conversing"
        self._outbox.do(TellAgent(self._session_updated()))
        for message in self._config.history:
            role = "system" if message["role"] == "developer" else message["role"]
            self._tell_item({**message, "id": self._outbox.name("item"), "role": role})
        while self._waiting:
            self._tell(self._waiting.popleft())
        if not is_raw:  # An upstream model finds turns itself.
            self._outbox.do(detection(self._for_agent()))

    def _tell(self, notice: AgentNotice) -> None:
        if self._agent == "raw":
            self._outbox.do(TellAgent(_in_raw_words(notice)))
        elif self._agent == "conversing":
            self._outbox.do(TellAgent(notice))
        else:
            self._waiting.append(notice)

    def _tell_item(self, item: JSONObject) -> None:
        self._tell(ItemAdded(item=item))

    def _ask(self) -> None:
        self._tell(ResponseRequested(response_id=self._outbox.name("resp"), parameters={}))

    def _session_updated(self) -> SessionUpdated:
        return SessionUpdated(session=self._for_agent())

    def _for_agent(self) -> dict[str, JSON]:
        return self._config.for_agent(session_id=self._id, expires_at=self._expires_at)

    def _cancel_response(self) -> None:
        if self._response_id is not None:
            self._tell(ResponseCancelled(response_id=self._response_id, reason="turn_detected"))
            self._outbox.do(CancelResponse(self._response_id))
            self._response_id = None

    def _end_turn(self, position_ms: int) -> None:
        item_id = self._outbox.name("item")
        self._tell(
            InputCommitted(item_id=item_id, audio_start_ms=self._turn_began_ms, audio_end_ms=position_ms)
        )
        content = [{"type": "input_audio", "transcript": None}]
        self._tell_item(
            {"id": item_id, "type": "message", "role": "user", "status": "completed", "content": content}
        )
        self._ask()

    def _delegate(self, called: FunctionCalled, now: float) -> None:
        if len(self._delegations) >= MAX_DELEGATIONS:
            del self._delegations[next(iter(self._delegations))]
        self._delegations[called.call_id] = called.name
        target = self._config.delegation["type"]
        delegation = {"id": called.call_id, "type": "delegation", "target": target}
        if target == "responses":
            delegation["response_id"] = called.response_id
        offset_ms = self._position_ms(now)
        self._send("session.delegation.created", delegation=delegation, offset_ms=offset_ms)
        if target == "responses":
            for event in _response_events(called, item_id=self._outbox.name("fc")):
                self._send("response.event", delegation_id=called.call_id, event=event)

    def _translate(self, event: JSONObject, now: float) -> None:
        """Take an event that a raw agent's upstream says in the words of the Realtime API, old or new."""
        delta = event.get("delta")
        match event.get("type"):
            case "response.output_audio_transcript.delta" | "response.audio_transcript.delta":
                self._add_output_transcript(str(delta), now)
            case "conversation.item.input_audio_transcription.delta":
                self._add_input_transcript(str(delta), is_final=False, now=now)
            case "conversation.item.input_audio_transcription.completed":
                self._add_input_transcript(str(event.get("transcript")), is_final=True, now=now)
                self._heard = ""
            case "input_audio_buffer.speech_started":
                self._turn_began_ms, self._heard = self._position_ms(now), ""
                self._outbox.do(ClearOutput())
            case "response.function_call_arguments.done":
                names = ("response_id", "call_id", "name", "arguments")
                self._delegate(FunctionCalled(**{name: str(event.get(name, "")) for name in names}), now)
            case "error" if isinstance(event.get("error"), Mapping):
                upstream = event["error"]
                error = {name: str(upstream.get(name) or "") for name in ("type", "code", "message")}
                self._send("error", error=error)
            case _:
                pass

    # Internals: transcripts, on the timeline

    def _add_output_transcript(self, delta: str, now: float) -> None:
        # When each word is heard nobody knows; when it was written, and after which, is known.
        start_ms = self._output_until_ms
        self._output_until_ms = max(start_ms, self._position_ms(now))
        self._send(
            "session.output_transcript.delta", delta=delta, start_ms=start_ms, end_ms=self._output_until_ms
        )

    def _add_input_transcript(self, text: str, *, is_final: bool, now: float) -> None:
        """Say what is new; what a final transcript has otherwise than what was said before is lost."""
        delta = text
        if is_final:
            delta = text.removeprefix(self._heard) if text.startswith(self._heard) else ""
        self._heard += delta
        if delta:
            end_ms = self._position_ms(now) if self._turn_ended_ms is None else self._turn_ended_ms
            start_ms = min(self._turn_began_ms, end_ms)
            self._send("session.input_transcript.delta", delta=delta, start_ms=start_ms, end_ms=end_ms)

    # Internals: events

    def _acknowledge(self, kind: str, command: _Command) -> None:
        position_ms = self._position_ms(command.now)
        self._send(kind, command=command, start_ms=position_ms, end_ms=position_ms)

    def _send(
        self, kind: str, *, source: str | None = None, command: _Command | None = None, **fields: JSON
    ) -> None:
        """Send an event to one connection or to all, as far as they may see it."""
        event: dict[str, JSON] = {"type": kind, "event_id": self._outbox.name("event"), **fields}
        if command is not None and command.event_id is not None:
            event["client_event_id"] = command.event_id
        if self._config.may_receive(event):
            self._outbox.forward(event, source=source)
            return
        for each in self._sources if source is None else (source,):
            if each != CHANNEL:
                self._outbox.forward(event, source=each)

    def _refuse(self, refused: EventRefused, *, event_id: str | None, source: str) -> None:
        error: dict[str, JSON] = {
            "type": "invalid_request_error",
            "code": refused.code,
            "message": refused.message,
        }
        known = (("param", refused.param), ("client_event_id", event_id))
        error |= {name: value for name, value in known if value is not None}
        self._send("error", source=source, error=error)

    def _spend(self, now: float) -> None:
        """Take one event off what the client may send."""
        self._allowance = min(self._allowance + (now - self._spent_at) * EVENT_RATE, EVENT_BURST)
        self._spent_at = now
        if self._allowance < 1:
            raise EventRefused(f"More than {EVENT_RATE:.0f} events a second.", code="rate_limit_exceeded")
        self._allowance -= 1

    def _usage(self, now: float) -> dict[str, JSON]:
        return {"seconds": round(max(0.0, now - self._began_at), 1)}

    def _position_ms(self, now: float) -> int:
        return max(0, round((now - self._began_at) * 1000))


def _decode(text: str) -> JSONObject:
    try:
        return decode_object(text)
    except WireError as error:
        raise EventRefused(f"The event can't be read: {error}.", code="invalid_json") from error


def _unknown_event(kind: str) -> EventRefused:
    supported = ", ".join(f"'{each}'" for each in _COMMANDS)
    known = kind[:64] if kind in _ELSEWHERE else None
    problem = f"'{known}' is not possible on this connection" if known else "Unknown event"
    return EventRefused(f"{problem}. Supported are: {supported}.", code="unsupported_event", param="type")


def _response_events(called: FunctionCalled, *, item_id: str) -> list[dict[str, JSON]]:
    """Return what the Responses API would stream of a response that is nothing but a function call."""
    item = {
        "type": "function_call",
        "id": item_id,
        "call_id": called.call_id,
        "name": called.name,
        "arguments": called.arguments,
        "status": "completed",
    }
    response = {"id": called.response_id, "object": "response", "output": []}
    events: list[dict[str, JSON]] = [
        {"type": "response.created", "response": {**response, "status": "in_progress"}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {**response, "status": "completed"}},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _in_raw_words(notice: AgentNotice) -> AgentNotice:
    """Say to an upstream model what a Realtime client would."""
    match notice:
        case ItemAdded(item=item):
            return ClientEvent(event={"type": "conversation.item.create", "item": _plain(item)})
        case ResponseRequested():
            return ClientEvent(event={"type": "response.create"})
        case _:
            return notice


def _plain(item: JSONObject) -> dict[str, JSON]:
    return {name: value for name, value in item.items() if name not in ("id", "object", "status")}


_APPEND: Final = ("content", "delegation_id")
_COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "session.update": ("session",),
    "session.input_audio.mute": (),
    "session.input_audio.unmute": (),
    "session.instructions.append": _APPEND,
    "session.thinking.append": _APPEND,
    "session.commentary.append": _APPEND,
    "response.item.create": ("item",),
    "response.create": (),
    "session.close": (),
}
"""Events that are taken, and which fields each may have."""

_ELSEWHERE: Final = (
    "session.start",
    "session.input_audio.append",
    "session.output_audio.fixture.play",
    "decision.create",
    "decision.item.create",
    "decision.item.delete",
    "transport.dtmf.send",
)
"""Events of the API that this server, or this transport, doesn't have."""
