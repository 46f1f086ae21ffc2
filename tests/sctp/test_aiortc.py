"""aiortc's SCTP, which is not ours, agrees with ours about what is on the wire."""

import asyncio
from random import Random

import pytest

from tests.sctp.oracle import Oracle, run
from tests.sctp.pair import make_association
from voicegate.sctp import AssociationClosed, AssociationEstablished, CloseCause, StreamsReset

pytestmark = [pytest.mark.interop, pytest.mark.slow]


def said(seed: int, *, count: int, longest: int) -> list[tuple[int, bytes]]:
    random = Random(seed)
    return [(random.randrange(3), random.randbytes(random.randint(1, longest))) for _ in range(count)]


def sorted_by_stream(messages: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    return sorted(messages, key=lambda message: message[0])


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("loss", [0.0, 0.05, 0.15])
def test_messages_go_both_ways_whole_and_in_order(role: str, both: bool, loss: float) -> None:
    async def scenario() -> None:
        oracle = Oracle(make_association(3), role=role, loss=loss, seed=int(loss * 100) + both)
        channels = [oracle.channel(number) for number in range(3)]
        upward, downward = said(1, count=40, longest=8000), said(2, count=40, longest=8000)
        for stream_id, data in downward:
            oracle.ours.send(stream_id, 53, data, now=0.0)
        await oracle.start(both=both)
        await oracle.until(lambda: all(channel.readyState == "open" for channel in channels))
        for stream_id, data in upward:
            channels[stream_id].send(data)
        await oracle.until(lambda: len(oracle.heard) == 40 and len(oracle.messages()) == 40)
        assert isinstance(oracle.events[0], AssociationEstablished)
        assert sorted_by_stream(oracle.messages()) == sorted_by_stream(upward)
        assert sorted_by_stream(oracle.heard) == sorted_by_stream(downward)  # type: ignore[arg-type]
        await oracle.until(lambda: oracle.ours.buffered_bytes == 0)

    run(scenario)


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_a_long_message_goes_both_ways(loss: float) -> None:
    async def scenario() -> None:
        oracle = Oracle(make_association(3), loss=loss, seed=5)
        channel = oracle.channel(0)
        await oracle.start()
        data = Random(1).randbytes(250_000)
        oracle.ours.send(0, 53, data, now=oracle.now)
        await oracle.until(lambda: channel.readyState == "open")
        channel.send(data[::-1])
        await oracle.until(lambda: bool(oracle.heard and oracle.messages()))
        assert oracle.heard == [(0, data)]
        assert oracle.messages() == [(0, data[::-1])]

    run(scenario)


@pytest.mark.parametrize("loss", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_channels_close_from_either_side(loss: float, seed: int) -> None:
    async def scenario() -> None:
        oracle = Oracle(make_association(3), loss=loss, seed=seed)
        channels = [oracle.channel(number) for number in range(2)]
        await oracle.start()
        await oracle.until(lambda: all(channel.readyState == "open" for channel in channels))
        oracle.ours.send(0, 53, bytes(30_000), now=oracle.now)
        oracle.ours.reset_streams([0], now=oracle.now)
        oracle.drain()
        channels[1].send(bytes(30_000))
        channels[1].close()

        def resets(is_remote: bool) -> set[int]:
            found = [event for event in oracle.events if isinstance(event, StreamsReset)]
            return {number for event in found if event.is_remote == is_remote for number in event.stream_ids}

        # aiortc answers a reset with one of its own; what it began, our owner has to answer.
        await oracle.until(lambda: resets(is_remote=True) == {0, 1})
        oracle.ours.reset_streams([1], now=oracle.now)
        oracle.drain()
        await oracle.until(lambda: resets(is_remote=False) == {0, 1})
        await oracle.until(lambda: {channel.readyState for channel in channels} == {"closed"})
        assert oracle.heard == [(0, bytes(30_000))]
        assert oracle.messages() == [(1, bytes(30_000))]

    run(scenario)


@pytest.mark.parametrize("seed", range(3))
def test_messages_are_given_up_on_both_sides(seed: int) -> None:
    async def scenario() -> None:
        oracle = Oracle(make_association(3), loss=0.15, seed=seed)
        channel = oracle.channel(0, maxRetransmits=0, ordered=bool(seed % 2))
        reliable = oracle.channel(1)
        await oracle.start()
        await oracle.until(lambda: channel.readyState == "open")
        for number in range(80):
            oracle.ours.send(
                0, 53, bytes([number]) * 1500, now=oracle.now, is_ordered=bool(seed % 2), max_retransmits=0
            )
            oracle.drain()
            channel.send(bytes([number]) * 1500)
            await oracle.until(lambda now=oracle.now: oracle.now > now)  # type: ignore[misc]
        oracle.ours.send(1, 53, b"last", now=oracle.now)
        reliable.send(b"last")
        oracle.drain()
        await oracle.until(lambda: (1, b"last") in oracle.heard and (1, b"last") in oracle.messages())
        for got in (oracle.heard, oracle.messages()):
            numbers = [data[0] for stream_id, data in got if stream_id == 0]
            assert 20 < len(set(numbers)) == len(numbers) < 80
            assert all(data == bytes([data[0]]) * 1500 for stream_id, data in got if stream_id == 0)  # type: ignore[list-item]
            assert numbers == sorted(numbers) or not seed % 2

    run(scenario)


def test_an_abort_of_theirs_ends_ours() -> None:
    async def scenario() -> None:
        oracle = Oracle(make_association(3))
        await oracle.start()
        await oracle.until(lambda: oracle.ours.is_established)
        await oracle.theirs.stop()
        await asyncio.sleep(1.0)
        assert oracle.events[-1] == AssociationClosed(
            cause=CloseCause.ABORTED, detail="no cause given", is_remote=True
        )

    run(scenario)


def test_an_abort_or_shutdown_of_ours_ends_theirs() -> None:
    async def scenario(end: str) -> None:
        oracle = Oracle(make_association(3))
        await oracle.start()
        await oracle.until(lambda: oracle.ours.is_established and oracle.theirs.state == "connected")
        getattr(oracle.ours, end)(now=oracle.now)
        for packet in iter(oracle.ours.poll_transmit, None):
            oracle._carry(oracle._to_theirs, packet)
        await asyncio.sleep(1.0)
        assert oracle.theirs.state == "closed"

    run(lambda: scenario("abort"))
    run(lambda: scenario("shutdown"))
