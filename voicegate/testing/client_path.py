"""The ways of our test client to the server: which of several candidates its media takes.

As libwebrtc does, in outline: every candidate is checked, the fastest that answers is nominated, the others
are kept alive, and when nothing comes on the chosen one any more, another one is. What libwebrtc puts before
the round trip, the priority of the candidates, decides here between those that are about as fast.

Layer: core (sans-IO).
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from voicegate.ice import Credentials
from voicegate.ice.sped import Sped
from voicegate.testing.checker import CHECK_INTERVAL, Checker

__all__ = ["RECEIVING_SECONDS", "ClientPaths"]

RECEIVING_SECONDS: Final = 2.5
"""Without any datagram, after which a path does not work (libwebrtc's receiving timeout)."""
_SEARCH_INTERVAL: Final = 0.25
"""Seconds between checks on all paths while the chosen one doesn't work."""
_ANSWER_SECONDS: Final = 1.0
"""A path that works is heard so long after its checks at the latest."""
_GAIN: Final = 0.01
"""By so much must a round trip be shorter for a change to a path later in the answer (libwebrtc's)."""


class ClientPaths:
    """Checks on all paths, and which of them is selected; with a single path, its `Checker` and no more."""

    def __init__(
        self,
        *,
        local: Credentials,
        random: Callable[[int], bytes],
        keepalive_interval: float,
        receiving_seconds: float,
        sped: Sped | None,
    ) -> None:
        self.selected = 0
        """The number of the path that media takes."""
        self.is_reached = False
        """Whether a check was answered."""
        self.round_trip = 0.0
        """From the first check to the first answer, on the path that was the first."""
        self.began_at = 0.0
        self._local = local
        self._random = random
        self._keepalive_interval = keepalive_interval
        self._receiving_seconds = receiving_seconds
        self._sped = sped
        self._checkers: list[Checker] = []
        self._heard_at: list[float] = []
        self._search_at: float | None = None

    def start(self, remote: Credentials, *, count: int, now: float) -> None:
        """Begin, with what the answer says; paths are checked one after the other at first."""
        self.began_at = now
        self._checkers = [
            Checker(
                local=self._local,
                random=self._random,
                keepalive_interval=self._keepalive_interval,
                sped=self._sped,
                nominates=count == 1,
            )
            for _ in range(count)
        ]
        self._heard_at = [-inf] * count
        for number, checker in enumerate(self._checkers):
            checker.start(remote, now=now + number * CHECK_INTERVAL)

    def stop(self) -> None:
        """Check no more."""
        self._search_at = None
        for checker in self._checkers:
            checker.stop()

    @property
    def round_trips(self) -> Sequence[float | None]:
        """The shortest recent round trip on each path; None on those without an answer so far."""
        return [min(checker.round_trips, default=None) for checker in self._checkers]

    def note_heard(self, path: int, *, now: float) -> None:
        """Note that something came from the server."""
        if path < len(self._heard_at):
            self._heard_at[path] = now

    def handle_datagram(self, data: bytes, *, path: int, now: float) -> bytes | None:
        """Take an answer; return the DTLS datagram in it."""
        if path >= len(self._checkers):
            return None
        checker = self._checkers[path]
        embedded = checker.handle_datagram(data, now=now)
        if checker.is_reached and not self.is_reached:
            self.is_reached = True
            self.round_trip = checker.round_trip
            self.began_at = checker.began_at
            if len(self._checkers) > 1:
                self._select(path, now)
        elif self.is_reached and len(self._checkers) > 1:
            self._choose(now)
        return embedded

    def handle_timeout(self, *, now: float) -> None:
        """Check what it is time for, and look whether the selected path still works."""
        for checker in self._checkers:
            checker.handle_timeout(now=now)
        if self._search_at is not None and now >= self._search_at:
            self._choose(now)

    def poll_transmit(self) -> tuple[int, bytes] | None:
        """Return the next check, and the path it goes on."""
        for number, checker in enumerate(self._checkers):
            if (check := checker.poll_transmit()) is not None:
                return number, check
        return None

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        deadlines = [self._search_at, *(checker.poll_timeout() for checker in self._checkers)]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _choose(self, now: float) -> None:
        """Leave the selected path for one that is faster, or for any when it doesn't work."""
        silent_at = self._heard_at[self.selected] + self._receiving_seconds
        is_working = now < silent_at
        best, shortest = self.selected, self._cost(self.selected) if is_working else inf
        # A path that works is left only for one that has just been heard, as one that died is soon forgotten.
        heard_since = now - _ANSWER_SECONDS - (0.0 if is_working else self._keepalive_interval)
        for number, heard_at in enumerate(self._heard_at):
            # Of two that are about as fast, it is the one that the answer has first.
            handicap = 0.0 if not is_working else -_GAIN if number < self.selected else _GAIN
            cost = self._cost(number) + handicap
            if number != self.selected and heard_at >= heard_since and cost < shortest:
                best, shortest = number, cost
        if best != self.selected:
            self._select(best, now)
        elif is_working:
            self._search_at = silent_at if silent_at < inf else None
        else:
            for checker in self._checkers:
                checker.check(nominates=False, now=now)
            self._search_at = now + _SEARCH_INTERVAL

    def _select(self, path: int, now: float) -> None:
        self.selected = path
        self._checkers[path].check(nominates=True, now=now)
        self._search_at = now + self._receiving_seconds if self._receiving_seconds < inf else None

    def _cost(self, path: int) -> float:
        return min(self._checkers[path].round_trips, default=inf)
