"""How many calls each key and each address has, and whether one more is all right."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

__all__ = ["Admission", "CapExceeded", "share"]


class CapExceeded(Enum):
    """Which of the limits is reached."""

    SERVER = "server"
    KEY = "key"
    CLIENT = "client"


class _Holder(NamedTuple):
    key: str
    client: str


class Admission:
    """Counts calls exactly: one that is admitted is counted before anything else is asked.

    Where several processes serve one address, each has its share of every limit, so that they hold for all
    together without asking each other; who has none left hands over.

    Args:
        max_calls: Of this process.
        max_calls_per_client: Of one IP address at all processes together; None is no limit.
        number: Which of the processes this is, from 0.
        count: How many there are.
    """

    def __init__(
        self, *, max_calls: int, max_calls_per_client: int | None = None, number: int = 0, count: int = 1
    ) -> None:
        self._max_calls = max_calls
        self._per_client = max_calls_per_client
        self._number = number
        self._count = count
        self._holders: dict[str, _Holder] = {}

    def check(self, *, key: str, client: str, max_calls: int | None) -> CapExceeded | None:
        """Return which limit one more call would break; ``max_calls`` is the key's."""
        holders = self._holders.values()
        if len(holders) >= self._max_calls:
            return CapExceeded.SERVER
        if max_calls is not None and sum(holder.key == key for holder in holders) >= self._share(max_calls):
            return CapExceeded.KEY
        if self._per_client is not None:
            of_client = sum(holder.client == client for holder in holders)
            if of_client >= self._share(self._per_client):
                return CapExceeded.CLIENT
        return None

    def add(self, call_id: str, *, key: str, client: str) -> None:
        """Count a call."""
        self._holders[call_id] = _Holder(key, client)

    def remove(self, call_id: str) -> None:
        """Forget a call, if it is still counted."""
        self._holders.pop(call_id, None)

    def retain(self, is_alive: Callable[[str], bool]) -> None:
        """Forget the calls that are over."""
        for call_id in [each for each in self._holders if not is_alive(each)]:
            del self._holders[call_id]

    def __len__(self) -> int:
        return len(self._holders)

    def _share(self, limit: int) -> int:
        return share(limit, self._number, self._count)


def share(limit: int, number: int, count: int) -> int:
    """Return the part of a limit that falls to one of ``count``; the first ones get the remainder."""
    return (limit + count - 1 - number) // count
