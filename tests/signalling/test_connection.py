import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from tests.signalling.conftest import OFFER, MemoryService
from voicegate.signalling.api import MAX_BODY
from voicegate.signalling.connection import HEAD_SECONDS, MAX_HEAD, SEND_SECONDS, HttpConnection

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEALTHY = b'{"status":"ok"}'
POST = b"POST /v1/realtime/calls HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\n"


@pytest.fixture
async def stream(address: tuple[str, int]) -> AsyncIterator[trio.SocketStream]:
    async with await trio.open_tcp_stream(*address) as opened:
        yield opened


async def read_all(stream: trio.SocketStream) -> bytes:
    """Read until the server closes; a reset counts as closing."""
    data = b""
    try:
        async for chunk in stream:
            data += chunk
    except trio.BrokenResourceError:
        pass
    return data


async def read_response(stream: trio.SocketStream) -> tuple[bytes, bytes]:
    """Read one response with a Content-Length: its head and its body."""
    head, _, body = (await read_until(stream, lambda data: b"\r\n\r\n" in data)).partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    body += await read_until(stream, lambda data: len(body) + len(data) >= length)
    return head, body


async def read_until(stream: trio.SocketStream, is_enough: Callable[[bytes], bool]) -> bytes:
    data = b""
    while not is_enough(data):
        received = await stream.receive_some()
        assert received, "the server closed"
        data += received
    return data


@pytest.fixture
def patient(autojump_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    """Virtual time that waits for real sockets."""
    autojump_clock.autojump_threshold = 0.3
    return autojump_clock


async def test_a_connection_serves_one_request_after_the_other(stream: trio.SocketStream) -> None:
    await stream.send_all(GET + GET)
    answers = await read_until(stream, lambda data: data.count(HEALTHY) == 2)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 2
    await stream.send_all(POST + b"Content-Length: %d\r\n\r\n%b" % (len(OFFER), OFFER.encode()))
    assert (await read_response(stream))[0].startswith(b"HTTP/1.1 201 Created\r\n")


async def test_an_answer_to_head_has_the_length_but_no_body(stream: trio.SocketStream) -> None:
    await stream.send_all(GET.replace(b"GET", b"HEAD") + GET)
    answers = await read_until(stream, lambda data: HEALTHY in data)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.count(b"content-length: 15") == 2
    assert answers.count(HEALTHY) == 1


async def test_a_client_that_asks_before_sending_is_told_to_go_on(stream: trio.SocketStream) -> None:
    await stream.send_all(POST + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(OFFER))
    assert (await stream.receive_some()).startswith(b"HTTP/1.1 100")
    await stream.send_all(OFFER.encode())
    assert (await read_response(stream))[0].startswith(b"HTTP/1.1 201")


async def test_http_1_0_is_answered_and_closed(stream: trio.SocketStream) -> None:
    await stream.send_all(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (await read_all(stream)).endswith(HEALTHY)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GE\xffT / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300), b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 2 * MAX_HEAD, b"431"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
    ],
)
async def test_what_is_not_http_is_refused_and_closed(
    stream: trio.SocketStream, head: bytes, status: bytes
) -> None:
    await stream.send_all(head)
    answer = await read_all(stream)
    assert answer.startswith(b"HTTP/1.1 " + status)
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert body["error"]["code"] == "bad_request"


@pytest.mark.parametrize(
    "headers",
    [
        b"Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: ////",
        b"Connection: keep-alive\r\nUpgrade: websocket",
    ],
)
async def test_an_upgrade_is_passed_over(
    stream: trio.SocketStream, address: tuple[str, int], headers: bytes
) -> None:
    await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % headers)
    assert (await read_response(stream))[0].startswith(b"HTTP/1.1 421")
    async with await trio.open_tcp_stream(*address) as other:
        await other.send_all(GET)
        assert (await read_response(other))[0].startswith(b"HTTP/1.1 200")


async def test_a_head_that_trickles_is_refused_in_time(
    patient: trio.testing.MockClock, stream: trio.SocketStream
) -> None:
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trickle, stream, GET[:-2])
        assert (await read_all(stream)).startswith(b"HTTP/1.1 408")
        nursery.cancel_scope.cancel()
    assert HEAD_SECONDS <= trio.current_time() - started < 1.5 * HEAD_SECONDS


async def trickle(stream: trio.SocketStream, data: bytes) -> None:
    for index in range(len(data)):
        await stream.send_all(data[index : index + 1])
        await trio.sleep(HEAD_SECONDS / 3)


async def test_an_idle_connection_is_closed_without_a_word(
    patient: trio.testing.MockClock, stream: trio.SocketStream
) -> None:
    assert await read_all(stream) == b""


async def test_an_unwanted_body_is_read_so_that_the_refusal_arrives(stream: trio.SocketStream) -> None:
    size = 4 * MAX_BODY
    await stream.send_all(b"POST /nowhere HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: %d\r\n\r\n" % size)
    await stream.send_all(bytes(size))
    assert (await read_response(stream))[0].startswith(b"HTTP/1.1 404")
    await stream.send_all(GET)
    assert (await read_response(stream))[0].startswith(b"HTTP/1.1 200")


async def send_forever(stream: trio.SocketStream, data: bytes) -> None:
    while True:
        await stream.send_all(data)


async def test_an_endless_body_to_nowhere_ends_with_the_connection(stream: trio.SocketStream) -> None:
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    head = b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    await stream.send_all(head)
    with pytest.raises(trio.BrokenResourceError):
        await send_forever(stream, chunk)


async def test_a_stalled_body_to_nowhere_is_answered_and_closed(
    patient: trio.testing.MockClock, stream: trio.SocketStream
) -> None:
    await stream.send_all(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
    answer = await read_all(stream)
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"connection: close" in answer


@pytest.mark.parametrize(
    "body", [b"Content-Length: 9\r\n\r\nv=0", b"Transfer-Encoding: chunked\r\n\r\nnot a length"]
)
async def test_a_body_cut_short_or_broken_makes_no_call(
    stream: trio.SocketStream, service: MemoryService, body: bytes
) -> None:
    await stream.send_all(POST + body)
    await stream.send_eof()
    assert b"201" not in await read_all(stream)
    assert service.offers == []


def make_connection(app: Any, stream: trio.abc.Stream) -> HttpConnection:
    return HttpConnection(app, stream, client=("127.0.0.1", 1), server=("127.0.0.1", 2))


async def test_a_client_that_takes_no_answer_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """Over a stream of one byte at a time, which nobody reads."""

    async def app(_scope: Any, _receive: Any, send: Callable[[Any], Any]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"data"})

    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.send_all, GET)
        started = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await make_connection(app, ours).run()
    assert trio.current_time() - started == SEND_SECONDS


async def test_a_connection_drained_before_its_first_request_serves_none() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(GET)
    drained = make_connection(None, ours)
    drained.drain()
    await drained.run()


async def test_a_client_that_resets_the_connection_is_nothing_to_log(
    stream: trio.SocketStream, address: tuple[str, int]
) -> None:
    with capture_logs() as logs:
        await stream.send_all(GET[:9])
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()
        async with await trio.open_tcp_stream(*address) as other:
            await other.send_all(GET)
            await read_response(other)
    assert logs == []


async def test_an_answer_in_pieces_is_passed_on() -> None:
    async def app(_scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})
        assert await receive() == {"type": "http.disconnect"}

    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(GET)
    await theirs.send_eof()
    await make_connection(app, ours).run()
    await ours.aclose()
    assert b"".join([chunk async for chunk in theirs]).endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_a_broken_connection_is_logged_and_harms_no_other(
    address: tuple[str, int], stream: trio.SocketStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stream.send_all(GET)
    assert (await read_response(stream))[0].startswith(b"HTTP/1.1 200")

    async def break_down(_self: HttpConnection) -> None:
        raise ZeroDivisionError

    with capture_logs() as logs, monkeypatch.context() as patch:
        patch.setattr(HttpConnection, "run", break_down)
        async with await trio.open_tcp_stream(*address) as other:
            assert await read_all(other) == b""
    assert [entry["event"] for entry in logs] == ["http_connection_failed"]
    await stream.send_all(GET)
    assert (await read_response(stream))[0].startswith(b"HTTP/1.1 200")
    async with await trio.open_tcp_stream(*address) as another:
        await another.send_all(GET)
        assert (await read_response(another))[0].startswith(b"HTTP/1.1 200")
