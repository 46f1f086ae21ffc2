"""What a server has been asked, so that its complaints find whom they are for, and its silence is noticed."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

__all__ = ["Blame", "Requests"]

KEPT: Final = 256
"""Requests of which a complaint would be known: those of seconds, at most."""

ANSWER_SECONDS: Final = 1.0
"""For an answer that clients wait for; some servers do as they are told and say nothing."""

_ANSWERED: Final = {
    "session.updated": "session.update",
    "conversation.item.truncated": "conversation.item.truncate",
    "conversation.item.deleted": "conversation.item.delete",
    "input_audio_buffer.cleared": "input_audio_buffer.clear",
}
"""Answers, and what they are to."""

_OWN: Final = "vg_"
"""How requests of the bridge's own are called."""

_MAY_LACK: Final = frozenset(
    {
        "conversation.item.truncate",
        "conversation.item.delete",
        "input_audio_buffer.clear",
        "input_audio_buffer.commit",
        "response.cancel",
    }
)
"""What some servers do without, and a conversation can."""

_NOT_KNOWN: Final = ("unknown", "unsupported", "not support", "not implement", "unrecogni", "event_type")


class Blame(NamedTuple):
    """What an error is about."""

    event: Mapping[str, Any] | None
    """The request, if it is known."""
    is_own: bool
    """Whether the client knows nothing of it."""
    is_unsupported: bool
    """Whether the server never heard of such a thing, and it is one that a conversation can do without."""


class _Awaited(NamedTuple):
    due: float
    event: Mapping[str, Any]


class Requests:
    """What one server after the other has been asked."""

    def __init__(self) -> None:
        self.refused: Final[set[str]] = set()
        """Kinds of requests that the present server does not know."""
        self._asked: dict[str, Mapping[str, Any]] = {}
        self._awaited: deque[_Awaited] = deque(maxlen=KEPT)
        self._count = 0
        self._own_updates = 0

    def clear(self) -> None:
        """Begin with another server."""
        self.refused.clear()
        self._asked.clear()
        self._own_updates = 0

    def add(self, event: Mapping[str, Any], *, now: float) -> dict[str, Any]:
        """Return a request of the client's, under a name of ours if it has none."""
        event_id = event.get("event_id")
        asked = {**event, "event_id": event_id if isinstance(event_id, str) else self._name("")}
        if event["type"] in _ANSWERED.values():
            self._awaited.append(_Awaited(now + ANSWER_SECONDS, asked))
        return self._note(asked)

    def settle(self, kind: str) -> None:
        """Take it that a server has answered."""
        asked = _ANSWERED.get(kind)
        self._forget(lambda event: event["type"] == asked)

    def overdue(self, *, now: float) -> Mapping[str, Any] | None:
        """Return the next request that has not been answered in time."""
        is_due = bool(self._awaited) and self._awaited[0].due <= now
        return self._awaited.popleft().event if is_due else None

    def poll_timeout(self) -> float | None:
        """Return when to ask for `overdue` ones."""
        return self._awaited[0].due if self._awaited else None

    def add_own(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request of our own."""
        return self._note({**event, "event_id": self._name(_OWN)})

    def expect_own_update(self) -> None:
        """The next ``session.updated`` is for us."""
        self._own_updates += 1

    def is_own_update(self) -> bool:
        """Take an answer, and tell whether it is for us."""
        if not self._own_updates:
            return False
        self._own_updates -= 1
        return True

    def blame(self, error: Mapping[str, Any]) -> Blame:
        """Return what an error is about."""
        words = " ".join(str(error.get(key, "")) for key in ("code", "message", "type")).lower()
        event_id = error.get("event_id")
        event = self._asked.get(event_id) if isinstance(event_id, str) else self._mentioned(words)
        if event is None:
            return Blame(None, isinstance(event_id, str) and event_id.startswith(_OWN), is_unsupported=False)
        self._forget(lambda awaited: awaited is event)
        kind = event["type"]
        if kind == "session.update" and event["event_id"].startswith(_OWN):
            self._own_updates = max(0, self._own_updates - 1)
        is_unsupported = kind in _MAY_LACK and any(each in words for each in _NOT_KNOWN)
        if is_unsupported:
            self.refused.add(kind)
        is_own = event["event_id"].startswith(_OWN)
        return Blame(None if is_own else event, is_own, is_unsupported)

    def _forget(self, is_answered: Callable[[Mapping[str, Any]], bool]) -> None:
        """Let the oldest request go that has been answered."""
        for awaited in self._awaited:
            if is_answered(awaited.event):
                self._awaited.remove(awaited)
                return

    def _mentioned(self, words: str) -> Mapping[str, Any] | None:
        """Return which request an error without a reference must mean, if any."""
        return next((event for event in reversed(self._asked.values()) if event["type"] in words), None)

    def _note(self, event: dict[str, Any]) -> dict[str, Any]:
        self._asked[event["event_id"]] = event
        if len(self._asked) > KEPT:
            del self._asked[next(iter(self._asked))]
        return event

    def _name(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}event_{self._count}"
