"""The targets of `voicegate.realtime`: what reads JSON, and the session, of which a script writes the life.

Layer: core (sans-IO).
"""

import json
import typing
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal

import attrs

from voicegate.errors import WireError
from voicegate.realtime import RealtimeSession
from voicegate.realtime.action import TellAgent
from voicegate.realtime.agent_event import (
    AgentReport,
    ConversationTaken,
    ServerEvent,
    agent_event_from_json,
    agent_event_to_json,
)
from voicegate.realtime.client_event import CLIENT_EVENTS, read_client_event
from voicegate.realtime.conversation import MAX_ITEMS, MAX_SIZE
from voicegate.realtime.field import Fields
from voicegate.realtime.item import read_item
from voicegate.realtime.notice import CallNotice
from voicegate.testing.script import LawBrokenError, Step, read_script, require, settle
from voicegate.wire.json_value import decode_object, encode_object

__all__ = ["REALTIME_CORES", "REALTIME_TARGETS", "run_realtime_session"]

_SOURCES: Final = ("channel", "sideband")
_CLIENT_EVENTS: Final = sorted(CLIENT_EVENTS)
_REPORTS: Final = tuple(sorted(typing.get_args(AgentReport), key=lambda report: str(report.type)))
_NOTICES: Final = typing.get_args(CallNotice)
_NAMES_KEPT: Final = 8

_TEXTS: Final = ("", "yes", '{"type":"response.output_text.delta"}')
_STATUSES: Final = ("completed", "cancelled", "incomplete", "failed")
_CALL: Final = {"type": "mcp_call", "server_label": "s", "name": "n", "arguments": "{}"}
_LIST: Final = {"type": "mcp_list_tools", "server_label": "s", "tools": []}
_MESSAGE: Final = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}


def run_realtime_session(transport: Literal["webrtc", "websocket"], script: bytes) -> None:
    """Kinds 0 and 1: a text of a client. 2-4: an event, a report, a notice made of the bytes.

    5: a report as JSON. 6: a client comes or goes. 7: audio of the agent's. Others: time passes.
    """
    run = _Run(transport)
    for step in read_script(script):
        run.take(step)
    run.end()


class _Run:
    """A session and what has come out of it."""

    def __init__(self, transport: Literal["webrtc", "websocket"]) -> None:
        self._core = RealtimeSession(
            session_id="sess_1", transport=transport, model="", session=None, random=bytes, now=0.0
        )
        self._attached: set[str] = set()
        self._is_raw = False
        self._ledger = _Ledger()
        self._items: deque[str] = deque(["item_1"], maxlen=_NAMES_KEPT)
        self._responses: deque[str] = deque(["resp_1"], maxlen=_NAMES_KEPT)
        self._toggle("channel")

    def take(self, step: Step) -> None:
        """Do what a step says, and look at what comes of it."""
        settle(self._core, now=step.now)
        self._look()
        data, now = step.data, step.now
        if step.kind < 2:
            self._core.handle_text(_text(data), source=_SOURCES[step.kind], now=now)
        elif step.kind == 2:
            self._core.handle_text(json.dumps(self._event(data)), source="channel", now=now)
        elif step.kind == 3:
            self._report(self._made_report(data), now)
        elif step.kind == 4:
            self._core.handle_notice(self._notice(data), now=now)
        elif step.kind == 5:
            self._report(data, now)
        elif step.kind == 6:
            self._toggle(_SOURCES[_byte(data, 0) % 2])
        elif step.kind == 7:
            name = None if _byte(data, 0) % 4 == 0 else self._name(self._responses, _byte(data, 0))
            self._core.add_output(name, bytes(len(data) & ~1), now=now)
        self._look()

    def end(self) -> None:
        """See that what was begun can be ended."""
        self._core.expire()
        self._look()
        described = self._core.describe()
        require(described["items"] <= MAX_ITEMS + 1, "items are bounded")
        require(described["size"] <= 2 * MAX_SIZE, "what items hold is bounded")

    # What a script makes happen

    def _toggle(self, source: str) -> None:
        if source in self._attached:
            self._attached.remove(source)
            self._core.detach(source)
            self._ledger.is_whole = self._ledger.is_whole and bool(self._attached)
        else:
            self._attached.add(source)
            self._core.attach(source)
        self._look(greeted=source)

    def _report(self, given: bytes | dict[str, Any], now: float) -> None:
        try:
            value = decode_object(_text(given)) if isinstance(given, bytes) else given
            report = agent_event_from_json(value)
        except WireError:
            return
        require(
            agent_event_from_json(agent_event_to_json(report)) == report, "an event is what its JSON says"
        )
        if not isinstance(report, typing.get_args(AgentReport)):
            return
        if isinstance(report, ConversationTaken):
            self._ledger.is_whole = self._ledger.is_whole and not self._is_raw and not report.is_raw
            self._is_raw = report.is_raw
        self._core.handle_report(report, now=now)

    def _event(self, data: bytes) -> dict[str, Any]:
        """Make an event of the client: which, of what, and how far."""
        kind = _CLIENT_EVENTS[_byte(data, 0) % len(_CLIENT_EVENTS)]
        event: dict[str, Any] = {
            "type": kind,
            "item_id": self._name(self._items, _byte(data, 1)),
            "content_index": _byte(data, 2) % 2,
            "audio_end_ms": _byte(data, 3) * 10,
            "audio": "AAAA" * 300,
            "item": {**_MESSAGE, "id": f"mine_{_byte(data, 1) % _NAMES_KEPT}"},
            "session": {"audio": {"input": {"turn_detection": None if _byte(data, 1) % 2 else {}}}},
        }
        if _byte(data, 1) % 3 == 0:
            event["response_id"] = self._name(self._responses, _byte(data, 2))
        if _byte(data, 1) % 5 == 0:
            event["response"] = {"conversation": "none"}
        return event

    def _made_report(self, data: bytes) -> dict[str, Any]:
        report = _REPORTS[_byte(data, 0) % len(_REPORTS)]
        fields: dict[str, Any] = {
            "is_raw": _byte(data, 1) % 16 == 15,
            "is_final": bool(_byte(data, 1) % 2),
            "response_id": self._name(self._responses, _byte(data, 2)),
            "item_id": self._name(self._items, _byte(data, 2)) if _byte(data, 1) % 4 else None,
            "status": _STATUSES[_byte(data, 1) % 4],
            "reason": None,
            "item": dict(_CALL if _byte(data, 1) % 2 else _LIST),
            "event": {"type": _CLIENT_EVENTS[_byte(data, 1) % len(_CLIENT_EVENTS)]},
        }
        names = [field.name for field in attrs.fields(report)]
        words = _TEXTS[_byte(data, 3) % len(_TEXTS)]
        return {"type": report.type} | {name: fields.get(name, words) for name in names}

    def _notice(self, data: bytes) -> CallNotice:
        notice = _NOTICES[_byte(data, 0) % len(_NOTICES)]
        name = None if _byte(data, 1) % 4 == 0 else self._name(self._responses, _byte(data, 1))
        values: dict[str, Any] = {"response_id": name, "digit": "5"}
        made = {field.name: values.get(field.name, _byte(data, 2) * 10) for field in attrs.fields(notice)}
        return typing.cast("CallNotice", notice(**made))

    def _name(self, names: deque[str], index: int) -> str:
        """Return a name that was seen, or one of the agent's own."""
        return names[index % len(names)] if index % 3 else f"own_{index % _NAMES_KEPT}"

    # What comes out

    def _look(self, *, greeted: str | None = None) -> None:
        for text, source in iter(self._core.poll_event, None):
            event = json.loads(text, parse_constant=partial(require, False))
            require(text.encode() is not None, "what is sent is text")
            require(isinstance(event["type"], str), "an event has a type")
            require(isinstance(event["event_id"], str), "an event has an id")
            require(source is None or source in self._attached, "events are for those who are there")
            require(greeted is None or event["type"] == "session.created", "the greeting is the first event")
            greeted = None
            if not self._is_raw:
                self._ledger.take(event)
            self._note_names(event)
        for action in iter(self._core.poll_action, None):
            if isinstance(action, TellAgent):
                notice = action.notice
                require(
                    agent_event_from_json(agent_event_to_json(notice)) == notice,
                    "a notice can be told as JSON",
                )
                require(not isinstance(notice, ServerEvent), "notices are no reports")

    def _note_names(self, event: dict[str, Any]) -> None:
        for names, name in (
            (self._items, event.get("item_id")),
            (self._items, event["item"].get("id") if isinstance(event.get("item"), dict) else None),
            (self._responses, event.get("response_id")),
            (
                self._responses,
                event["response"].get("id") if isinstance(event.get("response"), dict) else None,
            ),
        ):
            if isinstance(name, str) and name not in names:
                names.append(name)


class _Ledger:
    """What has been said of responses, and whether it makes sense."""

    def __init__(self) -> None:
        self.is_whole = True
        """Whether all events were seen: none are made while nobody is there, and a model's are its own."""
        self._open: dict[str, dict[int, str]] = {}
        """The items of responses that go on, by index."""
        self._parts: set[tuple[str, str, int]] = set()
        self._playing: set[str] = set()

    def take(self, event: dict[str, Any]) -> None:
        """Take an event in its turn."""
        kind = event["type"]
        if kind == "response.created":
            name = event["response"]["id"]
            require(name not in self._open, "a response is created once")
            self._open[name] = {}
        elif kind == "response.done":
            name = event["response"]["id"]
            require(name in self._open or not self.is_whole, "a response is created before it is done")
            items = self._open.pop(name, {})
            require(not items, "all items of a response are done before it is")
        elif kind.startswith("output_audio_buffer."):
            self._take_playout(kind, event["response_id"])
        elif (name := event.get("response_id")) in self._open:
            self._take_item(kind, event, self._open[name])
        elif name is not None:
            require(not self.is_whole, "what is said is said of a response that goes on")

    def _take_item(self, kind: str, event: dict[str, Any], items: dict[int, str]) -> None:
        index = event["output_index"]
        if kind == "response.output_item.added":
            require(index not in items, "an item is added once")
            items[index] = event["item"]["id"]
            return
        if kind == "response.output_item.done":
            require(items.pop(index, None) == event["item"]["id"], "an item is added before it is done")
            return
        require(items.get(index) == event["item_id"], "what is said is said of an item that goes on")
        if "content_index" not in event:
            return
        part = (event["response_id"], event["item_id"], event["content_index"])
        if kind == "response.content_part.added":
            require(part not in self._parts, "a part is added once")
            self._parts.add(part)
        else:
            require(part in self._parts, "what is said is said of a part that goes on")
            if kind == "response.content_part.done":
                self._parts.remove(part)

    def _take_playout(self, kind: str, name: str) -> None:
        if kind.endswith("started"):
            require(name not in self._playing, "what plays has not begun before")
            self._playing.add(name)
        else:
            self._playing.discard(name)


def _byte(data: bytes, index: int) -> int:
    return data[index] if index < len(data) else 0


# Parsers


def _read_object(data: bytes) -> None:
    """Read a text: an object is written so that it is read as the same."""
    with suppress(WireError):
        value = decode_object(_text(data))
        require(decode_object(encode_object(value)) == value, "an object that is written is read as the same")


def _read_agent_event(data: bytes) -> None:
    with suppress(WireError):
        event = agent_event_from_json(decode_object(_text(data)))
        require(agent_event_from_json(agent_event_to_json(event)) == event, "an event is what its JSON says")


def _read_client_event(data: bytes) -> None:
    with suppress(WireError):
        read_client_event(Fields(decode_object(_text(data))))


def _read_item(data: bytes) -> None:
    """Read an item of a client's: as it is shown, it is one, and the same."""
    try:
        item = read_item(Fields(decode_object(_text(data))), item_id="item_1")
    except WireError:
        return
    try:
        again = read_item(Fields(item), item_id="item_2")
    except WireError as error:
        raise LawBrokenError("an item that is shown may be given back") from error
    require(again == item, "an item that was read is read as the same")


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


_SESSION: Final = "realtime.session.RealtimeSession"

REALTIME_CORES: Final[Mapping[str, Callable[[bytes], None]]] = {
    _SESSION: partial(run_realtime_session, "webrtc"),
    f"{_SESSION}.websocket": partial(run_realtime_session, "websocket"),
}
"""By name; they take scripts."""

REALTIME_TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "wire.json_value.decode_object": _read_object,
    "realtime.agent_event.agent_event_from_json": _read_agent_event,
    "realtime.client_event.read_client_event": _read_client_event,
    "realtime.item.read_item": _read_item,
}
"""By name; the input is a text."""
