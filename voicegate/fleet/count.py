"""What a machine counts of its dealings with the others of its cluster."""

from collections import Counter
from math import inf
from typing import Final, Literal

import structlog
import trio

from voicegate.observability import Metrics

__all__ = ["FleetCounts"]

LOG_SECONDS: Final = 60.0
"""Strangers are logged once in so long: their number is in the metrics."""

_log = structlog.get_logger(__name__)


class FleetCounts:
    """Numbers that one machine's `FleetCalls` and peer listener add to."""

    def __init__(self) -> None:
        self.offers: Final = Counter({"own": 0, "other": 0, "nobody": 0})
        """Calls asked for here, by who took them."""
        self.tries: Final = Counter({"taken": 0, "refused": 0, "unreachable": 0})
        """Other machines asked to take one, by what came of it."""
        self.questions: Final = Counter({"own": 0, "other": 0})
        """Questions about a call, by whose it is."""
        self.strangers: Final = Counter({"late": 0, "untrusted": 0, "impostor": 0})
        """Connections with who is no member, by reason."""
        self._log_at = -inf

    def add_stranger(self, reason: Literal["late", "untrusted", "impostor"]) -> None:
        """Count a connection with who is no member of this cluster.

        Who connected to us is ``late`` to say anything, or ``untrusted``; where we connected to is an
        ``impostor``: something else has that address by now, or one of us has a wrong secret.
        """
        self.strangers[reason] += 1
        now = trio.current_time()
        if now >= self._log_at + LOG_SECONDS:
            self._log_at = now
            _log.warning("peer_refused", reason=reason, refused=self.strangers.total())

    def report(self, metrics: Metrics) -> None:
        """Add what there is to say to a scrape."""
        metrics.counter("fleet_offers", "Calls asked for here, by who took them", self.offers, label="by")
        metrics.counter(
            "fleet_tries", "Machines asked to take a call, by what came of it", self.tries, label="outcome"
        )
        metrics.counter(
            "fleet_questions", "Questions about a call, by whose it is", self.questions, label="of"
        )
        metrics.counter(
            "peer_strangers", "Connections with who is no member, by reason", self.strangers, label="reason"
        )
