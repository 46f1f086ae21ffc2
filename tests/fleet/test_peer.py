"""The peer listener, as strangers find it."""

import ssl
from contextlib import suppress
from functools import partial

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from tests.fleet.conftest import OLD_SECRET, OTHER_SECRET, SECRET, Box
from tests.signalling.conftest import OFFER
from voicegate.directory import Address
from voicegate.errors import UsageError
from voicegate.fleet import FleetCounts, PeerDoor, count, run_peer_listener
from voicegate.fleet import peer as module
from voicegate.fleet.tls import PeerTls
from voicegate.signalling import RemoteCalls, RequestRefused
from voicegate.signalling import server as signalling_server


@pytest.fixture
def counts() -> FleetCounts:
    return FleetCounts()


@pytest.fixture
async def address(nursery: trio.Nursery, counts: FleetCounts) -> Address:
    serve = partial(run_peer_listener, Box(1), ("127.0.0.1", 0), [SECRET, OLD_SECRET], counts=counts)
    bound: Address = await nursery.start(serve)
    return bound


def calls(address: Address, *secrets: bytes) -> RemoteCalls:
    return RemoteCalls(PeerDoor(address, PeerTls(secrets)), agent_name="parrot")


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    received = b""
    try:
        async for data in stream:
            received += data
    except trio.BrokenResourceError:
        pass
    return received


async def wait_refused(counts: FleetCounts, **expected: int) -> None:
    """Wait for what is counted when the connection is closed here, of which the other side hears before."""
    with trio.fail_after(120):
        while any(counts.strangers[reason] != count for reason, count in expected.items()):
            await trio.sleep(0.001)


async def test_a_member_is_answered_whichever_secret_it_shows(address: Address, counts: FleetCounts) -> None:
    for secrets in ([SECRET], [OLD_SECRET], [OLD_SECRET, OTHER_SECRET]):
        assert await calls(address, *secrets).is_ready()
    assert counts.strangers.total() == 0


async def test_who_has_another_secret_is_not(address: Address, counts: FleetCounts) -> None:
    with pytest.raises(RequestRefused) as caught:
        await calls(address, OTHER_SECRET).create_call(OFFER, session=None, client="")
    assert (caught.value.status, caught.value.code) == (502, "peer_unreachable")
    await wait_refused(counts, untrusted=1)
    assert counts.strangers.total() == 1


async def test_who_is_asked_and_has_another_secret_is_noticed(address: Address) -> None:
    here = FleetCounts()
    with pytest.raises(trio.BrokenResourceError):
        await PeerDoor(address, PeerTls([OTHER_SECRET]), here).connect()
    assert here.strangers == {"late": 0, "untrusted": 0, "impostor": 1}


async def test_who_shows_nothing_is_not_either(address: Address, counts: FleetCounts) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with trio.SSLStream(await trio.open_tcp_stream(*address), context, https_compatible=True) as stream:
        await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await read_all(stream) == b""
    await wait_refused(counts, untrusted=1)


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", bytes(1000), b"\x16\x03\x01\xff\xff" * 99]
)
async def test_what_is_no_tls_is_closed(address: Address, counts: FleetCounts, said: bytes) -> None:
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(said)
        assert b"HTTP" not in await read_all(stream)
    await wait_refused(counts, untrusted=1)


async def test_who_says_nothing_is_not_waited_for(
    address: Address, counts: FleetCounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ADMIT_SECONDS", 0.01)
    async with await trio.open_tcp_stream(*address) as stream:
        assert await read_all(stream) == b""
    await wait_refused(counts, late=1)


async def test_strangers_are_logged_once_a_minute(
    address: Address, counts: FleetCounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def knock() -> None:
        async with await trio.open_tcp_stream(*address) as stream:
            await stream.send_all(b"hello, hello")
            await read_all(stream)

    with capture_logs() as logs:
        for times in range(1, 4):
            await knock()
            await wait_refused(counts, untrusted=times)
        monkeypatch.setattr(count, "LOG_SECONDS", 0.0)
        await knock()
        await wait_refused(counts, untrusted=4)
    events = [(each["event"], each["reason"], each["refused"]) for each in logs]
    assert events == [("peer_refused", "untrusted", 1), ("peer_refused", "untrusted", 4)]


async def test_there_are_so_many_connections_and_no_more(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signalling_server, "MAX_CONNECTIONS", 2)
    first, second = [await trio.open_tcp_stream(*address) for _ in range(2)]
    async with second:
        async with first:
            # Those that have not shown yet who they are count, too.
            with pytest.raises(RequestRefused):
                await calls(address, SECRET).is_ready()
        while True:
            try:
                assert await calls(address, SECRET).is_ready()
            except RequestRefused:
                await trio.sleep(0.01)
            else:
                break


async def test_a_member_that_trickles_is_cut_off(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicegate.signalling.connection.HEAD_SECONDS", 0.2)
    answer = b""
    while not answer:  # in a stall it may be over before anything was said
        async with await PeerDoor(address, PeerTls([SECRET])).connect() as stream:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(b"GET /readyz HT")
                answer = await read_all(stream)
    assert answer.startswith(b"HTTP/1.1 408")


async def test_an_address_in_use_is_named(address: Address, nursery: trio.Nursery) -> None:
    with pytest.raises(UsageError, match=rf"{address[1]} for peers: .*in use"):
        await nursery.start(run_peer_listener, Box(1), address, [SECRET])


async def test_a_door_to_nowhere_is_given_up(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.01)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        # It is listened there, and nobody accepts.
        with pytest.raises(RequestRefused) as caught:
            await calls(listener.socket.getsockname()[:2], SECRET).is_ready()
        assert caught.value.code == "peer_unreachable"
