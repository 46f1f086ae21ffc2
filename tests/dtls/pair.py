"""Two connections, and a bad line between them, in virtual time."""

import heapq
import itertools
from collections.abc import Callable
from random import Random
from typing import Any, Final

import attrs

from tests.dtls.peer import NOT_BEFORE
from voicegate.dtls import Certificate, DtlsConnection, Event, ProtocolVersion, Role

__all__ = [
    "CLIENT_CERTIFICATE",
    "DTLS_1_2",
    "DTLS_1_3",
    "SERVER_CERTIFICATE",
    "Line",
    "drain_events",
    "drain_transmits",
    "make_connection",
]

SERVER_CERTIFICATE: Final = Certificate.generate(not_before=NOT_BEFORE)
CLIENT_CERTIFICATE: Final = Certificate.generate(not_before=NOT_BEFORE)

DTLS_1_2: Final = (ProtocolVersion.DTLS_1_2,)
DTLS_1_3: Final = (ProtocolVersion.DTLS_1_3, ProtocolVersion.DTLS_1_2)
"""What a connection may do if nothing is said; here what is not said is `DTLS_1_2`."""

Fate = Callable[[bytes], list[float]]
"""Takes a datagram and says after how many seconds each copy of it arrives; none when it is lost."""


def make_connection(role: Role, *, seed: int = 0, now: float = 0.0, **options: Any) -> DtlsConnection:
    ours, theirs = SERVER_CERTIFICATE, CLIENT_CERTIFICATE
    if role is Role.CLIENT:
        ours, theirs = theirs, ours
    options.setdefault("certificate", ours)
    options.setdefault("versions", DTLS_1_2)
    options.setdefault("remote_fingerprints", [theirs.fingerprint])
    return DtlsConnection(role=role, random=Random(f"{role}{seed}").randbytes, now=now, **options)


def drain_transmits(connection: DtlsConnection) -> list[bytes]:
    return list(iter(connection.poll_transmit, None))


def drain_events(connection: DtlsConnection) -> list[Event]:
    return list(iter(connection.poll_event, None))


def perfect(_datagram: bytes) -> list[float]:
    return [0.0]


@attrs.define
class Line:
    """Carries datagrams between a client and a server, each with the fate it is given."""

    client: DtlsConnection = attrs.field(factory=lambda: make_connection(Role.CLIENT))
    server: DtlsConnection = attrs.field(factory=lambda: make_connection(Role.SERVER))
    upward: Fate = perfect
    downward: Fate = perfect
    now: float = 0.0
    client_events: list[Event] = attrs.field(factory=list)
    server_events: list[Event] = attrs.field(factory=list)
    sent: list[tuple[Role, bytes]] = attrs.field(factory=list)
    """Everything put on the line, by whom."""
    _on_the_way: list[tuple[float, int, Role, bytes]] = attrs.field(factory=list)
    _order: "itertools.count[int]" = attrs.field(factory=itertools.count)

    def start(self) -> None:
        self.client.start(now=self.now)
        self.drain()

    def run(self, *, until: float = 60.0) -> None:
        """Deliver and let time pass until nothing more is due, or the clock says ``until``."""
        self.drain()
        while (due := self._next_due()) is not None and due <= until:
            self.now = max(self.now, due)
            while self._on_the_way and self._on_the_way[0][0] <= self.now:
                _, _, to, datagram = heapq.heappop(self._on_the_way)
                self.end(to).handle_datagram(datagram, now=self.now)
                self.drain()
            for connection in (self.client, self.server):
                connection.handle_timeout(now=self.now)
                self.drain()

    def handshake(self) -> None:
        """Run a whole handshake."""
        self.start()
        self.run()
        assert self.client.is_completed
        assert self.server.is_completed

    def end(self, role: Role) -> DtlsConnection:
        return self.client if role is Role.CLIENT else self.server

    def drain(self) -> None:
        for role, to, fate in (
            (Role.CLIENT, Role.SERVER, self.upward),
            (Role.SERVER, Role.CLIENT, self.downward),
        ):
            for datagram in drain_transmits(self.end(role)):
                self.sent.append((role, datagram))
                for delay in fate(datagram):
                    heapq.heappush(self._on_the_way, (self.now + delay, next(self._order), to, datagram))
        self.client_events += drain_events(self.client)
        self.server_events += drain_events(self.server)

    def _next_due(self) -> float | None:
        times = [self._on_the_way[0][0]] if self._on_the_way else []
        for connection in (self.client, self.server):
            timeout = connection.poll_timeout()
            if timeout is not None:
                times.append(timeout)
        return min(times, default=None)
