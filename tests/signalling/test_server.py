import socket
from functools import partial

import httpx2
import pytest
import trio
import trio.testing

from tests.signalling.conftest import OFFER, MemoryService
from tests.signalling.test_connection import GET, read_all, read_response
from voicegate.errors import UsageError
from voicegate.signalling import serve_http, server

SDP = {"Content-Type": "application/sdp"}


async def test_a_port_in_use_is_named(address: tuple[str, int], service: MemoryService) -> None:
    with pytest.raises(UsageError, match=rf"127\.0\.0\.1:{address[1]} for HTTP: Address already in use"):
        await serve_http(service, host=address[0], port=address[1])


async def test_a_host_that_does_not_exist_is_named(service: MemoryService) -> None:
    with pytest.raises(UsageError, match=r"256\.0\.0\.1:80"):
        await serve_http(service, host="256.0.0.1", port=80)


@pytest.mark.parametrize(
    ("host", "hosts", "status"),
    [("0.0.0.0", (), 200), ("0.0.0.0", ("voice.example",), 421), ("127.0.0.1", ("Any.Example",), 200)],
)
async def test_names_are_checked_on_loopback_or_when_listed(
    service: MemoryService, nursery: trio.Nursery, host: str, hosts: tuple[str, ...], status: int
) -> None:
    _, port = await nursery.start(partial(serve_http, service, host=host, port=0, hosts=hosts))
    async with httpx2.AsyncClient(timeout=60) as client:
        response = await client.get(f"http://127.0.0.1:{port}/healthz", headers={"Host": "any.example"})
    assert response.status_code == status


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
async def test_it_listens_on_ipv6(service: MemoryService, nursery: trio.Nursery) -> None:
    address = await nursery.start(partial(serve_http, service, host="::1", port=0))
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(GET)
        assert (await read_response(stream))[0].startswith(b"HTTP/1.1 200")


async def test_a_graceful_stop_finishes_what_is_under_way_and_closes_the_rest(
    service: MemoryService, nursery: trio.Nursery
) -> None:
    stopping, answering, ended = trio.Event(), trio.Event(), trio.Event()

    async def hold() -> None:
        stopping.set()
        await answering.wait()

    async def serve(*, task_status: trio.TaskStatus[tuple[str, int]]) -> None:
        await serve_http(service, host="127.0.0.1", port=0, shutdown=stopping.wait, task_status=task_status)
        ended.set()

    service.before_answer = hold
    address = await nursery.start(serve)
    idle = await trio.open_tcp_stream(*address)
    await idle.send_all(GET)
    await read_response(idle)
    async with httpx2.AsyncClient(timeout=60) as client, trio.open_nursery() as calls:

        async def call() -> None:
            url = f"http://127.0.0.1:{address[1]}/v1/realtime/calls"
            response = await client.post(url, content=OFFER, headers=SDP)
            assert response.status_code == 201
            assert response.headers["connection"] == "close"

        calls.start_soon(call)
        assert await read_all(idle) == b""
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream(*address)
        answering.set()
    await idle.aclose()
    await ended.wait()


async def test_a_graceful_stop_is_bounded_by_its_grace(
    service: MemoryService, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.3
    stopping = trio.Event()

    async def hold() -> None:
        stopping.set()
        await trio.sleep_forever()

    service.before_answer = hold
    async with trio.open_nursery() as serving:
        address = await serving.start(
            partial(serve_http, service, host="127.0.0.1", port=0, shutdown=stopping.wait, grace=0.5)
        )
        stream = await trio.open_tcp_stream(*address)
        await stream.send_all(
            b"POST /v1/realtime/calls HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(OFFER), OFFER.encode())
        )
        await stopping.wait()
        stopped = trio.current_time()
    assert trio.current_time() - stopped == pytest.approx(0.5, abs=0.1)
    assert await read_all(stream) == b""
    await stream.aclose()


async def test_cancelling_closes_everything_at_once(service: MemoryService) -> None:
    async with trio.open_nursery() as serving:
        address = await serving.start(partial(serve_http, service, host="127.0.0.1", port=0))
        stream = await trio.open_tcp_stream(*address)
        await stream.send_all(GET)
        await read_response(stream)
        serving.cancel_scope.cancel()
    assert await read_all(stream) == b""
    await stream.aclose()


async def test_connections_past_the_limit_are_closed_unread(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 1)
    async with await trio.open_tcp_stream(*address) as first:
        await first.send_all(GET)
        await read_response(first)
        async with await trio.open_tcp_stream(*address) as second:
            assert await read_all(second) == b""
        await first.send_all(GET)
        assert (await read_response(first))[0].startswith(b"HTTP/1.1 200")


async def test_no_task_outlives_its_connection(address: tuple[str, int]) -> None:
    await trio.testing.wait_all_tasks_blocked(0.01)  # all tasks of the server are there
    before = trio.lowlevel.current_statistics().tasks_living
    for request in (
        GET,
        b"",
        b"GET",
        b"\xff\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
    ):
        async with await trio.open_tcp_stream(*address) as stream:
            await stream.send_all(request)
    with trio.fail_after(120):
        while trio.lowlevel.current_statistics().tasks_living > before:
            await trio.testing.wait_all_tasks_blocked(0.01)
