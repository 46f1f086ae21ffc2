"""A session with everything around it played by the test: its clients, the media, the agent and the clock."""

import json
import typing
from collections.abc import Iterator
from typing import Any, Literal

from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import BaseModel

from voicegate.realtime import RealtimeSession
from voicegate.realtime.action import Action, TellAgent
from voicegate.realtime.agent_event import (
    AgentNotice,
    AgentReport,
    ConversationTaken,
    agent_event_from_json,
    agent_event_to_json,
)
from voicegate.realtime.notice import CallNotice

Event = dict[str, Any]


def event_classes(union: Any) -> dict[str, type[BaseModel]]:
    """The classes of a union of the `openai` package, by the type of their events."""
    members = typing.get_args(typing.get_args(union)[0])
    return {typing.get_args(member.model_fields["type"].annotation)[0]: member for member in members}


SERVER_EVENTS = event_classes(RealtimeServerEvent)
CLIENT_EVENTS = event_classes(RealtimeClientEvent)


class Desk:
    """One session and what has come out of it so far. Each event is held against the package's types."""

    def __init__(
        self,
        transport: Literal["webrtc", "websocket"] = "webrtc",
        *,
        session: dict[str, Any] | None = None,
        taken: bool = True,
        is_raw: bool = False,
        model: str = "",
        source: str | None = "channel",
    ) -> None:
        self.now = 1000.0
        self.core = RealtimeSession(
            session_id="sess_1",
            transport=transport,
            model=model,
            session=session,
            random=bytes,
            expires_at=5000,
            now=self.now,
            unix_now=1.7e9,
        )
        self.events: list[tuple[str | None, Event]] = []
        self.actions: list[Action] = []
        self.kinds: set[str] = set()
        """The types of all events that ever came."""
        self.is_strict = not is_raw
        if source is not None:
            self.core.attach(source)
        if taken:
            self.report(ConversationTaken(is_raw=is_raw))
        self.take_all()

    def send(self, event_type: str, *, source: str = "channel", **fields: Any) -> list[Event]:
        """An event of the client; returns those that answer it."""
        self.take_all()
        return self.say(json.dumps({"type": event_type, **fields}), source=source)

    def say(self, text: str, *, source: str = "channel") -> list[Event]:
        self.core.handle_text(text, source=source, now=self.now)
        return self.look()

    def note(self, *notices: CallNotice) -> list[Event]:
        for notice in notices:
            self.core.handle_notice(notice, now=self.now)
        return self.look()

    def report(self, *reports: AgentReport) -> list[Event]:
        for report in reports:
            assert agent_event_from_json(json.loads(json.dumps(agent_event_to_json(report)))) == report
            self.core.handle_report(report, now=self.now)
        return self.look()

    def output(self, response_id: str | None, pcm: bytes) -> list[Event]:
        self.core.add_output(response_id, pcm, now=self.now)
        return self.look()

    def wait(self, seconds: float) -> list[Event]:
        """Let time pass, waking the session when it wants to be."""
        until = self.now + seconds
        while (due := self.core.poll_timeout()) is not None and due <= until:
            self.now = max(self.now, due)
            self.core.handle_timeout(now=self.now)
            assert self.core.poll_timeout() != due
        self.now = until
        return self.look()

    def look(self) -> list[Event]:
        """Take what has come out, and return its events."""
        found = [(out.source, json.loads(out.text)) for out in iter(self.core.poll_event, None)]
        for _, event in found:
            self._check(event)
        self.events += found
        while (action := self.core.poll_action()) is not None:
            self.actions.append(action)
            if isinstance(action, TellAgent):
                said = json.loads(json.dumps(agent_event_to_json(action.notice)))
                assert agent_event_from_json(said) == action.notice
        return [event for _, event in found]

    def take_all(self) -> list[Event]:
        """Take what has come out so far, and forget it."""
        self.look()
        taken, self.events, self.actions = [event for _, event in self.events], [], []
        return taken

    def told(self) -> list[AgentNotice]:
        """What the agent has been told since."""
        return [action.notice for action in self.actions if isinstance(action, TellAgent)]

    def done(self) -> list[Action]:
        """What the call was to do since, besides."""
        return [action for action in self.actions if not isinstance(action, TellAgent)]

    def item(self, item_id: str) -> Event:
        """An item as a client retrieves it."""
        (event,) = self.send("conversation.item.retrieve", item_id=item_id)
        assert event["type"] == "conversation.item.retrieved"
        return typing.cast("Event", event["item"])

    def _check(self, event: Event) -> None:
        assert isinstance(event["event_id"], str)
        self.kinds.add(event["type"])
        if self.is_strict:
            SERVER_EVENTS[event["type"]].model_validate(event, strict=True)


def types(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


def only(events: list[Event], event_type: str) -> Event:
    """The one event of a type."""
    (found,) = of(events, event_type)
    return found


def of(events: list[Event], event_type: str) -> Iterator[Event]:
    return iter([event for event in events if event["type"] == event_type])


def user_text(text: str, **more: Any) -> Event:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}], **more}


def text_of(event: Event) -> str:
    assert event["type"] == "error"
    return f"{event['error']['code']} {event['error']['param']}"
