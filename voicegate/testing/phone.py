"""A client on a real socket: `ClientCore` with HTTP for the offer and UDP, TCP or TLS for the rest.

Layer: shell (Trio).
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Final, Literal, Protocol, TypeAlias

import httpx2
import trio

from voicegate.sdp import Candidate
from voicegate.testing.client import ClientCore, ClientState
from voicegate.wire import PacketKind, classify
from voicegate.wire.framing import FrameReader, frame

__all__ = ["Phone", "Way", "open_phone"]

Way: TypeAlias = Literal["udp", "tcp", "tls"]

MAX_ARRIVED: Final = 100
"""Datagrams over TCP that wait for the phone to look; then the connection is read no further."""

GOODBYE_SECONDS: Final = 1.0
"""For a goodbye to a server that reads no more."""

RECONNECT_SECONDS: Final = 0.05
"""Between two attempts to connect: a relay that died is back after a fraction of a second."""


class Phone:
    """A client in a call; `core` has what it hears and how far it came."""

    def __init__(self, core: ClientCore, *, url: str) -> None:
        self.core = core
        self.url = url
        """Of the call, as the server's ``Location`` gave it."""
        self.sent = 0
        """Datagrams sent."""
        self.vanish_after: float = inf
        """Datagrams after which nothing is sent any more, as by a client that vanished."""
        self._progress = trio.Condition()

    @property
    def call_id(self) -> str:
        """The call's id."""
        return self.url.rpartition("/")[2]

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that the core shows has come true."""
        async with self._progress:
            while not condition():
                await self._progress.wait()

    async def wait_connected(self) -> None:
        """Wait until audio can flow; an AssertionError tells of a failed handshake."""
        await self.wait_until(lambda: self.core.state not in {ClientState.CHECKING, ClientState.HANDSHAKING})
        if self.core.state is not ClientState.CONNECTED:
            raise AssertionError(f"not connected but {self.core.state.value}: {self.core.failure}")

    def say(self, pcm: bytes) -> None:
        """Queue samples for the microphone."""
        self.core.say(pcm)

    async def run(self, line: "_Line") -> None:
        """Move datagrams between the core and the server until cancelled."""
        while True:
            await self._flush(line)
            async with self._progress:
                self._progress.notify_all()
            deadline = self.core.poll_timeout()
            with trio.CancelScope(deadline=inf if deadline is None else deadline):
                data = await line.receive()
                self.core.handle_datagram(data, now=trio.current_time())
            now = trio.current_time()
            if deadline is not None and now >= deadline:
                self.core.handle_timeout(now=now)

    async def _flush(self, line: "_Line") -> None:
        while (data := self.core.poll_transmit()) is not None:
            if self.sent < self.vanish_after:
                self.sent += 1
                await line.send(data)

    async def hang_up(self, line: "_Line") -> None:
        """Say goodbye on the media path."""
        self.core.close(now=trio.current_time())
        await self._flush(line)


class _Line(Protocol):
    """How datagrams get to the server and back."""

    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes: ...


class _DatagramLine:
    """UDP. An ICMP error tells of an earlier datagram, so it says nothing of the next."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._socket = sock

    async def send(self, data: bytes) -> None:
        with suppress(ConnectionRefusedError):
            await self._socket.send(data)

    async def receive(self) -> bytes:
        while True:
            with suppress(ConnectionRefusedError):
                return await self._socket.recv(65536)


class _StreamLine:
    """TCP or TLS, with a frame for each datagram.

    What breaks is connected anew. Then nothing but checks goes until something comes back, as by libwebrtc: a
    relay takes no connection that begins with audio.
    """

    def __init__(self, connect: Callable[[], Awaitable[trio.abc.Stream]]) -> None:
        self._connect = connect
        self.life = trio.CancelScope()
        self._stream: trio.abc.Stream | None = None
        self._has_only_checks = False
        self._arrived, self._arriving = trio.open_memory_channel[bytes](MAX_ARRIVED)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be connected until `life` is cancelled; started once it is for the first time."""
        with self.life:
            while True:
                with suppress(OSError, trio.BrokenResourceError):
                    stream = await self._connect()
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                    # Now there is a phone, and a way is wanted for its goodbye even when it is cancelled.
                    self.life.shield = True
                    await self._read(stream)
                await trio.sleep(RECONNECT_SECONDS)

    async def _read(self, stream: trio.abc.Stream) -> None:
        reader = FrameReader()
        self._stream = stream
        try:
            while data := await stream.receive_some():
                self._has_only_checks = False
                for datagram in reader.feed(data):
                    await self._arrived.send(datagram)
        finally:
            self._stream = None
            self._has_only_checks = True
            await trio.aclose_forcefully(stream)

    async def send(self, data: bytes) -> None:
        if self._has_only_checks and classify(data) is not PacketKind.STUN:
            return
        if self._stream is not None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send_all(frame(data))

    async def receive(self) -> bytes:
        return await self._arriving.receive()


@asynccontextmanager
async def open_phone(
    server_url: str,
    core: ClientCore,
    *,
    via: Way = "udp",
    tls: ssl.SSLContext | None = None,
    collection: str = "/v1/realtime/calls",
    dial: Callable[[str], Awaitable[tuple[str, str]]] | None = None,
) -> AsyncIterator[Phone]:
    """Call a server; leaving hangs up on the media path.

    Args:
        server_url: Where offers are taken.
        core: The client.
        via: How media gets to the server: to the first candidate over UDP, or the first over TCP, and there
            with TLS or without.
        tls: Whom to trust with TLS; if not given, as the system does.
        collection: Where offers are posted, ``/v1/whip`` for one.
        dial: What else to do with the offer; it returns the answer, and the URL of the call.

    Errors: AssertionError with the server's words when it refuses the offer.
    """
    answer, url = await (_post(server_url, collection, core.offer()) if dial is None else dial(core.offer()))
    core.handle_answer(answer, now=trio.current_time())
    phone = Phone(core, url=str(httpx2.URL(server_url).join(url)))
    transport = "udp" if via == "udp" else "tcp"
    candidate = next((each for each in core.candidates if each.transport == transport), None)
    if candidate is None:
        raise AssertionError(f"the answer names no candidate over {transport}")
    context = tls or ssl.create_default_context() if via == "tls" else None
    async with _open_line(candidate, context) as line:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(phone.run, line)
                yield phone
                nursery.cancel_scope.cancel()
        finally:
            with trio.move_on_after(GOODBYE_SECONDS, shield=True):
                await phone.hang_up(line)


async def _post(server_url: str, collection: str, offer: str) -> tuple[str, str]:
    async with httpx2.AsyncClient(base_url=server_url, trust_env=False, timeout=60) as http:
        response = await http.post(collection, content=offer, headers={"content-type": "application/sdp"})
    if response.status_code != 201:
        raise AssertionError(f"{response.status_code}: {response.text}")
    return response.text, response.headers["location"]


@asynccontextmanager
async def _open_line(candidate: Candidate, tls: ssl.SSLContext | None) -> AsyncIterator[_Line]:
    address = (candidate.address, candidate.port)
    if candidate.transport == "udp":
        family = trio.socket.AF_INET6 if ":" in candidate.address else trio.socket.AF_INET
        with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as sock:
            await sock.connect(address)
            yield _DatagramLine(sock)
        return

    async def connect() -> trio.abc.Stream:
        stream = await trio.open_tcp_stream(*address)
        if tls is None:
            return stream
        secured = trio.SSLStream(stream, tls, server_hostname=candidate.address)
        await secured.do_handshake()
        return secured

    line = _StreamLine(connect)
    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(line.run)
            yield line
        finally:
            line.life.cancel()
