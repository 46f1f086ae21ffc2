"""The line under real UDP: what passes, in which order, and what does not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import pytest
import trio
import trio.lowlevel

from voicegate.bench.line import Direction, Line, open_line
from voicegate.bench.place import Place
from voicegate.errors import UsageError
from voicegate.wire import PacketKind

STUN = b"\x00\x01\x00\x00"
DTLS = b"\x16\xfe\xfd"
RTP = b"\x80\x00"


@asynccontextmanager
async def open_both(
    *,
    round_trip: float = 0.0,
    jitter: float = 0.0,
    loss: float = 0.0,
    duplication: float = 0.0,
    seed: int = 0,
) -> AsyncIterator[tuple[trio.socket.SocketType, trio.socket.SocketType, Line]]:
    """Open a client's socket, a server's, and the line between."""
    place = Place(None)
    client, server = await place.open_port(), await place.open_port()
    with trio.fail_after(60), client, server:
        async with open_line(
            server.getsockname(),
            place,
            round_trip=round_trip,
            jitter=jitter,
            loss=loss,
            duplication=duplication,
            seed=seed,
        ) as line:
            await client.connect(line.address)
            yield client, server, line


async def test_datagrams_pass_both_ways_whole_and_in_order() -> None:
    async with open_both(round_trip=0.01) as (client, server, line):
        said = [STUN + bytes([n]) * n for n in range(50)]
        for data in said:
            await client.send(data)
        received = [await server.recvfrom(2048) for _ in said]
        assert [data for data, _ in received] == said
        (source,) = {address for _, address in received}
        for data in said:
            await server.sendto(data, source)
        assert [await client.recv(2048) for _ in said] == said
    directions = [passage.direction for passage in line.passages]
    assert directions == [*([Direction.TO_SERVER] * 50), *([Direction.TO_CLIENT] * 50)]


async def test_nothing_is_through_before_half_a_round_trip() -> None:
    async with open_both(round_trip=0.06) as (client, server, line):
        sent_at = perf_counter()
        await client.send(STUN)
        _, source = await server.recvfrom(2048)
        assert perf_counter() - sent_at >= 0.03
        await server.sendto(STUN, source)
        await client.recv(2048)
        assert perf_counter() - sent_at >= 0.06
    for passage in line.passages:
        assert passage.left_at is not None
        assert passage.left_at - passage.entered_at >= 0.03


async def test_time_begins_with_the_clients_first_datagram_even_if_it_is_lost() -> None:
    # The first datagram that a client sends on the line of this seed is lost, the second is not.
    async with open_both(loss=0.5, seed=0) as (client, server, line):
        assert line.began_at is None
        await client.send(STUN)
        while not line.passages:
            await trio.lowlevel.checkpoint()
        await client.send(DTLS)
        assert await server.recv(2048) == DTLS
    assert [passage.left_at is None for passage in line.passages] == [True, False]
    assert line.began_at == line.passages[0].entered_at


async def lost_numbers(seed: int) -> list[int]:
    async with open_both(loss=0.1, seed=seed) as (client, _server, line):
        for number in range(300):
            await client.send(RTP + number.to_bytes(2, "big"))
            while len(line.passages) <= number:
                await trio.lowlevel.checkpoint()
    return [number for number, passage in enumerate(line.passages) if passage.left_at is None]


async def test_lines_of_one_seed_lose_the_same_datagrams() -> None:
    lost = await lost_numbers(1)
    assert lost == await lost_numbers(1)
    assert lost != await lost_numbers(2)
    assert 15 <= len(lost) <= 45  # of 300, a tenth; given the seed, this never changes


async def test_first_arrivals_are_told_by_kind_and_direction() -> None:
    async with open_both() as (client, server, line):
        assert line.first_arrival(Direction.TO_SERVER, PacketKind.STUN) is None
        for data in (STUN, DTLS, STUN):
            await client.send(data)
            _, source = await server.recvfrom(2048)
        await server.sendto(RTP, source)
        await client.recv(2048)
    first, second, _, answer = line.passages
    assert line.first_arrival(Direction.TO_SERVER, PacketKind.STUN) == first.left_at
    assert line.first_arrival(Direction.TO_SERVER, PacketKind.DTLS) == second.left_at
    assert line.first_arrival(Direction.TO_CLIENT, PacketKind.RTP) == answer.left_at
    assert line.first_arrival(Direction.TO_CLIENT, PacketKind.STUN) is None
    assert answer.length == len(RTP)


async def test_each_address_of_a_client_has_its_own_at_the_server() -> None:
    async with open_both() as (client, server, line):
        other = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        await other.connect(line.address)
        sources = []
        for sender in (client, other):
            await sender.send(STUN)
            sources.append((await server.recvfrom(2048))[1])
        assert sources[0] != sources[1]
        await server.sendto(b"\x00for the other", sources[1])
        assert await other.recv(2048) == b"\x00for the other"
        other.close()


async def test_the_line_outlives_ends_that_come_and_go() -> None:
    async with open_both() as (client, server, line):
        gone = server.getsockname()
        server.close()
        for _ in range(3):
            await client.send(STUN)
            await trio.sleep(0.01)
        again = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        with again:
            await again.bind(gone)
            await client.send(DTLS)
            data, source = await again.recvfrom(2048)
            assert data == DTLS
            client.close()
            for _ in range(3):
                await again.sendto(STUN, source)
                await trio.sleep(0.01)
    assert len(line.passages) >= 4


async def test_jitter_lets_datagrams_overtake_others_and_loses_none() -> None:
    async with open_both(jitter=0.05) as (client, server, line):
        said = [STUN + bytes([n]) for n in range(50)]
        for data in said:
            await client.send(data)
        received = [await server.recv(2048) for _ in said]
    assert received != said
    assert sorted(received) == said
    assert all(passage.left_at is not None for passage in line.passages)


async def test_a_datagram_that_is_due_sooner_does_not_wait_for_those_before() -> None:
    received: list[bytes] = []
    # On the line of this seed the first waits the longest and the second the shortest; a stall between them
    # may make up for that.
    while received != [DTLS, RTP, STUN]:
        async with open_both(jitter=0.2, seed=185) as (client, server, line):
            for data in (STUN, DTLS, RTP):
                await client.send(data)
            received = [await server.recv(2048) for _ in range(3)]
    assert [passage.kind for passage in line.passages] == [PacketKind.DTLS, PacketKind.RTP, PacketKind.STUN]


async def test_duplication_lets_some_come_twice() -> None:
    async with open_both(duplication=0.5) as (client, server, line):
        said = [STUN + bytes([n]) for n in range(50)]
        for data in [*said, DTLS]:
            await client.send(data)
        received = []
        while (data := await server.recv(2048)) != DTLS:
            received.append(data)
    assert received == sorted(received)
    assert set(received) == set(said)
    assert 60 < len(received) < 90  # given the seed, this never changes
    assert len(line.passages) > len(received)


@pytest.mark.parametrize(
    "faults",
    [
        {"round_trip": -0.1},
        {"jitter": -0.1},
        {"loss": -0.1},
        {"loss": 1.0},
        {"duplication": -0.1},
        {"duplication": 1.1},
    ],
    ids=repr,
)
async def test_a_line_that_cannot_be_is_refused(faults: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        async with open_both(**faults):
            pass
