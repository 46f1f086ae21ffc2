"""A call's conversation with a server that speaks the Realtime API, without any I/O or clock.

1. `Bridge.connected`: the server is expected to greet, which shows its dialect; after a moment it is taken
   for a modern one that does not greet.
2. It is told the session, what was said so far if it is not the first server of this call, and what was
   heard since the last turn, in part perhaps by the server before. A question that no audio has answered yet
   is asked again.
3. Events go both ways, with ids that stay the client's own. What a server cannot do is done without it.
4. `Bridge.disconnected`: responses end as failed; and so on from 1.

Nothing that a server sends raises: what makes no sense is counted and dropped.

Drain rule: after each command, ``handle_*``, `connected` and `disconnected`, `Bridge.poll_transmit` and
`Bridge.poll_event` to None, then `Bridge.poll_timeout`.
"""

import base64
import binascii
from collections import deque
from collections.abc import Mapping
from math import inf
from typing import Any, Final, TypeAlias

import attrs

from voicegate.agents.realtime.dialect import (
    Dialect,
    item_for,
    modern_event,
    recognise,
    response_for,
    session_for,
)
from voicegate.agents.realtime.history import History
from voicegate.agents.realtime.names import Names
from voicegate.agents.realtime.options import RealtimeOptions
from voicegate.agents.realtime.request import Requests
from voicegate.agents.realtime.wish import SessionWish
from voicegate.audio.pcm import SAMPLE_BYTES
from voicegate.errors import WireError
from voicegate.realtime.client_event import CLIENT_EVENTS, read_client_event
from voicegate.realtime.fault import EventRefused
from voicegate.realtime.field import Fields
from voicegate.wire.json_value import decode_object, encode_object

__all__ = ["AudioReceived", "Bridge", "BridgeEvent", "EventReceived", "ServerExpired", "SpeechHeard"]

GREETING_SECONDS: Final = 2.0
"""For ``session.created`` to arrive; some servers never send it."""

MAX_EARLY: Final = 5120
"""Events that wait for the first server: all items of a conversation that another agent had, and some
seconds of what a client may send."""

KEPT_SECONDS: Final = 20
"""Of what the user has said that no server has made a turn of; a question takes no longer."""

_ENDS_TURN: Final = ("input_audio_buffer.committed", "input_audio_buffer.cleared", "response.created")
"""What is said next is another turn. Not all servers tell of the first."""

_MAX_MILLISECONDS: Final = 86_400_000

JSONObject: TypeAlias = dict[str, Any]


@attrs.frozen
class EventReceived:
    """An event for the client."""

    event: Mapping[str, Any]


@attrs.frozen
class AudioReceived:
    """Speech of the server's."""

    response_id: str
    pcm: bytes


@attrs.frozen
class SpeechHeard:
    """The user talks over the server's speech, which is to stop."""


@attrs.frozen
class ServerExpired:
    """The server wants no more of this connection; another one is due."""

    reason: str


BridgeEvent: TypeAlias = EventReceived | AudioReceived | SpeechHeard | ServerExpired


@attrs.define(eq=False)
class _Response:
    """A response that the server is making."""

    has_audio: bool = False
    item_id: str = ""
    """Of the audio that came last."""


class Bridge:
    """One call's conversation, over as many connections as it takes."""

    def __init__(self, options: RealtimeOptions) -> None:
        self.dropped = 0
        """Messages of servers that made no sense."""
        self._options = options
        self._wish = SessionWish(options)
        self._history = History()
        self._names = Names()
        self._requests = Requests()
        # The connection
        self._is_open = self._had_server = False
        self._dialect: Dialect | None = None
        self._greeting_due: float | None = None
        # What the server is making, and what it still owes
        self._responses: dict[str, _Response] = {}
        self._owed: JSONObject | None = None
        # Audio in: what the next server is to hear, and how the server's clock lies against the call's
        self._kept = bytearray()
        self._kept_at_ms = 0.0
        self._sent_samples = 0
        self._offset_ms = 0.0
        self._early: list[tuple[Mapping[str, Any], float]] = []
        self._transmits: deque[str] = deque()
        self._events: deque[BridgeEvent] = deque()

    # The connection

    @property
    def is_open(self) -> bool:
        """Whether the server has been told all it needs."""
        return self._is_open

    @property
    def has_session(self) -> bool:
        """Whether it is known what the client wants."""
        return bool(self._wish.session)

    @property
    def detects_turns(self) -> bool:
        """Whether the server is to find out for itself when the user's turn is over."""
        return self._wish.detects_turns

    def connected(self, *, now: float) -> None:
        """Begin with a server."""
        self._dialect = None if self._options.dialect == "auto" else self._options.dialect
        self._greeting_due = now + GREETING_SECONDS

    def disconnected(self, reason: str) -> None:
        """The server is gone; what was going on is over."""
        self._is_open = False
        self._greeting_due = None
        self._transmits.clear()
        while (event := self._requests.overdue(now=inf)) is not None:
            self._make_do(event)
        self._requests.clear()
        self._names.forget_server()
        if self._owed is None and any(not each.has_audio for each in self._responses.values()):
            self._owed = {}
        error = {"type": "server_error", "code": "upstream_lost", "message": reason}
        for response_id in self._responses:
            response = {"id": response_id, "object": "realtime.response", "status": "failed", "output": []}
            details = {"type": "failed", "error": error}
            self._tell({"type": "response.done", "response": {**response, "status_details": details}})
        self._responses.clear()

    def handle_timeout(self, *, now: float) -> None:
        """Do without an answer that has not come."""
        if self._greeting_due is not None and now >= self._greeting_due:
            self._open()
        while (event := self._requests.overdue(now=now)) is not None:
            self._make_do(event)

    def poll_timeout(self) -> float | None:
        """Return when to call `handle_timeout`."""
        dues = (self._greeting_due, self._requests.poll_timeout())
        return min((due for due in dues if due is not None), default=None)

    def poll_transmit(self) -> str | None:
        """Return the next message for the server."""
        return self._transmits.popleft() if self._transmits else None

    def poll_event(self) -> BridgeEvent | None:
        """Return the next event for the call."""
        return self._events.popleft() if self._events else None

    # From the call

    def use_session(self, session: Mapping[str, Any]) -> None:
        """Take the client's session as it is at the beginning."""
        self._wish.replace(session)
        if self._is_open:
            self._send_session()

    def add_audio(self, pcm: bytes, *, position_ms: float) -> None:
        """Take what the user says, at the server's rate.

        Args:
            pcm: the samples.
            position_ms: where in the call they begin.
        """
        rate = self._options.input_rate
        self._kept += pcm
        del self._kept[: max(0, len(self._kept) - KEPT_SECONDS * rate * SAMPLE_BYTES)]
        length = (len(pcm) - len(self._kept)) * 1000 / (SAMPLE_BYTES * rate)
        self._kept_at_ms = position_ms + length
        if self._is_open:
            self._append(pcm, position_ms)

    def handle_client_event(self, event: Mapping[str, Any], *, now: float) -> None:
        """Take an event of the client's; what is wrong with it is told there, and no server hears of it."""
        try:
            if event["type"] in CLIENT_EVENTS:
                read_client_event(Fields(event))
        except EventRefused as refused:
            self._refuse(event, refused.code, str(refused), refused.param, kind="invalid_request_error")
            return
        if not self._had_server and len(self._early) < MAX_EARLY:
            self._early.append((event, now))
            return
        match event:
            case {"type": "session.update", "session": Mapping() as update}:
                self._wish.update(update)
                adapted = session_for(self._dialect or "ga", self._wish.adapted(update))
                self._request({**event, "session": adapted}, now=now)
            case {"type": "response.create"}:
                self._owed = dict(event.get("response") or {})
                if self._is_open:
                    self._request({**event, **self._asked()}, now=now)
            case {"type": "conversation.item.truncate", "item_id": str(item_id)}:
                self._history.truncate(item_id, event["audio_end_ms"])
                self._request(event, now=now)
            case {"type": "conversation.item.delete", "item_id": str(item_id)}:
                self._history.remove(item_id)
                self._request(event, now=now)
            case {"type": "conversation.item.create", "item": Mapping() as item} if self._is_open:
                self._request({**event, "item": item_for(self._dialect or "ga", item)}, now=now)
            case {"type": str()}:
                self._request(event, now=now)
            case _:
                pass  # It has been checked, so there is none.

    # From the server

    def handle_text(self, text: str) -> None:
        """Take a message of the server's."""
        try:
            event = decode_object(text)
            self._check(event)
            self._dialect = self._dialect or recognise(event)
            self._handle(modern_event(event))
        except (WireError, binascii.Error):
            self.dropped += 1

    def _check(self, event: JSONObject) -> None:
        if not isinstance(event.get("type"), str):
            raise WireError("an event without a type")

    def _handle(self, event: JSONObject) -> None:
        kind = event["type"]
        if kind == "error":
            self._handle_error(event)
            return
        if kind in {"session.created", "session.updated"}:
            self._handle_session(event)
            return
        if self._is_echo(event):
            return
        event = self._names.outer_event(event)
        self._requests.settle(kind)
        if kind.startswith("response."):
            self._follow_response(event)
        elif kind.startswith("conversation.item."):
            self._follow_item(event)
        elif kind.startswith("input_audio_buffer."):
            event = self._shifted(event)
        if kind in _ENDS_TURN:
            self._kept.clear()
        self._tell(event)
        if kind == "input_audio_buffer.speech_started" and self._wish.interrupts:
            if self._responses:  # which most servers do for themselves
                self._send_own({"type": "response.cancel"})
            self._events.append(SpeechHeard())

    def _handle_session(self, event: JSONObject) -> None:
        session = event.get("session")
        if event["type"] == "session.updated":
            if self._requests.is_own_update():
                return
            self._requests.settle("session.updated")
        elif not self._is_open:
            self._open()
        if isinstance(session, Mapping):
            self._tell({**event, "session": self._wish.for_client(session)})

    def _handle_error(self, event: JSONObject) -> None:
        error = event.get("error")
        error = error if isinstance(error, Mapping) else event
        if error.get("code") == "session_expired":
            self._events.append(ServerExpired(str(error.get("message", "session_expired"))))
            return
        blame = self._requests.blame(error)
        if blame.is_unsupported and blame.event is not None:
            self._make_do(blame.event)
        elif not blame.is_own:
            self._tell({"type": "error", "event_id": event.get("event_id"), "error": dict(error)})

    def _is_echo(self, event: Mapping[str, Any]) -> bool:
        """Tell whether an event only shows what a new server has been told."""
        kind, item = event["type"], event.get("item")
        if kind == "conversation.created":
            return self._had_server
        is_item = kind in {"conversation.item.added", "conversation.item.done"} and isinstance(item, Mapping)
        return is_item and self._names.is_replayed(event["item"], is_last=kind.endswith("done"))

    def _follow_item(self, event: JSONObject) -> None:
        if isinstance(item := event.get("item"), Mapping):
            self._history.add(item)
        item_id = event.get("item_id")
        if isinstance(item_id, str) and event["type"].endswith("transcription.completed"):
            self._history.add_words(item_id, str(event.get("transcript", "")), is_all=True)

    def _follow_response(self, event: JSONObject) -> None:
        kind, response = event["type"], event.get("response")
        if isinstance(response, Mapping):
            self._follow_whole(kind, response.get("id"))
            return
        if isinstance(item := event.get("item"), Mapping):
            self._history.add(item)
        response_id, item_id = event.get("response_id"), event.get("item_id")
        if not isinstance(response_id, str) or not isinstance(item_id, str):
            return
        match kind:
            case "response.output_audio.delta":
                self._take_audio(event, response_id, item_id)
            case "response.output_audio_transcript.delta":
                self._history.add_words(item_id, str(event.get("delta", "")), is_all=False)
            case "response.output_audio_transcript.done" | "response.output_text.done":
                words = event.get("transcript", event.get("text", ""))
                self._history.add_words(item_id, str(words), is_all=True)
            case _:
                pass

    def _follow_whole(self, kind: str, response_id: object) -> None:
        if not isinstance(response_id, str):
            return
        if kind == "response.created":
            self._responses[response_id] = _Response()
        elif kind == "response.done":
            self._responses.pop(response_id, None)
            self._owed = None

    def _take_audio(self, event: JSONObject, response_id: str, item_id: str) -> None:
        """Take the audio out of an event: it goes on by itself; the event still says where it belongs."""
        delta = event["delta"] if isinstance(event.get("delta"), str) else ""
        event["delta"] = ""
        pcm = base64.b64decode(delta, validate=True)
        if len(pcm) % SAMPLE_BYTES:
            raise WireError("audio that ends within a sample")
        response = self._responses.setdefault(response_id, _Response())
        if response.item_id != item_id:
            response.item_id = item_id
            self._tell(event)
        response.has_audio = True
        self._owed = None
        self._history.add_audio(item_id, len(pcm) * 1000 / (SAMPLE_BYTES * self._options.output_rate))
        self._events.append(AudioReceived(response_id, pcm))

    def _shifted(self, event: JSONObject) -> JSONObject:
        """Return an event with its times on the call's clock; the server's began with its connection."""
        return event | {
            key: max(0, round(event[key] + self._offset_ms))
            for key in ("audio_start_ms", "audio_end_ms")
            if isinstance(event.get(key), int) and 0 <= event[key] <= _MAX_MILLISECONDS
        }

    # To the server

    def _open(self) -> None:
        """Tell a new server all it needs."""
        self._greeting_due = None
        self._is_open = True
        self._sent_samples = 0
        if self._wish.session:
            self._send_session()
        if self._had_server:
            for item in self._history.items():
                self._names.expect_item(item)
                told = item_for(self._dialect or "ga", item)
                self._send_own({"type": "conversation.item.create", "item": told})
        self._had_server = True
        early, self._early = self._early, []
        for event, at in early:
            self.handle_client_event(event, now=at)
        if self._kept:
            self._append(bytes(self._kept), self._kept_at_ms)
        if self._owed is not None and not early:
            self._send_own(self._asked())

    def _asked(self) -> JSONObject:
        wanted = response_for(self._dialect or "ga", self._owed or {})
        return {"type": "response.create", **({"response": wanted} if wanted else {})}

    def _send_session(self) -> None:
        """Send the session whole."""
        self._requests.expect_own_update()
        session = session_for(self._dialect or "ga", self._wish.session)
        self._send_own({"type": "session.update", "session": session})

    def _append(self, pcm: bytes, position_ms: float) -> None:
        self._offset_ms = position_ms - self._sent_samples * 1000 / self._options.input_rate
        self._sent_samples += len(pcm) // SAMPLE_BYTES
        self._transmit({"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()})

    def _send_own(self, event: JSONObject) -> None:
        if self._is_open and event["type"] not in self._requests.refused:
            self._transmit(self._requests.add_own(event))

    def _request(self, event: Mapping[str, Any], *, now: float) -> None:
        """Pass on what the client asks for, or do without."""
        if not self._is_open or event["type"] in self._requests.refused:
            self._make_do(event)
        else:
            self._transmit(self._names.inner_event(self._requests.add(event, now=now)))

    def _make_do(self, event: Mapping[str, Any]) -> None:
        """Answer the client in place of a server that is away, or cannot."""
        match event:
            case {"type": "conversation.item.truncate"}:
                named = {key: event.get(key, 0) for key in ("item_id", "content_index", "audio_end_ms")}
                self._tell({"type": "conversation.item.truncated", **named})
            case {"type": "conversation.item.delete", "item_id": str(item_id)}:
                self._tell({"type": "conversation.item.deleted", "item_id": item_id})
            case {"type": "input_audio_buffer.clear"}:
                self._kept.clear()
                self._tell({"type": "input_audio_buffer.cleared"})
            case {"type": "conversation.item.create", "item": Mapping() as item}:
                made = {"id": self._names.make(), "object": "realtime.item", "status": "completed", **item}
                self._history.add(made)
                for what in ("added", "done"):
                    shown = {"previous_item_id": event.get("previous_item_id"), "item": made}
                    self._tell({"type": f"conversation.item.{what}", **shown})
            case {"type": "session.update"}:
                session = self._wish.for_client(self._wish.session)
                self._tell({"type": "session.updated", "session": session})
            case {"type": "input_audio_buffer.commit" | "response.cancel"}:
                pass  # There is nothing to be said to it.
            case _:
                self._refuse(event, "upstream_lost", f"There is no server for {event['type']} just now.")

    def _refuse(
        self,
        event: Mapping[str, Any],
        code: str | None,
        message: str,
        param: str | None = None,
        *,
        kind: str = "server_error",
    ) -> None:
        error = {"type": kind, "code": code, "message": message, "param": param}
        self._tell({"type": "error", "error": {**error, "event_id": event.get("event_id")}})

    def _transmit(self, event: Mapping[str, Any]) -> None:
        self._transmits.append(encode_object(event))

    def _tell(self, event: Mapping[str, Any]) -> None:
        if event["type"] != "response.output_audio.delta" or event.get("delta") == "":
            self._events.append(EventReceived(event))
