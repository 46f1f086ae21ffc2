"""What a session has to say to its clients and to its call, until it is asked for."""

from collections import deque
from typing import Final

from voicegate.realtime.action import Action, TellAgent
from voicegate.realtime.agent_event import AgentNotice
from voicegate.realtime.client_session import ServerEventOut
from voicegate.realtime.fault import EventRefused
from voicegate.wire.json_value import JSON, encode_object

__all__ = ["GOING_AWAY", "Outbox"]

GOING_AWAY: Final = "voicegate.going_away"
"""The event, with ``seconds``, by which clients of any API are told that the server ends their call soon. No
API has one for it; they pass over what they do not know."""


class Outbox:
    """Events and actions, in order; and the names that events, items and the rest have.

    Args:
        seed: some characters that no other session has.
    """

    def __init__(self, seed: str) -> None:
        self._seed: Final = seed
        self._names = 0
        self._events: deque[ServerEventOut] = deque()
        self._actions: deque[Action] = deque()
        self.clients = 0
        """How many are there to send to; without any, no event is made."""
        self.has_agent = False
        """Whether there is an agent that wants to be told anything."""

    def name(self, kind: str) -> str:
        """Return a new id."""
        self._names += 1
        return f"{kind}_{self._seed}{self._names:04x}"

    def send(self, event_type: str, *, source: str | None = None, **fields: JSON) -> None:
        """Send an event to a client, or to all."""
        if self.clients:
            self.forward({"type": event_type, "event_id": self.name("event"), **fields}, source=source)

    def forward(self, event: dict[str, JSON], *, source: str | None = None) -> None:
        """Send an event that has its id."""
        if self.clients:
            self._events.append(ServerEventOut(encode_object(event), source))

    def refuse(self, refused: EventRefused, *, event_id: str | None, source: str | None) -> None:
        """Tell a client what is wrong with an event."""
        error = {
            "type": "invalid_request_error",
            "code": refused.code,
            "message": refused.message,
            "param": refused.param,
            "event_id": event_id,
        }
        self.send("error", source=source, error=error)

    def do(self, action: Action) -> None:
        """Have the call do something."""
        self._actions.append(action)

    def tell(self, notice: AgentNotice) -> None:
        """Tell the agent something, if it wants to know."""
        if self.has_agent:
            self._actions.append(TellAgent(notice))

    def poll_event(self) -> ServerEventOut | None:
        """Return the next event."""
        return self._events.popleft() if self._events else None

    def poll_action(self) -> Action | None:
        """Return the next action."""
        return self._actions.popleft() if self._actions else None
