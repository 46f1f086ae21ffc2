"""A userspace line of chosen delay and loss between a client and a server, which notes what passes.

A client sends to `Line.address` what it would send to the server. Each datagram waits half a round trip and
then leaves for the other side, from a socket of its own for each client address, unless the line loses it.
There is no limit of bandwidth; unless jitter or duplication is asked for, nothing overtakes anything or comes
twice.
"""

import heapq
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import Enum
from hashlib import blake2b
from itertools import count
from time import perf_counter
from typing import Final, NamedTuple

import trio

from voicegate.bench.place import Place
from voicegate.errors import UsageError
from voicegate.wire import PacketKind, classify

__all__ = ["Direction", "Line", "Passage", "open_line"]

_LARGEST_DATAGRAM: Final = 1 << 16

_COARSE_SECONDS: Final = 0.001
"""The kernel is asked to wait in whole milliseconds, rounded up; the rest of the way is spent looking."""


class Direction(Enum):
    """Where a datagram goes."""

    TO_SERVER = "to_server"
    TO_CLIENT = "to_client"


class Passage(NamedTuple):
    """A datagram on its way; times are `time.perf_counter`'s, which processes of one machine share."""

    direction: Direction
    kind: PacketKind
    length: int
    entered_at: float
    left_at: float | None
    """None for one that was lost."""


class _Waiting(NamedTuple):
    due_at: float
    number: int
    """Those that are due at once leave in the order they came in."""
    direction: Direction
    data: bytes
    client: "_Client"
    entered_at: float


class _Client(NamedTuple):
    """An address of a client's, and the socket that stands for it at the server."""

    address: tuple[str, int]
    upstream: trio.socket.SocketType


class Line:
    """A line in use; made by `open_line`."""

    def __init__(
        self,
        public: trio.socket.SocketType,
        *,
        server: tuple[str, int],
        open_port: Callable[[], Awaitable[trio.socket.SocketType]],
        round_trip: float,
        jitter: float,
        loss: float,
        duplication: float,
        seed: int,
    ) -> None:
        self.passages: Final[list[Passage]] = []
        """All that left the line or was lost on it, in this order."""
        self._public = public
        self._server = server
        self._open_port = open_port
        self._delay = round_trip / 2
        self._jitter = jitter
        self._loss = loss
        self._duplication = duplication
        self._seed = seed
        self._began_at: float | None = None
        self._entered = dict.fromkeys(Direction, 0)
        self._clients: dict[tuple[str, int], _Client] = {}
        self._waiting: list[_Waiting] = []
        self._numbers = count()
        self._is_sooner = trio.Event()
        self._passed = trio.Event()

    @property
    def address(self) -> tuple[str, int]:
        """Where clients find the server."""
        host, port = self._public.getsockname()[:2]
        return host, port

    @property
    def began_at(self) -> float | None:
        """When the first datagram of a client's entered, even if it was lost."""
        return self._began_at

    def first_arrival(self, direction: Direction, kind: PacketKind) -> float | None:
        """Return when the first datagram of a kind came out at the other end."""
        arrivals = (
            passage.left_at
            for passage in self.passages
            if passage.direction is direction and passage.kind is kind and passage.left_at is not None
        )
        return next(arrivals, None)

    async def wait_arrival(self, direction: Direction, kind: PacketKind) -> None:
        """Wait until a datagram of a kind has come out at the other end."""
        while self.first_arrival(direction, kind) is None:
            await self._passed.wait()

    async def run(self) -> None:
        """Carry datagrams until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._let_out)
            while True:
                try:
                    data, address = await self._public.recvfrom(_LARGEST_DATAGRAM)
                except OSError:  # a client has closed its socket
                    await trio.lowlevel.checkpoint()
                    continue
                client = self._clients.get(address) or await self._admit(address, nursery)
                self._take_in(data, Direction.TO_SERVER, client)

    async def _admit(self, address: tuple[str, int], nursery: trio.Nursery) -> _Client:
        upstream = await self._open_port()
        await upstream.connect(self._server)
        client = self._clients[address] = _Client(address, upstream)
        nursery.start_soon(self._receive_answers, client)
        return client

    async def _receive_answers(self, client: _Client) -> None:
        with client.upstream:
            while True:
                try:
                    data = await client.upstream.recv(_LARGEST_DATAGRAM)
                except OSError:  # the server has closed its socket
                    await trio.lowlevel.checkpoint()
                    continue
                self._take_in(data, Direction.TO_CLIENT, client)

    def _take_in(self, data: bytes, direction: Direction, client: _Client) -> None:
        now = perf_counter()
        if self._began_at is None and direction is Direction.TO_SERVER:
            self._began_at = now
        number = self._entered[direction]
        self._entered[direction] += 1
        if self._draw(direction, number) < self._loss:
            self.passages.append(Passage(direction, classify(data), len(data), now, None))
            return
        copies = 2 if self._draw(direction, number, "copy") < self._duplication else 1
        for copy in range(copies):
            # Without jitter one delay for all: whatever entered first is due first.
            delay = self._delay + self._jitter * self._draw(direction, number, "delay", copy)
            waiting = _Waiting(now + delay, next(self._numbers), direction, data, client, now)
            heapq.heappush(self._waiting, waiting)
            if self._waiting[0] is waiting:
                self._is_sooner.set()

    def _draw(self, direction: Direction, number: int, *about: object) -> float:
        """Draw from 0 to 1, by direction and number alone: what one side does spares the other no loss."""
        text = " ".join(map(str, (self._seed, direction.value, number, *about)))
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64

    async def _let_out(self) -> None:
        while True:
            self._is_sooner = trio.Event()
            due_at = self._waiting[0].due_at if self._waiting else math.inf
            with trio.move_on_after(max(0.0, due_at - perf_counter() - _COARSE_SECONDS)):
                await self._is_sooner.wait()
                continue
            while perf_counter() < self._waiting[0].due_at:
                await trio.lowlevel.checkpoint()
            while self._waiting and self._waiting[0].due_at <= perf_counter():
                await self._send(heapq.heappop(self._waiting))

    async def _send(self, waiting: _Waiting) -> None:
        try:
            if waiting.direction is Direction.TO_SERVER:
                await waiting.client.upstream.send(waiting.data)
            else:
                await self._public.sendto(waiting.data, waiting.client.address)
        except OSError:  # nobody is there any more
            return
        passage = Passage(
            waiting.direction, classify(waiting.data), len(waiting.data), waiting.entered_at, perf_counter()
        )
        self.passages.append(passage)
        self._passed.set()
        self._passed = trio.Event()


@asynccontextmanager
async def open_line(
    server: tuple[str, int],
    place: Place,
    *,
    round_trip: float,
    jitter: float = 0.0,
    loss: float = 0.0,
    duplication: float = 0.0,
    seed: int = 0,
) -> AsyncIterator[Line]:
    """Open a line to a server's UDP address.

    Args:
        server: Where datagrams of clients go.
        place: Where both sides are.
        round_trip: Seconds there and back.
        jitter: Seconds that a datagram may wait longer, each by itself, so that some overtake others.
        loss: Probability, from 0 to below 1, that a datagram is lost, in each direction.
        duplication: Probability, from 0 to 1, that one which is not lost comes twice.
        seed: Lines of one seed do the same to the same datagrams, counted in each direction.

    Errors: UsageError for a delay or probability that cannot be.
    """
    if min(round_trip, jitter) < 0 or not 0 <= loss < 1 or not 0 <= duplication <= 1:
        raise UsageError("delays are not negative, and probabilities are from 0 to (loss: below) 1")
    with await place.open_port() as public:
        line = Line(
            public,
            server=server,
            open_port=place.open_port,
            round_trip=round_trip,
            jitter=jitter,
            loss=loss,
            duplication=duplication,
            seed=seed,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.run)
            yield line
            nursery.cancel_scope.cancel()
