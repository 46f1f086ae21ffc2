"""Clients on TCP and TLS: the passive side of ICE (RFC 6544 §3), a frame for each datagram.

1. client -> us: a connection; its first bytes say whether TLS comes first
2. client -> us: a connectivity check; nothing else may be the first frame
3. transceiver -> client: the answer to it, the first thing that leaves here in clear or within TLS
4. both ways: datagrams, as over UDP

Attack: connections without number; such as say nothing, or a byte a minute; clients that never read, or go on
when nobody answers them any more. Wanted: bounded memory for each and for all, room for others, no word to
whom no transceiver talks. Construction: limits in all and per source; only what a transceiver sends prolongs
a connection's life, which is short at first; a bounded backlog, from which stale audio is dropped; a time
limit for each write, and a reset in place of a goodbye that nobody reads.

A connection that ends takes its flow along when that expires; meanwhile `StreamServer.send` says False.
"""

import resource
import socket
import ssl
import struct
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import trio

from voicegate.datagram import open_socket
from voicegate.errors import UsageError, WireError
from voicegate.relay.admission import source_of
from voicegate.relay.counter import Count, Counters, DropReason
from voicegate.relay.flows import CONFIRMED_LIFETIME, UNCONFIRMED_LIFETIME, Client
from voicegate.relay.router import MAX_CLIENT_DATAGRAM
from voicegate.wire import PacketKind, classify
from voicegate.wire.framing import LENGTH_BYTES, FrameReader, frame
from voicegate.wire.path import Address, address_bytes

__all__ = ["StreamServer", "Backlog", "bind_stream", "listen", "load_tls"]

STREAM_LIMIT: Final = 4096
"""Connections at once: some 100 MB, more calls than one worker carries."""

SOURCE_LIMIT: Final = STREAM_LIMIT // 4
"""Connections of one source (IPv4 address, or IPv6 /64), for the reasons that flows have such a limit."""

PROOF_SECONDS: Final = UNCONFIRMED_LIFETIME
"""From the connection to a transceiver's answer; TLS, where it is used, included."""

IDLE_SECONDS: Final = CONFIRMED_LIFETIME
"""Without a word from a transceiver, which answers checks as long as there is a call."""

WRITE_SECONDS: Final = 10.0
"""For one write of at most `BATCH_BYTES`: below 1.6 kB/s, which no codec here fits into, there is no call."""

AUDIO_BYTES: Final = 8 * 1024
"""Audio that may wait for a client: about a second of it, past which the old is worth less than the new."""

KEPT_BYTES: Final = 64 * 1024
"""What else may wait: whole flights of DTLS, and bursts of data channels, which repeat what is lost."""

BATCH_BYTES: Final = 16 * 1024
"""Written at once, and the record that TLS makes of it."""

_READ_BYTES: Final = 4 * 1024
"""Taken at once, so that a flood of tiny frames is cut into turns of a few milliseconds."""

_UNSENT_BYTES: Final = 4 * 1024
"""What the kernel takes beyond what is on its way; what waits there can't be dropped any more."""

_KERNEL_BUFFER: Final = 64 * 1024
"""Bytes under way and not acknowledged, per client; without a limit the kernel would go up to megabytes."""

_OTHER_DESCRIPTORS: Final = 128
"""What else a process has open."""

_PENDING_CONNECTIONS: Final = 1024
"""Connections that the kernel keeps until we take them; it cuts this to its net.core.somaxconn."""

_TLS_HANDSHAKE: Final = b"\x16\x03"
"""How TLS begins (RFC 8446 §5.1). As the length of a frame it would be far too long."""

_BINDING_REQUEST: Final = b"\x00\x01"
_MAGIC_COOKIE: Final = b"\x21\x12\xa4\x42"
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class StreamServer:
    """The connections of one relay worker.

    Args:
        listeners: From `listen`; closed at the end of `run`.
        handle: Takes the datagrams that one read brought, the client, and the time.
        counters: Where to count.
        tls: With a certificate; without, connections that begin with TLS are refused.
    """

    def __init__(
        self,
        listeners: Sequence[trio.SocketListener],
        *,
        handle: Callable[[Sequence[bytes], Client, float], None],
        counters: Counters,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._listeners = list(listeners)
        self._handle = handle
        self._counters = counters
        self._tls = tls
        self._connections: dict[Client, _Connection] = {}
        self._sources: Counter[bytes] = Counter()

    async def run(self) -> None:
        """Take connections until cancelled, which ends them all."""
        _allow_descriptors()
        await trio.serve_listeners(self._serve, self._listeners)

    def send(self, client: Client, data: bytes) -> bool:
        """Send a datagram to a client when it reads; False when there is no such connection."""
        connection = self._connections.get(client)
        if connection is None:
            return False
        if dropped := connection.backlog.push(data):
            self._counters.add(DropReason.STREAM_BACKLOG, dropped)
        connection.wake.set()
        return True

    # Internals

    async def _serve(self, transport: trio.SocketStream) -> None:
        async with transport:
            client = _prepare(transport)
            if client is None:
                return
            connection = self._open(client)
            if connection is None:
                self._counters.add(Count.STREAMS_REFUSED)
                return
            try:
                await self._converse(transport, client, connection)
            finally:
                self._close(client)

    def _open(self, client: Client) -> "_Connection | None":
        """Note a new connection, unless there is no room for it."""
        source = source_of(client[0])
        # Never two of one client, as when it reaches two of our addresses from one port of its own: the
        # second could take the first one's call.
        if client in self._connections or len(self._connections) >= STREAM_LIMIT:
            return None
        if self._sources[source] >= SOURCE_LIMIT:
            return None
        connection = self._connections[client] = _Connection()
        self._sources[source] += 1
        self._counters.add(Count.STREAMS_OPENED)
        self._counters.set(Count.STREAMS, len(self._connections))
        return connection

    def _close(self, client: Client) -> None:
        del self._connections[client]
        source = source_of(client[0])
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]
        self._counters.set(Count.STREAMS, len(self._connections))

    async def _converse(
        self, transport: trio.SocketStream, client: Client, connection: "_Connection"
    ) -> None:
        with connection.life:
            try:
                link = await self._begin(transport)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(connection.write, link)
                    await self._read(link, client)
                    nursery.cancel_scope.cancel()
            except* WireError:
                self._counters.add(Count.STREAMS_REFUSED)
            except* trio.BrokenResourceError:
                pass

    async def _begin(self, transport: trio.SocketStream) -> trio.abc.Stream:
        """Find out what is spoken; return where frames are read and written."""
        start = b""
        while len(start) < LENGTH_BYTES:
            data = await transport.receive_some(_READ_BYTES)
            if not data:
                raise trio.BrokenResourceError
            start += data
        link = _Transport(transport, start)
        if not start.startswith(_TLS_HANDSHAKE):
            return link
        if self._tls is None:
            raise WireError("TLS, and no certificate for it")
        return trio.SSLStream(link, self._tls, server_side=True, https_compatible=True)

    async def _read(self, link: trio.abc.Stream, client: Client) -> None:
        reader = FrameReader(limit=MAX_CLIENT_DATAGRAM)
        has_checked = False
        while data := await link.receive_some(_READ_BYTES):
            if batch := reader.feed(data):
                if not has_checked and not _is_check(batch[0]):
                    raise WireError("the first frame is no connectivity check")
                has_checked = True
                self._handle(batch, client, trio.current_time())


class _Connection:
    """One client's connection, and what waits to be sent on it."""

    def __init__(self) -> None:
        self.backlog = Backlog()
        self.wake = trio.Event()
        self.life = trio.CancelScope(deadline=trio.current_time() + PROOF_SECONDS)

    async def write(self, link: trio.abc.Stream) -> None:
        """Write what waits, one batch after the other; end the connection when that takes too long."""
        with trio.CancelScope() as stuck:
            while True:
                while not self.backlog:
                    self.wake = trio.Event()
                    await self.wake.wait()
                now = trio.current_time()
                self.life.deadline = now + IDLE_SECONDS
                stuck.deadline = now + WRITE_SECONDS
                await link.send_all(self.backlog.take())
                stuck.deadline = float("inf")
        self.life.cancel()


class Backlog:
    """Frames that wait for a client that reads more slowly than we send, in order and bounded in bytes."""

    def __init__(self) -> None:
        self._audio = _Queue(AUDIO_BYTES)
        self._kept = _Queue(KEPT_BYTES)
        self._pushed = 0

    def __bool__(self) -> bool:
        return bool(self._audio.frames or self._kept.frames)

    def push(self, data: bytes) -> int:
        """Add a datagram; return how many are dropped for want of room.

        The oldest audio gives way to new audio. STUN and DTLS stay in any case; should they alone be more
        than may wait, the new one is lost, as on a network that is full, and will be repeated.
        """
        self._pushed += 1
        framed = frame(data)
        if classify(data) is not PacketKind.RTP:
            return 0 if self._kept.push(self._pushed, framed) else 1
        dropped = 0
        while not self._audio.push(self._pushed, framed):
            self._audio.pop()
            dropped += 1
        return dropped

    def take(self) -> bytes:
        """Remove and return the oldest frames, at most `BATCH_BYTES` unless the first alone is longer."""
        batch = bytearray()
        while self:
            audio, kept = self._audio.frames, self._kept.frames
            oldest = self._audio if not kept or (audio and audio[0][0] < kept[0][0]) else self._kept
            if batch and len(batch) + len(oldest.frames[0][1]) > BATCH_BYTES:
                break
            batch += oldest.pop()
        return bytes(batch)


class _Queue:
    """Frames with their numbers, and a limit of bytes, which a single frame may exceed."""

    def __init__(self, limit: int) -> None:
        self.frames: deque[tuple[int, bytes]] = deque()
        self._room = limit

    def push(self, number: int, framed: bytes) -> bool:
        if self.frames and len(framed) > self._room:
            return False
        self.frames.append((number, framed))
        self._room -= len(framed)
        return True

    def pop(self) -> bytes:
        _number, framed = self.frames.popleft()
        self._room += len(framed)
        return framed


class _Transport(trio.abc.Stream):
    """A connection whose first bytes were read already, and which only reading finds broken.

    A client that has left hears nothing more, but its last words, such as a goodbye, may still be there.
    """

    def __init__(self, stream: trio.SocketStream, start: bytes) -> None:
        self._stream = stream
        self._start = start

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if start := self._start:
            self._start = b""
            return start
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with suppress(trio.BrokenResourceError):
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _prepare(transport: trio.SocketStream) -> Client | None:
    """Set up an accepted socket and say whose it is; None when it is gone already."""
    try:
        host, port = transport.socket.getpeername()[:2]
        transport.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    except OSError:
        return None
    return address_bytes(host), port, True


def _is_check(data: bytes) -> bool:
    """Tell whether a datagram looks like a connectivity check; whether it is one, the router says."""
    return data.startswith(_BINDING_REQUEST) and data[4:8] == _MAGIC_COOKIE


def bind_stream(address: Address, *, is_shared: bool = False) -> socket.socket:
    """Bind a non-blocking TCP socket of one family and let it listen; port 0 takes a free one.

    Args:
        address: Literal IP address and port.
        is_shared: Whether other sockets may bind the same address and share its clients (SO_REUSEPORT).

    Errors: UsageError that names the address when it can't be bound.
    """
    # A relay that is restarted is not to wait for the last words of its predecessor's clients.
    options = {socket.SO_REUSEADDR: 1, socket.SO_SNDBUF: _KERNEL_BUFFER}
    sock = open_socket(address, socket.SOCK_STREAM, options=options, is_shared=is_shared)
    try:
        sock.listen(_PENDING_CONNECTIONS)
    except OSError as error:
        sock.close()
        raise UsageError(f"cannot bind TCP {address[0]} port {address[1]}: {error.strerror}") from error
    return sock


def listen(sock: socket.socket) -> trio.SocketListener:
    """Make a listener of what `bind_stream` gave, here or in the process that we inherited it from."""
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def load_tls(certificate: str, key: str | None = None) -> ssl.SSLContext:
    """Read PEM files for TLS: our certificate with those that vouch for it, and its key, if it isn't there.

    Errors: UsageError that names the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # of TLS, too
        files = certificate if key is None else f"{certificate} and {key}"
        raise UsageError(f"cannot take TLS from {files}: {error.strerror or error}") from error
    return context


def _allow_descriptors() -> None:
    """Have the system let us open as many connections as we take, if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = STREAM_LIMIT + _OTHER_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
