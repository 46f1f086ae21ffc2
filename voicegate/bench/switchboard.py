"""Sets calls up and hands their media to a program in C, which sends, receives and notes when what came."""

import array
import datetime
import socket
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

import httpx2
import trio

from voicegate.bench.callee import Callee
from voicegate.bench.caller import CALL_LIMIT, Caller, CallerState, Handover
from voicegate.bench.compiler import build
from voicegate.bench.frame import Recording
from voicegate.bench.program import Program, open_program
from voicegate.bench.server import BenchError
from voicegate.bench.voice import write_voice
from voicegate.dtls import Certificate
from voicegate.errors import WireError
from voicegate.wire import hop
from voicegate.wire.path import Address, address_bytes

__all__ = ["Switchboard", "open_switchboard"]

_HOST: Final = "127.0.0.1"

_AT_ONCE: Final = 4
"""Calls that are set up at the same time."""

_PATIENCE: Final = 20.0
"""Seconds for a call to come about."""

_ATTEMPTS: Final = 3
_CREATED: Final = 201
_LONGEST_DATAGRAM: Final = 2048
_DATAGRAMS_KEPT: Final = 64
"""For a call that is being set up; it has its turn long before there are more."""


class _Way(Protocol):
    """How a call's datagrams go while it is set up."""

    @property
    def address(self) -> Address:
        """Where they come from, as the server sees it."""

    @property
    def given(self) -> socket.socket | None:
        """What goes with the handover."""

    def send(self, data: bytes, server: Address) -> None:
        """Send one, or lose it."""

    async def receive(self) -> bytes:
        """Wait for the next."""

    def close(self) -> None:
        """Send no more."""


class Switchboard:
    """A running program in C, and the calls that it has with one server."""

    def __init__(
        self,
        callee: Callee,
        program: Program,
        giver: socket.socket,
        exchange: "_Exchange | None",
        records: Path,
    ) -> None:
        self._callee = callee
        self._program = program
        self._giver = giver
        self._exchange = exchange
        self._records = records
        self._certificate = Certificate.generate(
            not_before=datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        )
        self._calls: list[tuple[Caller, _Way]] = []
        self._number = 0

    @property
    def count(self) -> int:
        """How many calls there are."""
        return len(self._calls)

    async def call(self, count: int) -> None:
        """Add so many calls.

        Errors: BenchError with the server's words when it refuses, or one does not come about.
        """
        limiter = trio.CapacityLimiter(_AT_ONCE)
        async with (
            httpx2.AsyncClient(base_url=self._callee.url, trust_env=False, timeout=_PATIENCE) as http,
            trio.open_nursery() as nursery,
        ):
            for _ in range(count):
                nursery.start_soon(self._call, http, limiter)

    async def hang_up(self, count: int, *, first: Collection[int] = ()) -> None:
        """End so many calls, the latest; but before them, those of the numbers ``first``."""
        order = sorted(self._calls, key=lambda call: call[0].number in first)
        for call in order[::-1][: max(0, count)]:
            caller, way = call
            self._calls.remove(call)
            await self._program.ask(f"drop {caller.number}")
            caller.close(now=trio.current_time())
            _transmit(caller, way)
            way.close()

    def close(self) -> None:
        """Let go of all calls without a word."""
        for _, way in self._calls:
            way.close()

    async def run(self, *, warm_up: float, seconds: float) -> Recording:
        """Let all calls talk, and return what came back; processor times are of the server, then its relays.

        Errors: BenchError when the program ended.
        """
        words = ["run", warm_up, seconds, self._records, self._callee.pid, *self._callee.relays]
        answer = await self._program.ask(" ".join(map(str, words)))
        return Recording.read(answer, self._records, [caller.number for caller, _ in self._calls])

    async def _call(self, http: httpx2.AsyncClient, limiter: trio.CapacityLimiter) -> None:
        failure = ""
        async with limiter:
            for _ in range(_ATTEMPTS):
                number = self._take_number()
                way = self._exchange.open(number) if self._exchange is not None else _OwnSocket()
                caller = Caller(number=number, address=way.address, certificate=self._certificate)
                try:
                    with trio.move_on_after(_PATIENCE):
                        await _set_up(caller, way, http)
                    if caller.state is CallerState.CONNECTED:
                        _give(self._giver, caller.hand_over(has_relay=self._exchange is None), way.given)
                        self._calls.append((caller, way))
                        return
                finally:
                    if caller.state is not CallerState.CONNECTED:
                        way.close()
                failure = caller.failure or "too slow"
        raise BenchError(f"no call came about: {failure}")

    def _take_number(self) -> int:
        """Take the next number in turn, so that what is under way to an earlier call finds nobody."""
        taken = {caller.number for caller, _ in self._calls}
        for _ in range(CALL_LIMIT):
            self._number = (self._number + 1) % CALL_LIMIT
            if self._number not in taken:
                return self._number
        raise BenchError(f"the generator has room for {CALL_LIMIT} calls")


@asynccontextmanager
async def open_switchboard(callee: Callee, folder: Path, *, processor: int) -> AsyncIterator[Switchboard]:
    """Build the program and run it on one processor.

    Errors: BenchError.
    """
    path, voice = folder / "switchboard", folder / "voice"
    write_voice(voice)
    path.unlink(missing_ok=True)
    command = [str(await build("calls.c", folder)), str(path), str(voice)]
    async with AsyncExitStack() as stack:
        program, _ = await stack.enter_async_context(
            open_program("the load generator", command, processor=processor)
        )
        giver = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        giver.connect(str(path))
        exchange = None
        if callee.hop is not None:
            exchange = await stack.enter_async_context(_open_exchange(giver, (_HOST, callee.hop)))
        switchboard = Switchboard(callee, program, giver, exchange, folder / "records")
        stack.callback(switchboard.close)
        yield switchboard


async def _set_up(caller: Caller, way: _Way, http: httpx2.AsyncClient) -> None:
    """Call, and return when the call has come about or failed.

    Errors: BenchError with the server's words when it refuses.
    """
    try:
        response = await http.post(
            "/v1/realtime/calls", content=caller.offer(), headers={"content-type": "application/sdp"}
        )
    except httpx2.HTTPError as error:
        raise BenchError(f"no answer: {error!r}") from error
    if response.status_code != _CREATED:
        raise BenchError(f"{response.status_code}: {response.text[:200]}")
    try:
        caller.handle_answer(response.text, now=trio.current_time())
    except WireError as error:
        raise BenchError(str(error)) from error
    while caller.state is CallerState.CHECKING:
        _transmit(caller, way)
        deadline = caller.poll_timeout()
        with trio.move_on_at(trio.current_time() + _PATIENCE if deadline is None else deadline):
            caller.handle_datagram(await way.receive(), now=trio.current_time())
            continue
        caller.handle_timeout(now=trio.current_time())
    _transmit(caller, way)


def _transmit(caller: Caller, way: _Way) -> None:
    while (datagram := caller.poll_transmit()) is not None and caller.server is not None:
        way.send(datagram, caller.server)


def _give(giver: socket.socket, handover: bytes, given: socket.socket | None) -> None:
    descriptors = (
        [] if given is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [given.fileno()]))]
    )
    giver.sendmsg([handover], descriptors)


class _OwnSocket:
    """A socket of its own, as clients have."""

    def __init__(self) -> None:
        self.given: Final = socket.socket(type=socket.SOCK_DGRAM)
        self.given.setblocking(False)
        self.given.bind((_HOST, 0))
        self.address: Final[Address] = self.given.getsockname()
        self._is_connected = False

    def send(self, data: bytes, server: Address) -> None:
        with suppress(OSError):  # the echo of an earlier one; UDP may lose this one, too
            if not self._is_connected:
                self.given.connect(server)
                self._is_connected = True
            self.given.send(data)

    async def receive(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self.given)
            try:
                return self.given.recv(_LONGEST_DATAGRAM)
            except OSError:
                await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self.given.close()


class _HopWay:
    """A part of the socket that all calls without a relay share."""

    given: Final = None

    def __init__(self, exchange: "_Exchange", number: int) -> None:
        self.address: Final[Address] = (_HOST, number + 1)
        self._exchange = exchange
        self.incoming, self._received = trio.open_memory_channel[bytes](_DATAGRAMS_KEPT)

    def send(self, data: bytes, server: Address) -> None:
        del server
        self._exchange.send(data, self.address)

    async def receive(self) -> bytes:
        return await self._received.receive()

    def close(self) -> None:
        self._exchange.close(self.address[1])


class _Exchange:
    """The socket of all calls without a relay: sent with from here, received from by the program in C.

    That returns what is for none of its calls.
    """

    def __init__(self, giver: socket.socket, sock: socket.socket) -> None:
        self._giver = giver
        self._socket = sock
        self._ways: dict[int, _HopWay] = {}

    def open(self, number: int) -> _HopWay:
        way = _HopWay(self, number)
        self._ways[way.address[1]] = way
        return way

    def close(self, port: int) -> None:
        self._ways.pop(port, None)

    def send(self, data: bytes, source: Address) -> None:
        host, port = source
        with suppress(OSError):
            self._socket.send(hop.encode(hop.HopType.DATA, host=address_bytes(host), port=port, payload=data))

    async def run(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._giver)
            try:
                datagram = hop.decode(self._giver.recv(_LONGEST_DATAGRAM))
            except (OSError, WireError):
                continue
            way = self._ways.get(datagram.port)
            if way is not None:
                try:
                    way.incoming.send_nowait(datagram.payload)
                except trio.WouldBlock:
                    continue


@asynccontextmanager
async def _open_exchange(giver: socket.socket, transceiver: Address) -> AsyncIterator[_Exchange]:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind((_HOST, 0))
        sock.connect(transceiver)
        _give(giver, Handover(number=CALL_LIMIT).encode(), sock)
        exchange = _Exchange(giver, sock)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exchange.run)
            yield exchange
            nursery.cancel_scope.cancel()
