"""Handshakes that are led to another process: what it says, and what happens when it says nothing."""

import h11
import pytest
import trio
import trio.testing

from voicegate.signalling import RequestRefused
from voicegate.signalling.remote import ANSWER_SECONDS
from voicegate.signalling.tunnel import carry, open_tunnel

REQUEST = h11.Request(
    method="GET",
    target="/v1/realtime?model=m",
    headers=[
        ("Host", "a"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("X-Who", "me"),
        ("X-A", "b"),
    ],
)
SWITCHING = b"HTTP/1.1 101 \r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
FULL = (
    b"HTTP/1.1 503 \r\nRetry-After: 7\r\nContent-Length: 77\r\n\r\n"
    b'{"error": {"type": "a", "code": "no_capacity", "message": "full", "param": 0}}'
)


class OneDoor:
    """Leads to whoever answers with ``says``, and then goes on."""

    def __init__(self, says: bytes, *, is_there: bool = True, absent: RequestRefused | None = None) -> None:
        self._says = says
        self._is_there = is_there
        self._absent = absent
        self.far: trio.abc.Stream | None = None
        self.near: trio.abc.Stream | None = None

    async def connect(self) -> trio.abc.Stream:
        if not self._is_there:
            raise ConnectionRefusedError
        self.near, self.far = trio.testing.memory_stream_pair()
        for n in range(len(self._says)):
            await self.far.send_all(self._says[n : n + 1])
        return self.near

    def absent(self) -> RequestRefused | None:
        return self._absent

    def late(self) -> RequestRefused:
        return RequestRefused("late", status=504, code="late")


async def test_the_handshake_goes_there_with_what_we_know_of_its_client() -> None:
    door = OneDoor(SWITCHING + b"\x81\x02{}")
    stream, answer = await open_tunnel(door, REQUEST, [(b"x-who", b"somebody")])
    assert (SWITCHING + b"\x81\x02{}").startswith(answer)
    assert answer.startswith(SWITCHING)
    assert door.far is not None
    asked = await door.far.receive_some()
    assert asked.startswith(b"GET /v1/realtime?model=m HTTP/1.1\r\n")
    assert b"x-a: b\r\n" in asked
    assert b"x-who: somebody\r\n" in asked
    assert b"x-who: me\r\n" not in asked
    await stream.aclose()


async def test_a_refusal_is_said_again_and_the_connection_closed() -> None:
    door = OneDoor(FULL.replace(b"77", b"%d" % (len(FULL) - FULL.index(b"{"))))
    with pytest.raises(RequestRefused, match="full") as caught:
        await open_tunnel(door, REQUEST, [])
    assert (caught.value.status, caught.value.code) == (503, "no_capacity")
    assert caught.value.headers == {"Retry-After": "7"}
    assert door.near is not None
    with pytest.raises(trio.ClosedResourceError):
        await door.near.receive_some()


async def test_where_nobody_is_the_door_says_what_that_means() -> None:
    with pytest.raises(RequestRefused) as caught:
        await open_tunnel(OneDoor(b"", is_there=False), REQUEST, [])
    assert (caught.value.status, caught.value.code) == (503, "no_capacity")
    gone = RequestRefused("gone", status=502, code="gone")
    with pytest.raises(RequestRefused, match="gone"):
        await open_tunnel(OneDoor(b"", is_there=False, absent=gone), REQUEST, [])


@pytest.mark.parametrize(
    "says",
    [
        b"what?\r\n\r\n",
        b"HTTP/1.1 200 \r\nContent-Length: 99999999\r\n\r\n" + bytes(200_000),
        b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 100 \r\n\r\n",
    ],
)
async def test_what_is_no_answer_is_none(says: bytes) -> None:
    class Blurting(OneDoor):
        async def connect(self) -> trio.abc.Stream:
            near, far = trio.testing.memory_stream_pair()
            await far.send_all(says)
            await far.aclose()
            return near

    gone = RequestRefused("gone", status=502, code="gone")
    with pytest.raises(RequestRefused, match="gone"):
        await open_tunnel(Blurting(b"", absent=gone), REQUEST, [])


async def test_an_answer_that_does_not_come_is_not_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    door = OneDoor(b"HTTP/1.1 10")
    with pytest.raises(RequestRefused, match="late"):
        await open_tunnel(door, REQUEST, [])
    assert trio.current_time() == ANSWER_SECONDS


@pytest.mark.parametrize("end", ["closed", "broken"])
async def test_bytes_go_both_ways_until_either_end_closes(end: str) -> None:
    here, near = trio.testing.memory_stream_pair()
    far, there = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as pumping:
        pumping.start_soon(carry, near, far)
        for one, other in ((here, there), (there, here)):
            await one.send_all(b"hello")
            assert await other.receive_some() == b"hello"
        if end == "closed":
            await there.aclose()
        else:
            await there.receive_stream.aclose()
            await here.send_all(b"into the void")
