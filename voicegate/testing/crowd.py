"""Many callers at once, light enough for one process: real calls, whose sound nobody listens to.

Each caller sets its call up whole and then sends media and checks as a browser does, on one path or several;
what it hears is counted, not decoded. For load, and for what happens to calls when a part of the server dies.

Layer: shell (Trio).
"""

import select
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
import trio

from voicegate.datagram import bind
from voicegate.dtls import Certificate
from voicegate.testing.client import ClientCore, ClientState
from voicegate.wire import PacketKind, classify
from voicegate.wire.path import Address

__all__ = ["Caller", "Crowd", "open_crowd"]

_AT_ONCE: Final = 4
"""Calls that are set up at the same time."""

_PATIENCE: Final = 60.0
"""Seconds for a call to come about."""

_ATTEMPTS: Final = 8
"""How often a caller calls at most, as people do when a call does not come about: machines may be full."""


class Caller:
    """One of a crowd."""

    def __init__(self, core: ClientCore, *, url: str, poll: select.epoll) -> None:
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
        self.resumed_at: float | None = None
        """When the longest silence ended, in Trio's time."""
        self.servers: Final = [
            (candidate.address, candidate.port)
            for candidate in core.candidates
            if candidate.transport == "udp"
        ]
        """Where media may go, by the numbers of the core's paths."""
        self._numbers = {address: number for number, address in enumerate(self.servers)}
        self._poll = poll
        self._deadline: float | None = 0.0
        self._socket = self._bind()

    def fileno(self) -> int:
        """Return the descriptor of its socket, which `Crowd` waits at."""
        return self._socket.fileno()

    @property
    def call_id(self) -> str:
        """The call's id."""
        return self.url.rpartition("/")[2]

    @property
    def entry(self) -> Address:
        """The relay that media goes to."""
        return self.servers[self.core.paths.selected]

    @property
    def is_lost(self) -> bool:
        """Whether the call was up, and somebody else has ended it."""
        return self.connected.is_set() and self.core.state in {ClientState.FAILED, ClientState.CLOSED}

    def listen_anew(self) -> None:
        """Forget all silences so far."""
        self.longest_silence, self.resumed_at = 0.0, None

    def move(self) -> None:
        """Go on from another port, as behind a NAT that has forgotten us."""
        self._socket.close()
        self._socket = self._bind()

    def tick(self, now: float, *, has_heard: bool = True) -> None:
        """Take in what has come, if anything has, and send what is due."""
        if not has_heard and (self._deadline is None or now < self._deadline):
            return
        core = self.core
        for data, address in _drain(self._socket):
            # Of IPv6 there are more than two parts.
            path = self._numbers.get(address[:2])
            if path is None:
                continue
            if core.state is ClientState.CONNECTED and classify(data) is PacketKind.RTP:
                core.paths.note_heard(path, now=now)
                self._hear(now)
            else:
                core.handle_datagram(data, now=now, path=path)
        if (deadline := core.poll_timeout()) is not None and deadline <= now:
            core.handle_timeout(now=now)
        if core.state is ClientState.FAILED:
            self.settled.set()
        while (leaving := core.poll_transmit_on()) is not None:
            path, datagram = leaving
            try:
                self._socket.sendto(datagram, self.servers[path])
            except OSError:
                continue  # the echo of an earlier one; UDP may lose this one, too
        self._deadline = core.poll_timeout()

    def hang_up(self, now: float) -> None:
        """Say goodbye on the media path."""
        self.core.close(now=now)
        self.tick(now)
        self._socket.close()

    def _bind(self) -> socket.socket:
        made = bind(("::" if ":" in self.servers[0][0] else "0.0.0.0", 0))  # noqa: S104 - a client's
        self._poll.register(made, select.EPOLLIN)
        return made

    def _hear(self, now: float) -> None:
        if self.last_heard is not None and now - self.last_heard > self.longest_silence:
            self.longest_silence, self.resumed_at = now - self.last_heard, now
        self.last_heard = now
        self.packets_heard += 1
        self.connected.set()
        self.settled.set()


class Crowd:
    """All callers of `open_crowd`.

    Args:
        server_url: Where they call.
        certificate: Of all of them.
        random: As of `os.urandom`.
        max_paths: Of each caller, as `ClientCore` has it.
        packet_ms: Audio in each packet, both ways; 20 if not given.
        tick: Seconds between looks at all sockets.
    """

    def __init__(
        self,
        server_url: str,
        *,
        certificate: Certificate,
        random: Callable[[int], bytes],
        max_paths: int = 1,
        packet_ms: int | None = None,
        tick: float = 0.005,
    ) -> None:
        self.callers: list[Caller] = []
        self.max_paths = max_paths
        """Of the next callers, as `ClientCore` has it."""
        self._url = server_url
        self._certificate = certificate
        self._random = random
        self._packet_ms = packet_ms
        self._tick = tick
        self._poll = select.epoll()

    def listen_anew(self) -> None:
        """Forget all silences so far."""
        for caller in self.callers:
            caller.listen_anew()

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

    async def dial(self, http: httpx2.AsyncClient, url: str = "") -> Caller:
        """Offer a call, and wait until it has come about or has failed.

        Args:
            http: What to offer it with.
            url: Where, if not at the server the crowd was made for.

        Errors: AssertionError with the server's words when it refuses; httpx2's own when there is none.
        """
        caller = await self._offer(http, httpx2.URL(url or self._url))
        self.callers.append(caller)
        with trio.move_on_after(_PATIENCE):
            await caller.settled.wait()
        return caller

    def hang_up(self, caller: Caller) -> None:
        """Let a caller say goodbye, and forget it."""
        self.callers.remove(caller)
        caller.hang_up(trio.current_time())

    async def run(self) -> None:
        """Move all callers, for ever."""
        while True:
            now = trio.current_time()
            heard = {descriptor for descriptor, _ in self._poll.poll(0)}
            for caller in self.callers:
                caller.tick(now, has_heard=caller.fileno() in heard)
            await trio.sleep_until(now + self._tick)

    async def _call(self, http: httpx2.AsyncClient, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            for _ in range(_ATTEMPTS):
                caller = await self.dial(http)
                if caller.connected.is_set():
                    return
                self.hang_up(caller)
            raise AssertionError(f"no call came about: {caller.core.failure or 'too slow'}")

    async def _offer(self, http: httpx2.AsyncClient, url: httpx2.URL) -> Caller:
        core = ClientCore(
            random=self._random,
            certificate=self._certificate,
            codec="PCMU",
            max_paths=self.max_paths,
            packet_ms=self._packet_ms,
        )
        response = await http.post(
            url.join("/v1/realtime/calls").copy_with(query=url.query),
            content=core.offer(),
            headers={"content-type": "application/sdp"},
            timeout=_PATIENCE,
        )
        if response.status_code != 201:
            raise AssertionError(f"{response.status_code}: {response.text}")
        core.handle_answer(response.text, now=trio.current_time())
        if core.server is None:
            raise AssertionError("the answer names no candidate")
        return Caller(core, url=str(url.join(response.headers["location"])), poll=self._poll)


@asynccontextmanager
async def open_crowd(
    server_url: str,
    count: int,
    *,
    certificate: Certificate,
    random: Callable[[int], bytes],
    max_paths: int = 1,
    packet_ms: int | None = None,
) -> AsyncIterator[Crowd]:
    """Make so many calls to a server and wait until all are connected; leaving hangs them up."""
    crowd = Crowd(
        server_url, certificate=certificate, random=random, max_paths=max_paths, packet_ms=packet_ms
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(crowd.run)
        try:
            await crowd.call(count)
            yield crowd
        finally:
            nursery.cancel_scope.cancel()
            for caller in crowd.callers:
                caller.hang_up(trio.current_time())


def _drain(sock: socket.socket) -> list[tuple[bytes, tuple[Any, ...]]]:
    taken: list[tuple[bytes, tuple[Any, ...]]] = []
    try:
        while True:
            taken.append(sock.recvfrom(65_536))
    except OSError:
        return taken
