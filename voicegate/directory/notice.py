"""Warnings that come once a minute at most, each of its kind."""

from typing import Final

import structlog
import trio

__all__ = ["NOTICE_SECONDS", "Notices"]

NOTICE_SECONDS: Final = 60.0


class Notices:
    """Logs what goes on, and not how often: for that there are counters.

    Args:
        log: Where to.
    """

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        self._log = log
        self._told_at: dict[tuple[str, object], float] = {}
        self._told: dict[tuple[str, object], int] = {}

    def warn(self, event: str, **said: object) -> None:
        """Log a fact, unless one of its kind was logged within the last minute."""
        now = trio.current_time()
        kind = event, said.get("at") or said.get("reason")
        if now - self._told_at.get(kind, -NOTICE_SECONDS) >= NOTICE_SECONDS:
            self._told_at[kind] = now
            self._log.warning(event, **said)

    def warn_of_more(self, event: str, count: int, **said: object) -> None:
        """Log that a counter has grown since it was logged last, and to what."""
        kind = event, said.get("reason")
        now = trio.current_time()
        is_due = now - self._told_at.get(kind, -NOTICE_SECONDS) >= NOTICE_SECONDS
        if count > self._told.get(kind, 0) and is_due:
            self._told[kind] = count
            self.warn(event, count=count, **said)
