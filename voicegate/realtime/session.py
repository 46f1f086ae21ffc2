"""A session of the OpenAI Realtime API, between its clients, the media of its call, and an agent.

Three kinds of agent are behind it. One that takes the conversation gets what clients do as notices, and
reports what it says. A raw one speaks the API itself: events go to it and come from it, and only what becomes
of the audio is known here. One that does neither is only heard: each stretch of its audio is a response.
"""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from voicegate.audio.pcm import SAMPLE_BYTES, audioop
from voicegate.errors import WireError
from voicegate.realtime.action import (
    Action,
    ClearInput,
    ClearOutput,
    CommitInput,
    EndCall,
    InputAppended,
    StopDetecting,
)
from voicegate.realtime.agent_event import (
    AgentReport,
    ConversationTaken,
    DtmfReceived,
    InputTranscribed,
    ItemAdded,
    ItemDeleted,
    ServerEvent,
    SessionUpdated,
)
from voicegate.realtime.client import Client
from voicegate.realtime.client_event import (
    CancelWanted,
    ClientCommand,
    DeletionWanted,
    InputAppend,
    InputClear,
    InputCommit,
    ItemOffered,
    OutputClear,
    ResponseWanted,
    RetrievalWanted,
    SessionUpdate,
    TruncationWanted,
    read_client_event,
)
from voicegate.realtime.client_session import ServerEventOut
from voicegate.realtime.conversation import Conversation
from voicegate.realtime.fault import EventRefused
from voicegate.realtime.field import Fields
from voicegate.realtime.item import MAX_ID, copy_item, read_item, shown_item
from voicegate.realtime.notice import (
    CallNotice,
    InputDtmf,
    OutputBegan,
    OutputDrained,
    OutputInterrupted,
    ServerLeaving,
    SpeechBegan,
    SpeechEnded,
    TurnOver,
)
from voicegate.realtime.outbox import GOING_AWAY, Outbox
from voicegate.realtime.responder import Responder
from voicegate.realtime.session_config import check_response, detection, new_session, update_session
from voicegate.realtime.upstream import Upstream
from voicegate.realtime.user_turn import UserTurns
from voicegate.wire.json_value import JSON, MAX_EVENT, JSONObject, decode_object

__all__ = ["RealtimeSession"]

AGENT_SECONDS: Final = 3.0
"""From the session's beginning until an agent that has not taken the conversation is taken for one that never
will: agents begin with it, but their process may be slow. A request for a response waits so long."""

_MIN_COMMIT_MS: Final = 100
"""Audio that a client must have sent for a turn."""

_MAX_EVENT_ID: Final = 512
_PCM_RATE: Final = 24_000
_LAW_RATE: Final = 8_000
_DECODERS: Final = {"audio/pcmu": audioop.ulaw2lin, "audio/pcma": audioop.alaw2lin}
_ENCODERS: Final = {"audio/pcmu": audioop.lin2ulaw, "audio/pcma": audioop.lin2alaw}


class _Held(NamedTuple):
    """A request for a response, from before there was an agent to answer it."""

    parameters: JSONObject
    event: JSONObject
    source: str


class RealtimeSession:
    """One session; a `voicegate.realtime.ClientSession`, whose drain rule holds.

    Args:
        session_id: its name, ``sess_...``.
        transport: whether the audio has tracks, or comes in events.
        model: what the session shows as its model.
        session: what the client asked for at first.
        random: gives random bytes.
        expires_at: when the session ends at the latest, in seconds since 1970.
        now: the time.
        unix_now: the same in seconds since 1970, for events that show it.

    Errors: EventRefused when the session cannot be as the client asked for.
    """

    def __init__(
        self,
        *,
        session_id: str,
        transport: Literal["webrtc", "websocket"],
        model: str,
        session: JSONObject | None,
        random: Callable[[int], bytes],
        expires_at: int | None = None,
        now: float,
        unix_now: float = 0.0,
    ) -> None:
        self._session = new_session(session, session_id=session_id, model=model, expires_at=expires_at)
        self._is_played_here: Final = transport == "webrtc"
        self._unix_offset: Final = unix_now - now
        self._outbox = Outbox(random(8).hex())
        self._conversation = Conversation()
        self._turns = UserTurns(self._outbox, self._conversation)
        self._responder = Responder(
            self._outbox,
            self._conversation,
            conversation_id=self._outbox.name("conv"),
            session=self._session,
            is_played_here=self._is_played_here,
        )
        self._clients: dict[str, Client] = {}
        self._upstream: Upstream | None = None
        self._is_taken = False
        self._give_up_at = now + AGENT_SECONDS
        self._held: _Held | None = None
        self._is_committing = False
        self._is_response_due = False
        self._appended_ms = 0.0
        self._committed_ms = 0.0
        self._input_ms, self._input_at = 0, now
        self._idle_at: float | None = None

    # Input

    def attach(self, source: str) -> None:
        """Take a connection of the client; it gets ``session.created`` first."""
        self._clients[source] = Client()
        self._outbox.clients = len(self._clients)
        self._outbox.send("session.created", source=source, session=self._session)

    def detach(self, source: str) -> None:
        """Forget a connection."""
        self._clients.pop(source, None)
        self._outbox.clients = len(self._clients)

    def handle_text(self, text: str, *, source: str, now: float) -> None:
        """Take an event of the client; what is wrong with it is told there, and nothing changes."""
        client = self._clients.get(source)
        if client is None:
            return
        was_refused = client.is_refused
        if not client.take(now=now):
            if not was_refused:  # An error for each would only add to the flood.
                self._refuse(EventRefused("Too many events.", code="rate_limit_exceeded"), None, source)
            return
        event_id = None
        try:
            event = _decode(text)
            event_id = Fields(event).text("event_id", limit=_MAX_EVENT_ID)
            self._handle_event(event, source=source, now=now)
        except EventRefused as refused:
            self._refuse(refused, event_id, source)
        self._watch_silence(now)

    def handle_notice(self, notice: CallNotice, *, now: float) -> None:
        """Take what the media side has seen."""
        match notice:
            case OutputBegan() | OutputDrained() | OutputInterrupted():
                if self._upstream is not None:
                    self._upstream.handle_output(notice)
                else:
                    is_speaking = self._turns.is_open
                    self._responder.handle_output(notice, is_user_speaking=is_speaking, now=now)
            case SpeechBegan(position_ms=position_ms):
                self._note_position(position_ms, now)
                self._begin_speech(position_ms)
            case SpeechEnded(position_ms=position_ms):
                self._note_position(position_ms, now)
            case TurnOver(position_ms=position_ms):
                self._note_position(position_ms, now)
                self._end_turn(position_ms)
            case InputDtmf(digit=digit, duration_ms=duration_ms):
                received_at = int(now + self._unix_offset)
                self._outbox.send(
                    "input_audio_buffer.dtmf_event_received", event=digit, received_at=received_at
                )
                self._outbox.tell(DtmfReceived(digit=digit, duration_ms=duration_ms))
            case ServerLeaving(seconds=seconds, source=source):
                if source is None or source in self._clients:
                    self._outbox.send(GOING_AWAY, source=source, seconds=seconds)
        self._settle(now)

    def handle_report(self, report: AgentReport, *, now: float) -> None:
        """Take what the agent has done."""
        match report:
            case ConversationTaken(is_raw=is_raw):
                self._take_agent(is_raw=is_raw)
            case ServerEvent(event=event):
                if self._upstream is not None:
                    self._use_session(self._upstream.handle_event(event, self._session))
            case _ if self._upstream is not None:
                pass  # A raw agent says everything in the API's own words.
            case InputTranscribed():
                self._turns.transcribe(report, is_wanted=self._wants_words)
            case _:
                self._responder.handle_report(report)
        self._settle(now)

    def release_agent(self, *, now: float) -> None:
        """Take it that the agent has gone: the next one on the call takes part, or does not."""
        if not self._is_taken:
            return
        self._responder.abandon()
        self._is_taken = self._outbox.has_agent = False
        self._upstream = None
        self._give_up_at = now + AGENT_SECONDS
        self._outbox.do(StopDetecting())
        self._settle(now)

    def add_output(self, response_id: str | None, pcm: bytes, *, now: float) -> None:  # noqa: ARG002
        """Take 16-bit samples at `output_rate`, for clients that get audio in events."""
        encode = _ENCODERS.get(self._format("output"))
        audio = pcm if encode is None else encode(pcm, SAMPLE_BYTES)
        if self._upstream is not None:
            self._upstream.add_output(response_id, audio)
        else:
            ms = len(pcm) / SAMPLE_BYTES / self.output_rate * 1000
            self._responder.add_output(response_id, audio, ms=ms)

    def handle_timeout(self, *, now: float) -> None:
        """Let time pass."""
        if self._held is not None and self._give_up_at <= now:
            held, self._held = self._held, None
            self._refuse(_no_agent(), held.event.get("event_id"), held.source)
        if self._idle_at is not None and self._idle_at <= now:
            self._idle_at = None
            end_ms = self._input_ms + int((now - self._input_at) * 1000)
            self._turns.commit_silence(self._input_ms, end_ms)
            self._request_response()
        self._settle(now)

    def expire(self) -> None:
        """Tell the client that its session has lasted long enough; `EndCall` follows."""
        message = "Your session hit the maximum duration."
        self._refuse(EventRefused(message, code="session_expired"), None, None)
        self._outbox.do(EndCall("session_expired", message))

    # Output

    def poll_event(self) -> ServerEventOut | None:
        """Return the next event for clients."""
        return self._outbox.poll_event()

    def poll_action(self) -> Action | None:
        """Return the next thing to do for the call."""
        return self._outbox.poll_action()

    def poll_timeout(self) -> float | None:
        """Return when to call `handle_timeout`."""
        due = (None if self._held is None else self._give_up_at, self._idle_at)
        return min((at for at in due if at is not None), default=None)

    @property
    def output_rate(self) -> int:
        """Samples per second of what `add_output` takes."""
        return _LAW_RATE if self._format("output") in _ENCODERS else _PCM_RATE

    def describe(self) -> dict[str, JSON]:
        """Return the session as it is now, and how much there is of its conversation."""
        return {
            "session": self._session,
            "is_taken": self._is_taken,
            "is_raw": self._upstream is not None,
            "items": len(self._conversation),
            "size": self._conversation.size,
            "dropped_reports": self._responder.dropped,
        }

    # Internals: the client

    def _handle_event(self, event: JSONObject, *, source: str, now: float) -> None:
        if self._upstream is not None and event.get("type") not in _OWNED:
            Fields(event).required_text("type")
            self._upstream.forward(event)
            return
        command = read_client_event(Fields(event))
        if isinstance(command, ResponseWanted) and not self._is_taken:
            self._hold(command, event, source=source, now=now)
        else:
            self._handle_command(command, source=source, now=now)

    def _handle_command(self, command: ClientCommand, *, source: str, now: float) -> None:
        match command:
            case SessionUpdate(session=update):
                self._update_session(update)
            case InputAppend(audio=audio):
                self._append_input(audio)
            case InputCommit():
                self._commit_input()
            case InputClear():
                self._committed_ms = self._appended_ms
                self._turns.forget(int(self._appended_ms) if not self._is_played_here else self._input_ms)
                self._outbox.do(ClearInput())
                self._outbox.send("input_audio_buffer.cleared")
            case OutputClear():
                if not self._is_played_here:
                    raise EventRefused("Only WebRTC has this buffer.", code="unsupported_event", param="type")
                self._outbox.do(ClearOutput())
            case ItemOffered(item=fields, previous_item_id=previous):
                item = read_item(fields, item_id=self._outbox.name("item"))
                previous = self._conversation.insert(item, previous)
                shown = shown_item(item)
                for what in ("added", "done"):
                    self._outbox.send(f"conversation.item.{what}", previous_item_id=previous, item=shown)
                self._outbox.tell(ItemAdded(item=copy_item(item), previous_item_id=previous))
            case DeletionWanted(item_id=item_id):
                self._conversation.remove(item_id)
                self._outbox.send("conversation.item.deleted", item_id=item_id)
                self._outbox.tell(ItemDeleted(item_id=item_id))
            case RetrievalWanted(item_id=item_id):
                item = self._conversation.get(item_id)
                self._outbox.send("conversation.item.retrieved", source=source, item=shown_item(item))
            case TruncationWanted():
                self._responder.truncate(
                    command.item_id, command.content_index, command.audio_end_ms, now=now
                )
            case ResponseWanted(parameters=parameters):
                _check_parameters(parameters)
                self._responder.request(parameters.value)
            case CancelWanted(response_id=response_id):
                self._responder.cancel(response_id)

    def _update_session(self, update: JSONObject) -> None:
        had = detection(self._session)
        self._use_session(update_session(self._session, update, has_spoken=self._responder.has_spoken))
        self._outbox.send("session.updated", session=self._session)
        self._outbox.tell(SessionUpdated(session=self._session))
        if self._is_taken and detection(self._session) != had:
            self._outbox.do(detection(self._session))

    def _append_input(self, audio: bytes) -> None:
        if self._is_played_here:
            raise EventRefused("Audio comes on its track.", code="unsupported_event", param="type")
        decode = _DECODERS.get(self._format("input"))
        if decode is None and len(audio) % SAMPLE_BYTES:
            raise EventRefused("The last sample is incomplete.", param="audio")
        rate = _PCM_RATE if decode is None else _LAW_RATE
        pcm = audio if decode is None else decode(audio, SAMPLE_BYTES)
        self._appended_ms += len(pcm) / SAMPLE_BYTES / rate * 1000
        self._outbox.do(InputAppended(pcm, rate))

    def _commit_input(self) -> None:
        has_ms = self._appended_ms - self._committed_ms
        if not self._is_played_here and has_ms < _MIN_COMMIT_MS:
            raise EventRefused(
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{_MIN_COMMIT_MS}ms of audio, but buffer only has {has_ms:.2f}ms of audio.",
                code="input_audio_buffer_commit_empty",
            )
        self._is_committing = True
        self._outbox.do(CommitInput())

    def _hold(self, command: ResponseWanted, event: JSONObject, *, source: str, now: float) -> None:
        _check_parameters(command.parameters)
        if self._held is not None or now >= self._give_up_at:
            raise _no_agent()
        self._held = _Held(command.parameters.value, event, source)

    def _refuse(self, refused: EventRefused, event_id: str | None, source: str | None) -> None:
        if source is None or source in self._clients:
            self._outbox.refuse(refused, event_id=event_id, source=source)

    # Internals: the user

    def _begin_speech(self, position_ms: int) -> None:
        if self._upstream is not None:
            return  # It listens itself.
        wanted = self._session["audio"]["input"]["turn_detection"]
        prefix_ms = 0 if wanted is None else int(wanted.get("prefix_padding_ms", 0))
        self._turns.begin(position_ms, prefix_ms=prefix_ms)
        self._is_response_due = False  # They have more to say first.
        if self._is_taken and wanted is not None and wanted["interrupt_response"]:
            self._responder.interrupt()

    def _end_turn(self, position_ms: int) -> None:
        was_committed, self._is_committing = self._is_committing, False
        self._committed_ms = self._appended_ms
        if self._upstream is not None:
            return
        self._turns.commit(position_ms)
        self._turns.complete(is_wanted=self._wants_words)
        wanted = self._session["audio"]["input"]["turn_detection"]
        if self._is_taken and not was_committed and wanted is not None and wanted["create_response"]:
            self._request_response()

    def _request_response(self) -> None:
        """Have the user answered, now or when the present response is over."""
        self._is_response_due = self._responder.active is not None
        if not self._is_response_due:
            self._responder.request({})

    def _note_position(self, position_ms: int, now: float) -> None:
        self._input_ms, self._input_at = position_ms, now

    # Internals: the agent

    def _take_agent(self, *, is_raw: bool) -> None:
        if self._is_taken:
            self._responder.abandon()
        self._is_taken = self._outbox.has_agent = True
        self._upstream = Upstream(self._outbox, is_played_here=self._is_played_here) if is_raw else None
        self._outbox.tell(SessionUpdated(session=self._session))
        previous = None
        for item in self._conversation:
            if self._upstream is None:
                self._outbox.tell(ItemAdded(item=copy_item(item), previous_item_id=previous))
            else:
                self._upstream.forward({"type": "conversation.item.create", "item": copy_item(item)})
            previous = item["id"]
        self._outbox.do(StopDetecting() if is_raw else detection(self._session))
        held, self._held = self._held, None
        if held is not None and self._upstream is not None:
            self._upstream.forward(held.event)
        elif held is not None:
            try:
                self._responder.request(held.parameters)
            except EventRefused as refused:
                self._refuse(refused, held.event.get("event_id"), held.source)

    def _use_session(self, session: dict[str, JSON]) -> None:
        self._session = self._responder.session = session

    # Internals: what follows

    def _settle(self, now: float) -> None:
        if self._is_response_due and self._upstream is None:
            self._request_response()
        self._watch_silence(now)

    def _watch_silence(self, now: float) -> None:
        """See to it that a user who says nothing for long is spoken to, if the client wants that."""
        wanted = self._session["audio"]["input"]["turn_detection"]
        idle_ms = 0 if wanted is None else wanted.get("idle_timeout_ms") or 0
        is_idle = (
            idle_ms > 0
            and self._is_taken
            and self._upstream is None
            and self._responder.has_spoken
            and self._responder.is_silent
            and not self._turns.is_open
        )
        if not is_idle:
            self._idle_at = None
        elif self._idle_at is None:
            self._idle_at = now + idle_ms / 1000

    @property
    def _wants_words(self) -> bool:
        return self._session["audio"]["input"]["transcription"] is not None

    def _format(self, side: Literal["input", "output"]) -> str:
        return str(self._session["audio"][side]["format"]["type"])


_OWNED: Final = ("input_audio_buffer.append", "output_audio_buffer.clear")
"""Events that are never the model's business: its audio goes through the call."""


def _decode(text: str) -> dict[str, JSON]:
    if len(text) > MAX_EVENT:
        raise EventRefused(f"An event may have {MAX_EVENT} characters.", code="event_too_large")
    try:
        return decode_object(text)
    except WireError as error:
        raise EventRefused(f"The event is no valid JSON: {error}.", code="invalid_json") from error


def _check_parameters(parameters: Fields) -> None:
    check_response(parameters)
    for item in parameters.children("input", limit=MAX_ID):
        if item.value.get("type") == "item_reference":
            item.required_text("id", limit=MAX_ID)
        else:
            read_item(item, item_id="")


def _no_agent() -> EventRefused:
    return EventRefused(
        "The agent of this call answers by itself and takes no requests for responses.",
        code="response_create_not_supported",
    )
