"""Flow rows on their way to the directory, sans-IO."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

__all__ = ["BATCH_LIMIT", "QUEUE_LIMIT", "FlowQueue"]

QUEUE_LIMIT: Final = 65_536
"""Rows that wait, in some 15 MB: all flows of a relay worker. Beyond it the oldest are given up: their flows
renew them within seconds."""

BATCH_LIMIT: Final = 512
"""Rows written at once; they keep Redis for half a millisecond."""


class FlowQueue:
    """Keeps the last word on each flow until it is written."""

    def __init__(self) -> None:
        self._rows: OrderedDict[bytes, int | None] = OrderedDict()
        self.dropped = 0
        """Rows that were given up."""

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Mapping[bytes, int | None]) -> None:
        """Add rows, by the keys of their clients; None deletes one."""
        for key, transceiver_id in rows.items():
            self._rows.pop(key, None)
            self._rows[key] = transceiver_id
        while len(self._rows) > QUEUE_LIMIT:
            self._rows.popitem(last=False)
            self.dropped += 1

    def take(self) -> dict[bytes, int | None]:
        """Take the oldest rows."""
        return dict(self._rows.popitem(last=False) for _ in range(min(BATCH_LIMIT, len(self._rows))))

    def put_back(self, rows: dict[bytes, int | None]) -> None:
        """Put back rows that could not be written, before all others, unless there is newer word on them."""
        for key in reversed(rows):
            if key not in self._rows:
                self._rows[key] = rows[key]
                self._rows.move_to_end(key, last=False)
        self.add({})
