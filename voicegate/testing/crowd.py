"""Many callers at once, light enough for one process: real calls, whose sound nobody listens to.

Each caller sets its call up whole and then sends media and checks as a browser does; what it hears is
counted, not decoded. For load, and for what happens to calls when a part of the server dies.

Layer: shell (Trio).
"""

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import httpx2
import trio

from voicegate.datagram import bind
from voicegate.dtls import Certificate
from voicegate.testing.client import ClientCore, ClientState
from voicegate.wire import PacketKind, classify
from voicegate.wire.path import Address

__all__ = ["Caller", "Crowd", "open_crowd"]

_TICK: Final = 0.005
"""Seconds between looks at all sockets."""

_AT_ONCE: Final = 4
"""Calls that are set up at the same time."""

_PATIENCE: Final = 60.0
"""Seconds for a call to come about."""

_ATTEMPTS: Final = 3
"""How often a caller calls at most, as people do when a call does not come about."""


class Caller:
    """One of a crowd."""

    def __init__(self, core: ClientCore, *, url: str, server: Address) -> None:
        self.core: Final = core
        self.url: Final = url
        self.connected: Final = trio.Event()
        """Set once the call is up and something was heard."""
        self.settled: Final = trio.Event()
        """Set once it is, or has failed."""
        self.packets_heard = 0
        self.last_heard: float | None = None
        """When the last media came, in Trio's time."""
        self.longest_silence = 0.0
        """Seconds without media, at most, since `Crowd.listen_anew`."""
        self._server = server
        self._socket = self._bind()

    @property
    def call_id(self) -> str:
        """The call's id."""
        return self.url.rpartition("/")[2]

    def move(self) -> None:
        """Go on from another port, as behind a NAT that has forgotten us."""
        self._socket.close()
        self._socket = self._bind()

    def tick(self, now: float) -> None:
        """Take in what has come and send what is due."""
        core = self.core
        for data in _drain(self._socket):
            if core.state is ClientState.CONNECTED and classify(data) is PacketKind.RTP:
                self._hear(now)
            else:
                core.handle_datagram(data, now=now)
        if (deadline := core.poll_timeout()) is not None and deadline <= now:
            core.handle_timeout(now=now)
        if core.state is ClientState.FAILED:
            self.settled.set()
        while (datagram := core.poll_transmit()) is not None:
            try:
                self._socket.sendto(datagram, self._server)
            except OSError:
                continue  # the echo of an earlier one; UDP may lose this one, too

    def hang_up(self, now: float) -> None:
        """Say goodbye on the media path."""
        self.core.close(now=now)
        self.tick(now)
        self._socket.close()

    def _bind(self) -> socket.socket:
        return bind(("::" if ":" in self._server[0] else "0.0.0.0", 0))  # noqa: S104 - a client's

    def _hear(self, now: float) -> None:
        if self.last_heard is not None:
            self.longest_silence = max(self.longest_silence, now - self.last_heard)
        self.last_heard = now
        self.packets_heard += 1
        self.connected.set()
        self.settled.set()


class Crowd:
    """All callers of `open_crowd`."""

    def __init__(self, server_url: str, *, certificate: Certificate, random: Callable[[int], bytes]) -> None:
        self.callers: list[Caller] = []
        self._url = server_url
        self._certificate = certificate
        self._random = random

    def listen_anew(self) -> None:
        """Forget all silences so far."""
        for caller in self.callers:
            caller.longest_silence = 0.0

    def silences(self, now: float) -> Sequence[float]:
        """Return the longest silence of each caller, one that still goes on included."""
        return [
            max(caller.longest_silence, now - caller.last_heard)
            for caller in self.callers
            if caller.last_heard is not None
        ]

    async def call(self, count: int) -> None:
        """Add so many callers, and wait until all are connected.

        Errors: AssertionError with the server's words when it refuses an offer, or none came about in time.
        """
        limiter = trio.CapacityLimiter(_AT_ONCE)
        async with (
            httpx2.AsyncClient(base_url=self._url, trust_env=False) as http,
            trio.open_nursery() as nursery,
        ):
            for _ in range(count):
                nursery.start_soon(self._call, http, limiter)

    async def run(self) -> None:
        """Move all callers, for ever."""
        while True:
            now = trio.current_time()
            for caller in self.callers:
                caller.tick(now)
            await trio.sleep_until(now + _TICK)

    async def _call(self, http: httpx2.AsyncClient, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            for _ in range(_ATTEMPTS):
                caller = await self._try(http)
                if caller.connected.is_set():
                    return
                self.callers.remove(caller)
                caller.hang_up(trio.current_time())
            raise AssertionError(f"no call came about: {caller.core.failure or 'too slow'}")

    async def _try(self, http: httpx2.AsyncClient) -> Caller:
        """Make a call, and wait until it has come about or has failed."""
        core = ClientCore(random=self._random, certificate=self._certificate, codec="PCMU")
        response = await http.post(
            "/v1/realtime/calls",
            content=core.offer(),
            headers={"content-type": "application/sdp"},
            timeout=_PATIENCE,
        )
        if response.status_code != 201:
            raise AssertionError(f"{response.status_code}: {response.text}")
        core.handle_answer(response.text, now=trio.current_time())
        if core.server is None:
            raise AssertionError("the answer names no candidate")
        url = str(httpx2.URL(self._url).join(response.headers["location"]))
        caller = Caller(core, url=url, server=(core.server.address, core.server.port))
        self.callers.append(caller)
        with trio.move_on_after(_PATIENCE):
            await caller.settled.wait()
        return caller


@asynccontextmanager
async def open_crowd(
    server_url: str, count: int, *, certificate: Certificate, random: Callable[[int], bytes]
) -> AsyncIterator[Crowd]:
    """Make so many calls to a server and wait until all are connected; leaving hangs them up."""
    crowd = Crowd(server_url, certificate=certificate, random=random)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(crowd.run)
        try:
            await crowd.call(count)
            yield crowd
        finally:
            nursery.cancel_scope.cancel()
            for caller in crowd.callers:
                caller.hang_up(trio.current_time())


def _drain(sock: socket.socket) -> list[bytes]:
    taken: list[bytes] = []
    try:
        while True:
            taken.append(sock.recv(65_536))
    except OSError:
        return taken
