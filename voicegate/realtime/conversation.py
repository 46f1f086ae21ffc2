"""The items of a conversation, in order and within bounds."""

from collections.abc import Iterator
from typing import Final

from voicegate.realtime.fault import EventRefused
from voicegate.wire.json_value import JSON, JSONObject, encode_object

__all__ = ["Conversation"]

MAX_ITEMS: Final = 4096
MAX_SIZE: Final = 32 * 1024 * 1024
"""Characters of all items as JSON: some images of a few megabytes each, and hours of words."""

_ROOT: Final = "root"
"""What a client names as the item before the first."""


class Conversation:
    """Items by id. What a client adds beyond the bounds is refused; what is said makes room for itself."""

    def __init__(self) -> None:
        self._order: list[str] = []
        self._items: dict[str, dict[str, JSON]] = {}
        self._sizes: dict[str, int] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[dict[str, JSON]]:
        return iter([self._items[item_id] for item_id in self._order])

    @property
    def size(self) -> int:
        """Characters of all items, as far as they have been counted."""
        return self._size

    @property
    def last_id(self) -> str | None:
        """The newest item, or rather the last."""
        return self._order[-1] if self._order else None

    def find(self, item_id: str) -> dict[str, JSON] | None:
        """Return an item."""
        return self._items.get(item_id)

    def get(self, item_id: str) -> dict[str, JSON]:
        """Return an item.

        Errors: EventRefused if there is none.
        """
        if (item := self._items.get(item_id)) is None:
            raise _missing(item_id, "item_id")
        return item

    def insert(self, item: dict[str, JSON], previous_item_id: str | None) -> str | None:
        """Take an item of the client; return the id of the one before it.

        Errors: EventRefused if it has the id of another, or has no place.
        """
        item_id = item["id"]
        if item_id in self._items:
            raise EventRefused(
                f"An item with id '{item_id}' already exists.", code="item_already_exists", param="item.id"
            )
        if previous_item_id not in (None, _ROOT) and previous_item_id not in self._items:
            raise _missing(str(previous_item_id), "previous_item_id")
        size = len(encode_object(item))
        if len(self._order) >= MAX_ITEMS:
            raise EventRefused(f"A conversation may have {MAX_ITEMS} items.", code="too_many_items")
        if self._size + size > MAX_SIZE:
            raise EventRefused(
                f"A conversation may have {MAX_SIZE} characters.", code="conversation_too_large"
            )
        if previous_item_id is None:
            index = len(self._order)
        else:
            index = 0 if previous_item_id == _ROOT else self._order.index(previous_item_id) + 1
        self._order.insert(index, item_id)
        self._items[item_id] = item
        self._count(item_id, size)
        return self._order[index - 1] if index else None

    def append(self, item: dict[str, JSON]) -> str | None:
        """Take an item of our own; return the id of the one before it.

        The oldest go to make room, and so does one of the client's that was given the name before.
        """
        if item["id"] in self._items:
            self.remove(item["id"])
        while len(self._order) >= MAX_ITEMS:
            self.remove(self._order[0])
        previous = self.last_id
        self._order.append(item["id"])
        self._items[item["id"]] = item
        self.recount(item)
        return previous

    def recount(self, item: JSONObject) -> None:
        """Take note that an item has grown or shrunk."""
        item_id = item["id"]
        if item_id not in self._items:
            return
        self._count(item_id, len(encode_object(item)))
        while self._size > MAX_SIZE and self._order[0] != item_id:
            self.remove(self._order[0])

    def remove(self, item_id: str) -> None:
        """Take an item out.

        Errors: EventRefused if there is none.
        """
        if item_id not in self._items:
            raise _missing(item_id, "item_id")
        self._order.remove(item_id)
        del self._items[item_id]
        self._size -= self._sizes.pop(item_id)

    def previous_id(self, item_id: str) -> str | None:
        """Return the id of the item before one."""
        index = self._order.index(item_id)
        return self._order[index - 1] if index else None

    def _count(self, item_id: str, size: int) -> None:
        self._size += size - self._sizes.get(item_id, 0)
        self._sizes[item_id] = size


def _missing(item_id: str, param: str) -> EventRefused:
    return EventRefused(f"Item with id '{item_id}' not found.", code="item_not_found", param=param)
