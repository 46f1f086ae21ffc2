"""Two ends of a link over a real socket."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from voicegate.agents.process import sender
from voicegate.agents.process.link import Link
from voicegate.agents.process.message import AgentRefused, CallClosed, Order, encode
from voicegate.call import EncodedFrame
from voicegate.errors import WireError


@contextmanager
def connected() -> Iterator[tuple[trio.socket.SocketType, trio.socket.SocketType]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield trio.socket.from_stdlib_socket(ours), trio.socket.from_stdlib_socket(theirs)


class End:
    """A link, and what it received and how it ended."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.link = Link(sock)
        self.received: list[tuple[int, object]] = []
        self.ended = trio.Event()
        self.fault: str | None = None

    def handle(self, call: int, message: object) -> None:
        if message == CallClosed():
            raise WireError("not here")
        self.received.append((call, message))

    async def run(self) -> None:
        self.fault = await self.link.run(self.handle)
        self.ended.set()


@pytest.fixture
async def ends(nursery: trio.Nursery) -> AsyncIterator[tuple[End, End]]:
    with trio.fail_after(240), connected() as socks:
        left, right = map(End, socks)
        for end in left, right:
            nursery.start_soon(end.run)
        yield left, right
        nursery.cancel_scope.cancel()


async def test_what_is_posted_arrives_commands_first(ends: tuple[End, End]) -> None:
    left, right = ends
    frame = EncodedFrame(b"opus", 960, 0)
    left.link.post_audio(3, frame)
    left.link.post(3, Order(kind="pause"))
    right.link.post(0, AgentRefused(reason="no"))
    while len(right.received) < 2 or not left.received:
        await trio.sleep(0.001)
    assert right.received == [(3, Order(kind="pause")), (3, frame)]
    assert left.received == [(0, AgentRefused(reason="no"))]


async def test_far_more_than_the_kernel_keeps_arrives_whole(ends: tuple[End, End]) -> None:
    left, right = ends
    for number in range(1000):
        left.link.post(number, AgentRefused(reason="x" * 1000))
    await left.link.wait_room()
    assert left.link.outbox.control_bytes <= 65_536
    while len(right.received) < 1000:
        await trio.sleep(0.001)
    assert [call for call, _ in right.received] == list(range(1000))


async def test_an_end_that_leaves_ends_the_other(ends: tuple[End, End]) -> None:
    left, right = ends
    left.link.fail("enough")
    await left.ended.wait()
    left.link._socket.close()
    await right.ended.wait()
    assert (left.fault, right.fault) == ("enough", None)


async def test_an_end_that_left_is_noticed_by_who_sends(nursery: trio.Nursery) -> None:
    with trio.fail_after(240), connected() as (ours, theirs):
        end = End(ours)
        theirs.shutdown(trio.socket.SHUT_RD)
        nursery.start_soon(end.run)
        end.link.post(0, Order(kind="pause"))
        await end.ended.wait()
        assert end.fault is None


@pytest.mark.parametrize(
    ("data", "fault"),
    [(b"\xff" * 9, "it talks nonsense: "), (encode(1, CallClosed()), "it talks nonsense: not here")],
)
async def test_nonsense_ends_the_conversation(data: bytes, fault: str, nursery: trio.Nursery) -> None:
    with trio.fail_after(240), connected() as (ours, theirs):
        end = End(ours)
        await theirs.send(data)
        await end.run()
        assert str(end.fault).startswith(fault)


async def test_an_end_that_does_not_read_is_given_up_by_what_it_may_not_miss(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_CONTROL_LIMIT", 100_000)
    with trio.fail_after(240), connected() as (ours, _):
        end = End(ours)
        nursery.start_soon(end.run)
        while not end.ended.is_set():
            end.link.post_audio(1, EncodedFrame(bytes(1000), 960, 0))
            end.link.post(1, AgentRefused(reason="x" * 1000))
            await trio.lowlevel.checkpoint()
        assert end.fault == "it does not read what it is sent"


async def test_other_tasks_have_their_turn_while_much_arrives(nursery: trio.Nursery) -> None:
    with trio.fail_after(240), connected() as (ours, theirs):
        end = End(ours)
        await theirs.send(encode(1, Order(kind="pause")) * 1000)
        nursery.start_soon(end.run)
        most, before = 0, 0
        while before < 1000:
            await trio.lowlevel.checkpoint()
            most, before = max(most, len(end.received) - before), len(end.received)
        assert most <= 128, "two turns at most come between two of ours"
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
