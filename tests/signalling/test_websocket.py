"""WebSockets over real sockets: who gets one, what goes over it, and how it ends."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
import trio.testing
import trio_websocket
from structlog.testing import capture_logs
from trio_websocket import ConnectionClosed, WebSocketConnection

from tests.signalling.conftest import MemoryService
from tests.signalling.test_connection import GET, read_all, read_response
from tests.signalling.test_gatekeeper import EPHEMERAL, GATE, KEY
from voicegate.access import Grant
from voicegate.signalling import OfferRefused, RemoteCalls, UnixDoor, serve_http, serve_privately, websocket
from voicegate.signalling.service import Handshake

VERSION = b"Sec-WebSocket-Version: 13\r\n"
NONCE = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
UPGRADE = (
    b"GET /v1/realtime?model=a HTTP/1.1\r\nHost: a.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
)


async def receive_until(stream: trio.SocketStream, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        data = await stream.receive_some(1000)
        assert data, received
        received += data
    return received


@asynccontextmanager
async def connect(
    address: tuple[str, int], path: str = "/v1/realtime", **options: object
) -> AsyncIterator[WebSocketConnection]:
    # Not by URL: such a connection leaves its stream open when the server closes first.
    async with await trio.open_tcp_stream(*address) as stream, trio.open_nursery() as nursery:
        socket = await trio_websocket.wrap_client_stream(nursery, stream, "localhost", path, **options)  # type: ignore[arg-type]
        async with socket:
            yield socket
        nursery.cancel_scope.cancel()


async def refusal(
    address: tuple[str, int], path: str, headers: Sequence[tuple[str, str]] = ()
) -> tuple[int, bytes]:
    """Ask for a socket in vain, and return the status with all that is said."""
    lines = b"".join(b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in headers)
    head = UPGRADE.replace(b"/v1/realtime?model=a", path.encode()) + NONCE + VERSION + lines
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(head + b"\r\n")
        answer = await read_all(stream)
    return int(answer.split()[1]), answer


async def test_a_session_is_a_socket_that_names_a_model(
    address: tuple[str, int], service: MemoryService
) -> None:
    async with connect(address, "/v1/realtime?model=mine") as socket:
        for text in ("{}", "é" * 100_000):
            await socket.send_message(text)
            assert await socket.get_message() == text
    assert service.sockets == [("mine", Grant(), "127.0.0.1")]


async def test_a_sideband_names_a_call(address: tuple[str, int], service: MemoryService) -> None:
    service.calls["rtc_0"] = {}
    async with connect(address, "/v1/realtime?call_id=rtc_0&model=any") as socket:
        await socket.send_message("{}")
        assert await socket.get_message() == "{}"
    assert service.sockets[0][0] == "rtc_0"
    status, body = await refusal(address, "/v1/realtime?call_id=rtc_1")
    assert status == 404
    assert b"call_not_found" in body


@pytest.mark.parametrize("piece", [1, 7])
async def test_what_comes_right_behind_the_handshake_is_not_lost(
    address: tuple[str, int], service: MemoryService, piece: int
) -> None:
    frame = b"\x81\x82\0\0\0\0{}"
    data = UPGRADE + NONCE + b"Sec-WebSocket-Version: 13\r\n\r\n" + frame
    async with await trio.open_tcp_stream(*address) as stream:
        for start in range(0, len(data), piece):
            await stream.send_all(data[start : start + piece])
        received = await receive_until(stream, b"\r\n\r\n\x81\x02{}")
    assert received.startswith(b"HTTP/1.1 101")
    assert b"ICX+Yqv66kxgM0FcWaLWlFLwTAI=" in received


async def test_an_old_request_may_come_before_it(address: tuple[str, int]) -> None:
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(GET)
        assert (await read_response(stream))[0].startswith(b"HTTP/1.1 200")
        await stream.send_all(UPGRADE + NONCE + b"Sec-WebSocket-Version: 13\r\n\r\n")
        assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (NONCE, 426),
        (NONCE + b"Sec-WebSocket-Version: 8\r\n", 426),
        (b"Sec-WebSocket-Version: 13\r\n", 400),
        (b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n", 400),
        (b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: !\r\n", 400),
        (NONCE + NONCE + b"Sec-WebSocket-Version: 13\r\n", 400),
        (NONCE + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: \xff\xfe\r\n", 400),
        (NONCE + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: \xff\r\n", 400),
        (NONCE + b"Sec-WebSocket-Version: 13\r\nContent-Length: 2\r\n", 400),
    ],
)
async def test_a_handshake_that_is_wrong_is_refused_in_http(
    address: tuple[str, int], headers: bytes, status: int
) -> None:
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(UPGRADE + headers + b"\r\n")
        answer = await read_all(stream)
    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert b'"code":"bad_request"' in answer


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nothing", 404, b"not_found"),
        ("/healthz", 400, b"no_websocket"),
        ("/v1/realtime/calls", 405, b"method_not_allowed"),
        ("/v1/realtime?intent=transcription", 400, b"unsupported_session_type"),
    ],
)
async def test_where_there_is_no_socket_there_is_an_error(
    address: tuple[str, int], path: str, status: int, code: bytes
) -> None:
    found, body = await refusal(address, path)
    assert found == status
    assert code in body


async def test_a_get_without_upgrade_is_told_to_upgrade(address: tuple[str, int]) -> None:
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head, _ = await read_response(stream)
    assert head.startswith(b"HTTP/1.1 426")
    assert b"upgrade: websocket" in head


async def test_a_page_that_is_not_allowed_gets_no_socket(
    service: MemoryService, nursery: trio.Nursery
) -> None:
    address = await nursery.start(
        partial(serve_http, service, host="127.0.0.1", port=0, origins=["https://app.example"])
    )
    origin = [("Origin", "https://evil.example")]
    assert (await refusal(address, "/v1/realtime", origin))[0] == 403
    async with connect(address, extra_headers=[("Origin", "https://app.example")]):
        pass


async def test_a_key_comes_in_a_header_or_among_the_subprotocols(
    service: MemoryService, nursery: trio.Nursery
) -> None:
    address = await nursery.start(partial(serve_http, service, host="127.0.0.1", port=0, gate=GATE))
    assert (await refusal(address, "/v1/realtime"))[0] == 401
    async with connect(address, extra_headers=[("Authorization", f"Bearer {KEY}")]) as socket:
        assert socket.subprotocol is None
        await socket.send_message("leave")
        with pytest.raises(ConnectionClosed):
            await socket.get_message()
    protocols = ["realtime", f"openai-insecure-api-key.{EPHEMERAL}", "openai-agents-sdk.1.0"]
    async with connect(address, subprotocols=protocols) as socket:
        assert socket.subprotocol == "realtime"
        await socket.send_message("leave")
        with pytest.raises(ConnectionClosed):
            await socket.get_message()
    grants = [grant for _, grant, _ in service.sockets]
    assert [(grant.key, grant.session) for grant in grants] == [("web", None), ("web", {"voice": "marin"})]


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ("close", 4000, "as you say"),
        ("leave", 1000, None),
        ("fail", 1011, "internal error"),
        (b"\0", 1003, None),
    ],
)
async def test_the_end_has_a_code(
    address: tuple[str, int], message: str | bytes, code: int, reason: str | None
) -> None:
    with capture_logs() as logs:
        async with connect(address) as socket:
            await socket.send_message(message)
            with pytest.raises(ConnectionClosed) as caught:
                await socket.get_message()
    assert caught.value.reason is not None
    assert caught.value.reason.code == code
    assert reason is None or caught.value.reason.reason == reason
    assert [entry["event"] for entry in logs] == (["request_failed"] if message == "fail" else [])


async def test_a_message_that_is_too_long_ends_it(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 1000)
    async with connect(address) as socket:
        await socket.send_message("a" * 1001)
        with pytest.raises(ConnectionClosed) as caught:
            await socket.get_message()
    assert caught.value.reason is not None
    assert caught.value.reason.code == 1009


async def test_a_client_that_vanishes_is_noticed(
    service: MemoryService, address: tuple[str, int], autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.3
    await trio.testing.wait_all_tasks_blocked(0.01)  # all tasks of the server are there
    before = trio.lowlevel.current_statistics().tasks_living
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(UPGRADE + NONCE + b"Sec-WebSocket-Version: 13\r\n\r\n")
        assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 101")
        # The ping comes and is not answered.
        answers = await read_all(stream)
        assert answers.startswith(b"\x89")
    while trio.lowlevel.current_statistics().tasks_living > before:
        await trio.testing.wait_all_tasks_blocked(0.01)


async def test_a_client_that_does_not_read_is_given_up(
    service: MemoryService, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.3
    ended = trio.Event()

    async def flood(handshake: Handshake, **_terms: object) -> None:
        socket = await handshake.accept()
        try:
            for _piece in range(100):
                await socket.send("a" * 1_000_000)
        except trio.BrokenResourceError:
            ended.set()
        with pytest.raises(trio.BrokenResourceError):
            await socket.send("a")

    service.run_session = flood  # type: ignore[method-assign]
    address = await nursery.start(partial(serve_http, service, host="127.0.0.1", port=0))
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(UPGRADE + NONCE + b"Sec-WebSocket-Version: 13\r\n\r\n")
        await ended.wait()


async def test_a_refusal_for_want_of_room_is_an_answer_in_http(
    address: tuple[str, int], service: MemoryService
) -> None:
    async def refuse() -> None:
        raise OfferRefused("full", status=503, code="no_capacity", headers={"Retry-After": "5"})

    service.before_answer = refuse
    status, answer = await refusal(address, "/v1/realtime")
    assert status == 503
    assert b"retry-after: 5\r\n" in answer


class Elsewhere(MemoryService):
    """A service that leads all sockets to another process."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.remote = RemoteCalls(UnixDoor(path), agent_name="parrot")

    async def attach(self, call_id: str, handshake: Handshake, *, grant: Grant) -> None:
        await self.remote.attach(call_id, handshake, grant=grant)

    async def run_session(self, handshake: Handshake, *, model: str, grant: Grant) -> None:
        await self.remote.run_session(handshake, model=model, grant=grant)


async def test_a_socket_goes_through_to_the_process_that_has_the_call(
    service: MemoryService, nursery: trio.Nursery
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "socket"
        near = Elsewhere(path)
        address = await nursery.start(partial(serve_http, near, host="127.0.0.1", port=0, gate=GATE))
        key = [
            ("Authorization", f"Bearer {EPHEMERAL}"),
            ("X-Voicegate-Grant", "e30="),
            ("X-Forwarded-For", "1"),
        ]
        assert (await refusal(address, "/v1/realtime?model=m", key))[0] == 503
        await nursery.start(serve_privately, service, path)
        async with connect(address, "/v1/realtime?model=m", extra_headers=key) as socket:
            for text in ("{}", "a" * 1_000_000):
                await socket.send_message(text)
                assert await socket.get_message() == text
            await socket.send_message("close")
            with pytest.raises(ConnectionClosed) as caught:
                await socket.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.code == 4000
        # What it may do was decided here, and is known there; what the client says of itself is not believed.
        grant = Grant(key="web", max_seconds=60.0, session={"voice": "marin"}, is_ephemeral=True)
        assert service.sockets == [("m", grant, "127.0.0.1")]
        status, body = await refusal(address, "/v1/realtime?call_id=rtc_7", key)
        assert status == 404
        assert b"call_not_found" in body
        nursery.cancel_scope.cancel()
