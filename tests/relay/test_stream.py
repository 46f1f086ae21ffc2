"""Real connections on loopback; only time is virtual where a limit is waited for."""

import resource
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.relay.checks import DTLS, MEDIA, check
from tests.relay.tls import client_context, server_context, write_certificate
from voicegate.errors import UsageError
from voicegate.relay import stream
from voicegate.relay.counter import Count, Counters, DropReason
from voicegate.relay.flows import Client
from voicegate.relay.router import MAX_CLIENT_DATAGRAM
from voicegate.relay.stream import Backlog, StreamServer, bind_stream, listen, load_tls
from voicegate.wire import PacketKind, classify
from voicegate.wire.framing import FrameReader, frame
from voicegate.wire.path import address_bytes

CHECK = check()
ANSWER = b"\x01\x01" + bytes(62)
RESET = struct.pack("ii", 1, 0)
HOST = address_bytes("127.0.0.1")


def media(number: int, size: int = 172) -> bytes:
    return b"\x80\x6f" + number.to_bytes(4, "big") + bytes(size - 6)


class Bench:
    """A server whose datagrams the test takes, in place of router and transceiver."""

    def __init__(self, *, tls: ssl.SSLContext | None, addresses: Sequence[tuple[str, int]]) -> None:
        sockets = [bind_stream(address) for address in addresses or [("127.0.0.1", 0)]]
        self.addresses: list[tuple[str, int]] = [sock.getsockname()[:2] for sock in sockets]
        self.counters = Counters()
        self.batches: list[tuple[list[bytes], Client]] = []
        self.reply = b""
        """What is said to each batch at once."""
        self._peers: list[Peer] = []
        self._arrival = trio.Event()
        self.server = StreamServer(
            [listen(sock) for sock in sockets],
            handle=self._handle,
            counters=self.counters,
            tls=tls,
        )

    def _handle(self, batch: Sequence[bytes], client: Client, now: float) -> None:
        self.batches.append((list(batch), client))
        if self.reply:
            self.server.send(client, self.reply)
        self._arrival.set()

    async def receive(self) -> tuple[list[bytes], Client]:
        while not self.batches:
            self._arrival = trio.Event()
            await self._arrival.wait()
        return self.batches.pop(0)

    def count(self, what: Count | DropReason) -> int:
        statistics = self.counters.snapshot()
        return (statistics.dropped if isinstance(what, DropReason) else statistics.counts).get(what.value, 0)

    async def connect(self) -> "Peer":
        plain = await trio.open_tcp_stream(*self.addresses[0])
        return self.adopt(Peer(plain, plain))

    async def connect_tls(self) -> "Peer":
        plain = await trio.open_tcp_stream(*self.addresses[0])
        return self.adopt(Peer(trio.SSLStream(plain, client_context(), server_hostname="127.0.0.1"), plain))

    def adopt(self, peer: "Peer") -> "Peer":
        """Close a client at the end."""
        self._peers.append(peer)
        return peer

    def close(self) -> None:
        for peer in self._peers:
            peer.transport.socket.close()


class Peer:
    """A client's end of a connection."""

    def __init__(self, link: trio.abc.Stream, transport: trio.SocketStream) -> None:
        self.link = link
        self.transport = transport
        self.client: Client = (HOST, transport.socket.getsockname()[1], True)
        self._reader = FrameReader()
        self._frames: list[bytes] = []

    async def send(self, *datagrams: bytes) -> None:
        await self.link.send_all(b"".join(map(frame, datagrams)))

    async def receive(self) -> bytes:
        while not self._frames:
            data = await self.link.receive_some()
            assert data, "the server closed the connection"
            self._frames += self._reader.feed(data)
        return self._frames.pop(0)

    async def is_closed(self) -> bool:
        """Wait for the end, and tell whether nothing came before it."""
        try:
            return await self.link.receive_some() == b""
        except trio.BrokenResourceError:
            return True

    async def open(self, bench: Bench) -> None:
        """Do a check that a transceiver answers."""
        await self.send(CHECK)
        assert await bench.receive() == ([CHECK], self.client)
        assert bench.server.send(self.client, ANSWER)
        assert await self.receive() == ANSWER


@asynccontextmanager
async def open_bench(
    *, tls: ssl.SSLContext | None = None, addresses: Sequence[tuple[str, int]] = ()
) -> AsyncIterator[Bench]:
    bench = Bench(tls=tls, addresses=addresses)
    with trio.fail_after(300):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.server.run)
            try:
                yield bench
            finally:
                bench.close()
            nursery.cancel_scope.cancel()


@pytest.fixture
def clock() -> MockClock:
    """Stands still until a test lets it jump, so that sockets have all the time that they need."""
    return MockClock()


async def check_ends(bench: Bench, clock: MockClock, peer: Peer, *, after: float) -> None:
    """See that a connection lasts so long from now, and no longer."""
    while not bench.count(Count.STREAMS):
        await trio.lowlevel.checkpoint()
    clock.jump(after - 0.5)
    await trio.testing.wait_all_tasks_blocked()
    assert bench.count(Count.STREAMS) == 1
    clock.jump(1.0)
    assert await peer.is_closed()
    assert bench.count(Count.STREAMS) == 0


# What clients do


async def test_datagrams_go_both_ways() -> None:
    async with open_bench() as bench:
        peer = await bench.connect()
        await peer.open(bench)
        for data in (DTLS, MEDIA):
            await peer.send(data)
            assert await bench.receive() == ([data], peer.client)
            assert bench.server.send(peer.client, data)
            assert await peer.receive() == data
        assert bench.count(Count.STREAMS) == bench.count(Count.STREAMS_OPENED) == 1
        assert bench.count(Count.STREAMS_REFUSED) == 0


async def test_tls_is_told_by_its_first_bytes_on_the_same_listener() -> None:
    async with open_bench(tls=server_context()) as bench:
        plain, secured = await bench.connect(), await bench.connect_tls()
        for peer in (plain, secured):
            await peer.open(bench)
        for peer in (secured, plain):
            await peer.send(MEDIA, DTLS)
            assert await bench.receive() == ([MEDIA, DTLS], peer.client)
            assert bench.server.send(peer.client, MEDIA)
            assert await peer.receive() == MEDIA


async def test_clients_on_ipv6_are_known_by_their_own_address() -> None:
    async with open_bench(addresses=[("::1", 0)]) as bench:
        peer = await bench.connect()
        await peer.send(CHECK)
        assert await bench.receive() == ([CHECK], (address_bytes("::1"), peer.client[1], True))


async def test_frames_of_one_write_are_one_batch() -> None:
    async with open_bench() as bench:
        peer = await bench.connect()
        await peer.send(CHECK, MEDIA, DTLS)
        assert await bench.receive() == ([CHECK, MEDIA, DTLS], peer.client)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_client_that_sends_byte_by_byte_is_understood(tls: bool) -> None:
    async with open_bench(tls=server_context() if tls else None) as bench:
        peer = await (bench.connect_tls() if tls else bench.connect())
        for byte in frame(CHECK) + frame(MEDIA):
            await peer.link.send_all(bytes([byte]))
        received: list[bytes] = []
        while len(received) < 2:
            received += (await bench.receive())[0]
        assert received == [CHECK, MEDIA]


async def test_what_was_queued_leaves_in_one_write_each_frame_whole() -> None:
    async with open_bench() as bench:
        peer = await bench.connect()
        await peer.open(bench)
        sent = [media(number) for number in range(20)]
        for data in sent:
            assert bench.server.send(peer.client, data)
        assert [await peer.receive() for _ in sent] == sent


async def test_who_is_not_connected_gets_nothing() -> None:
    async with open_bench() as bench:
        assert not bench.server.send((HOST, 1, True), MEDIA)


@pytest.mark.parametrize("tls", [False, True])
async def test_last_words_are_heard_though_nobody_reads_the_answers(tls: bool) -> None:
    async with open_bench(tls=server_context()) as bench:
        peer = await (bench.connect_tls() if tls else bench.connect())
        await peer.open(bench)
        bench.reply = media(0)
        said = [media(number, 1000) for number in range(30)] + [DTLS]
        await peer.send(*said)
        # Whatever is written to it from now on breaks the connection.
        peer.transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        peer.transport.socket.close()
        heard: list[bytes] = []
        while heard[-1:] != [DTLS]:
            heard += (await bench.receive())[0]
        assert heard == said


@pytest.mark.parametrize("is_half", [False, True], ids=["closed", "half-closed"])
async def test_a_client_that_hangs_up_is_gone(is_half: bool) -> None:
    async with open_bench() as bench:
        peer = await bench.connect()
        await peer.open(bench)
        await (peer.transport.send_eof() if is_half else peer.transport.aclose())
        while bench.server.send(peer.client, MEDIA):
            await trio.lowlevel.checkpoint()
        assert bench.count(Count.STREAMS) == 0
        assert bench.count(Count.STREAMS_REFUSED) == 0


# What others do


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff",
        frame(bytes(MAX_CLIENT_DATAGRAM + 1))[:2],
        frame(MEDIA),
        frame(DTLS),
        frame(ANSWER),
        frame(b"\x00\x01") + frame(CHECK),
        b"\x16\x03\x01\x02\x00",
    ],
    ids=["http", "ones", "long", "media", "dtls", "answer", "stub", "tls"],
)
async def test_whoever_does_not_begin_with_a_check_is_shut_out_without_a_word(said: bytes) -> None:
    async with open_bench() as bench:
        peer = await bench.connect()
        await peer.link.send_all(said)
        assert await peer.is_closed()
        assert bench.batches == []
        assert bench.count(Count.STREAMS_REFUSED) == 1
        assert bench.count(Count.STREAMS) == 0


async def test_a_frame_that_is_too_long_ends_a_connection_at_any_time() -> None:
    async with open_bench() as bench:
        peer = await bench.connect()
        await peer.open(bench)
        await peer.send(bytes(MAX_CLIENT_DATAGRAM + 1))
        assert await peer.is_closed()
        assert not bench.server.send(peer.client, MEDIA)


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x00\x04junk", b"\x16\x03" + bytes(200), b"\x16\x03\x03\xff\xff"]
)
async def test_what_only_begins_like_tls_is_shut_out(junk: bytes, clock: MockClock) -> None:
    async with open_bench(tls=server_context()) as bench:
        peer = await bench.connect()
        await peer.link.send_all(junk)
        while not bench.count(Count.STREAMS_OPENED):
            await trio.lowlevel.checkpoint()
        clock.jump(stream.PROOF_SECONDS)
        while not await peer.is_closed():
            pass  # alerts of TLS
        assert bench.batches == []


async def test_junk_within_tls_is_shut_out() -> None:
    async with open_bench(tls=server_context()) as bench:
        peer = await bench.connect_tls()
        await peer.send(MEDIA)
        assert await peer.is_closed()
        assert bench.count(Count.STREAMS_REFUSED) == 1


async def test_junk_after_the_tls_handshake_ends_the_connection() -> None:
    async with open_bench(tls=server_context()) as bench:
        peer = await bench.connect_tls()
        await peer.open(bench)
        await peer.transport.send_all(bytes(100))
        while bench.server.send(peer.client, DTLS):
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("said", [b"", b"\x00", frame(CHECK)[:-1], b"\x16\x03", b"\x16\x03\x01\x02\x00"])
async def test_a_connection_without_a_whole_check_does_not_last(said: bytes, clock: MockClock) -> None:
    async with open_bench(tls=server_context()) as bench:
        peer = await bench.connect()
        await peer.link.send_all(said)
        await check_ends(bench, clock, peer, after=stream.PROOF_SECONDS)


async def test_what_is_ended_is_reset_so_that_nothing_lingers(clock: MockClock) -> None:
    async with open_bench() as bench:
        peer = await bench.connect()
        while not bench.count(Count.STREAMS):
            await trio.lowlevel.checkpoint()
        clock.jump(stream.PROOF_SECONDS)
        with pytest.raises(trio.BrokenResourceError):
            await peer.link.receive_some()


async def test_who_hangs_up_without_a_word_is_nobody() -> None:
    async with open_bench() as bench:
        peer = await bench.connect()
        await peer.transport.send_eof()
        assert await peer.is_closed()
        assert bench.count(Count.STREAMS_REFUSED) == 0


@pytest.mark.slow
async def test_checks_that_nobody_answers_keep_no_connection_alive(clock: MockClock) -> None:
    async with open_bench() as bench:
        peer = await bench.connect()
        for _ in range(int(stream.PROOF_SECONDS) - 1):
            await peer.send(CHECK)
            await bench.receive()
            clock.jump(1.0)
        await check_ends(bench, clock, peer, after=1.0)


@pytest.mark.slow
async def test_a_connection_lasts_as_long_as_a_transceiver_has_something_to_say(clock: MockClock) -> None:
    async with open_bench() as bench:
        peer = await bench.connect()
        await peer.open(bench)
        for _ in range(3):
            clock.jump(0.9 * stream.IDLE_SECONDS)
            assert bench.server.send(peer.client, ANSWER)
            assert await peer.receive() == ANSWER
        await check_ends(bench, clock, peer, after=stream.IDLE_SECONDS)


# Limits


async def test_one_source_cannot_take_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "STREAM_LIMIT", 3)
    monkeypatch.setattr(stream, "SOURCE_LIMIT", 2)
    async with open_bench(addresses=[("127.0.0.1", 0), ("::1", 0)]) as bench:
        first, second = await bench.connect(), await bench.connect()
        await first.open(bench)
        await second.open(bench)
        assert await (await bench.connect()).is_closed()
        bench.addresses.reverse()
        six = await bench.connect()
        await six.send(CHECK)
        assert await bench.receive()
        assert await (await bench.connect()).is_closed()
        assert bench.count(Count.STREAMS_REFUSED) == 2
        await six.link.aclose()
        while bench.count(Count.STREAMS) > 2:
            await trio.lowlevel.checkpoint()
        await (await bench.connect()).send(CHECK)
        assert await bench.receive()


async def test_a_second_connection_of_one_client_does_not_take_the_place_of_the_first() -> None:
    async with open_bench(addresses=[("127.0.0.1", 0), ("127.0.0.1", 0)]) as bench:
        peers = []
        port = 0
        for address in bench.addresses:
            sock = trio.socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await sock.bind(("127.0.0.1", port))
            port = sock.getsockname()[1]
            await sock.connect(address)
            plain = trio.SocketStream(sock)
            peers.append(bench.adopt(Peer(plain, plain)))
            if len(peers) == 1:
                await peers[0].open(bench)
        first, second = peers
        assert first.client == second.client
        assert await second.is_closed()
        assert bench.server.send(first.client, MEDIA)
        assert await first.receive() == MEDIA


async def connect_narrowly(bench: Bench) -> Peer:
    """Connect a client whose kernel takes little that it doesn't read."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await sock.connect(bench.addresses[0])
    plain = trio.SocketStream(sock)
    return bench.adopt(Peer(plain, plain))


async def fill(bench: Bench, client: Client) -> int:
    """Send audio to who doesn't read until some of it is dropped; return how much was sent."""
    number = 0
    while not bench.count(DropReason.STREAM_BACKLOG):
        assert bench.server.send(client, media(number))
        number += 1
        await trio.testing.wait_all_tasks_blocked()
    return number


async def test_a_slow_reader_gets_the_newest_audio_and_everything_else() -> None:
    async with open_bench() as bench:
        peer = await connect_narrowly(bench)
        await peer.open(bench)
        number = await fill(bench, peer.client)
        assert number * 174 < stream.AUDIO_BYTES + 14 * 1024, "some of it waits in the kernel, but not much"
        kept = [DTLS + bytes([i]) for i in range(10)]
        for data in kept:
            for _ in range(50):
                assert bench.server.send(peer.client, media(number))
                number += 1
            assert bench.server.send(peer.client, data)
        dropped = bench.count(DropReason.STREAM_BACKLOG)
        received = [await peer.receive() for _ in range(number - dropped + len(kept))]
        audio = [data for data in received if classify(data) is PacketKind.RTP]
        assert [data for data in received if classify(data) is not PacketKind.RTP] == kept
        assert audio == sorted(audio)
        assert audio[0] == media(0)
        assert audio[-1] == media(number - 1)
        assert len(audio) == number - dropped


@pytest.mark.slow
async def test_a_client_that_never_reads_is_given_up(clock: MockClock) -> None:
    async with open_bench() as bench:
        peer = await connect_narrowly(bench)
        await peer.open(bench)
        await fill(bench, peer.client)
        clock.jump(0.9 * stream.WRITE_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.count(Count.STREAMS) == 1
        # Should the kernel take a little more meanwhile, there is one more write to wait for.
        while bench.server.send(peer.client, media(0)):
            clock.jump(0.9 * stream.WRITE_SECONDS)
            await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() < stream.IDLE_SECONDS
        assert bench.count(Count.STREAMS) == 0
        # What still came before the reset is there to be read.
        while not await peer.is_closed():
            pass


# The backlog


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(6, 3000)) | st.none(), max_size=120
    )  # None takes a batch out
)
def test_a_backlog_keeps_order_and_bounds_and_loses_only_what_it_says(
    script: list[tuple[bool, int] | None],
) -> None:
    backlog, reader = Backlog(), FrameReader()
    pushed: dict[bool, list[bytes]] = {True: [], False: []}
    taken: list[bytes] = []
    dropped = {True: 0, False: 0}
    for number, step in enumerate([*script, *[None] * 60]):
        if step is None:
            batch = backlog.take()
            frames = reader.feed(batch)
            assert reader.pending == 0
            assert len(batch) <= stream.BATCH_BYTES
            taken += frames
            continue
        is_audio, size = step
        data = media(number, size) if is_audio else b"\x16" + media(number, size)[1:]
        pushed[is_audio].append(data)
        dropped[is_audio] += backlog.push(data)
    assert not backlog
    assert taken == sorted(taken, key=lambda data: data[2:6])
    audio = [data for data in taken if classify(data) is PacketKind.RTP]
    kept = [data for data in taken if classify(data) is not PacketKind.RTP]
    assert len(audio) == len(pushed[True]) - dropped[True]
    assert len(kept) == len(pushed[False]) - dropped[False]
    assert audio[-1:] == pushed[True][-1:]
    assert set(audio) <= set(pushed[True])
    assert set(kept) <= set(pushed[False])


def test_a_backlog_drops_the_oldest_audio_and_the_newest_of_the_rest() -> None:
    backlog = Backlog()
    count = stream.AUDIO_BYTES // 174
    assert [backlog.push(media(number)) for number in range(count + 3)] == [0] * count + [1] * 3
    rest = [DTLS + bytes(1000), *[b"\x16" + bytes(1021)] * 64]
    assert sum(map(backlog.push, rest)) == 2
    batches = list(iter(backlog.take, b""))
    received = FrameReader().feed(b"".join(batches))
    assert received[0] == media(3)
    assert received[count - 1 : count + 1] == [media(count + 2), rest[0]]
    assert max(map(len, batches)) <= stream.BATCH_BYTES


def test_one_frame_passes_whatever_its_size() -> None:
    backlog = Backlog()
    for data in (media(0, 60_000), b"\x16" + bytes(65_000)):
        assert backlog.push(data) == 0
        assert backlog.take() == frame(data)


# Addresses


def test_an_address_that_cannot_be_bound_is_named() -> None:
    with bind_stream(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"cannot bind TCP 127\.0\.0\.1 port {port}: Address already"):
            bind_stream(("127.0.0.1", port))
    with pytest.raises(UsageError, match="not a literal"):
        bind_stream(("localhost", 0))
    with pytest.raises(UsageError, match="cannot bind TCP ::1 port 65536"):
        bind_stream(("::1", 65_536))


def test_an_address_can_be_shared() -> None:
    with bind_stream(("127.0.0.1", 0), is_shared=True) as first:
        bind_stream(first.getsockname(), is_shared=True).close()


def test_what_is_under_way_to_one_client_is_bounded() -> None:
    with bind_stream(("127.0.0.1", 0)) as sock:
        # Linux counts its own bookkeeping too, and reports twice what it was asked for.
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 64 * 1024


# TLS


@pytest.mark.parametrize("is_one", [False, True], ids=["two files", "one file"])
async def test_certificate_and_key_come_from_one_file_or_two(is_one: bool, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    if is_one:
        certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
    context = load_tls(str(certificate), None if is_one else str(key))
    async with open_bench(tls=context) as bench:
        await (await bench.connect_tls()).open(bench)


def test_files_that_are_not_for_tls_are_named(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    with pytest.raises(UsageError, match=r"cannot take TLS from nowhere\.pem: No such file"):
        load_tls("nowhere.pem")
    key.write_text("no key")
    with pytest.raises(UsageError, match=rf"from {certificate} and {key}: "):
        load_tls(str(certificate), str(key))


# The process


def test_as_many_descriptors_as_there_may_be_connections_are_allowed_where_possible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = stream.STREAM_LIMIT + 128
    for before, after in (
        ((1024, 1 << 20), (wanted, 1 << 20)),
        ((1024, 2048), (2048, 2048)),
        ((1024, resource.RLIM_INFINITY), (wanted, resource.RLIM_INFINITY)),
        ((1 << 20, 1 << 20), None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None),
    ):
        changed: list[tuple[int, int]] = []
        monkeypatch.setattr(resource, "getrlimit", lambda _what, before=before: before)
        monkeypatch.setattr(resource, "setrlimit", lambda _what, limits, to=changed: to.append(limits))
        stream._allow_descriptors()
        assert changed == ([] if after is None else [after])
