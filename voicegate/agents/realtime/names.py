"""What a server calls things, and what the client knows them by.

Ids that a server makes up are kept. They differ for items that a new server was told of and has called
otherwise, as some do.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["Names"]

KEPT: Final = 1024
"""Names that differ: of as many items as an hour has."""

_ID_KEYS: Final = ("item_id", "previous_item_id", "response_id")


class Names:
    """The names of one call."""

    def __init__(self) -> None:
        self._outer: dict[str, str] = {}
        self._inner: dict[str, str] = {}
        self._expected_items: deque[Mapping[str, Any]] = deque()
        self._known: dict[str, None] = {}
        """Items that the server was told of and has not yet confirmed for good."""
        self._made = 0

    def forget_server(self) -> None:
        """Forget what the last server called things."""
        for kept in (self._outer, self._inner, self._known):
            kept.clear()
        self._expected_items.clear()

    def expect_item(self, item: Mapping[str, Any]) -> None:
        """The server is being told of an item."""
        self._expected_items.append(item)
        if len(self._expected_items) > KEPT:
            self._expected_items.popleft()

    def make(self) -> str:
        """Return a name for an item that no server has named."""
        self._made += 1
        return f"item_vg{self._made}"

    def is_replayed(self, item: Mapping[str, Any], *, is_last: bool) -> bool:
        """Tell whether an item that the server shows is one that it was told of."""
        inner = item.get("id")
        if not isinstance(inner, str):
            return False
        if inner in self._known:
            if is_last:
                del self._known[inner]
            return True
        told = next((each for each in self._expected_items if each.get("id") == inner), None)
        if told is None and self._expected_items and _is_alike(self._expected_items[0], item):
            told = self._expected_items[0]
        if told is None:
            return False
        self._expected_items.remove(told)
        self._pair(inner, told.get("id"))
        if not is_last:
            self._known[inner] = None
        return True

    def inner(self, name: str) -> str:
        """Return what the server calls something."""
        return self._inner.get(name, name)

    def inner_event(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return an event as the server understands it."""
        return _renamed(event, self._inner)

    def outer_event(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return a server's event as the client understands it."""
        return _renamed(event, self._outer)

    def _pair(self, inner: object, outer: object) -> None:
        if isinstance(inner, str) and isinstance(outer, str) and inner != outer:
            self._outer[inner], self._inner[outer] = outer, inner
            if len(self._outer) > KEPT:
                oldest = next(iter(self._outer))
                self._inner.pop(self._outer.pop(oldest), None)


def _is_alike(told: Mapping[str, Any], shown: Mapping[str, Any]) -> bool:
    keys = ("type", "role", "call_id")
    return all(told.get(key) == shown.get(key) for key in keys)


def _renamed(event: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    if not names:
        return dict(event)
    renamed = dict(event)
    for key in _ID_KEYS:
        if isinstance(event.get(key), str):
            renamed[key] = names.get(event[key], event[key])
    for key in ("item", "response"):
        if isinstance(part := event.get(key), Mapping) and isinstance(part.get("id"), str):
            renamed[key] = {**part, "id": names.get(part["id"], part["id"])}
    return renamed
