"""Batches on real sockets, by ``recvmmsg`` and friends and by plain calls: both must do the same."""

import errno
import socket
from collections.abc import Iterator
from contextlib import closing
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
import trio

from voicegate.datagram import address_of, batch, bind, encode_address, kernel, plain

LIMIT = 200
HOSTS = ["127.0.0.1", "::1"]


@pytest.fixture(params=[batch, plain], ids=["batch", "plain"])
def way(request: pytest.FixtureRequest) -> ModuleType:
    assert kernel.HAS_BATCHES, "the tests run where the calls are"
    way: ModuleType = request.param
    return way


@pytest.fixture(params=HOSTS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    with closing(bind((request.param, 0))) as here, closing(bind((request.param, 0))) as there:
        yield here, there


def address(sock: socket.socket) -> tuple[str, int]:
    host, port = sock.getsockname()[:2]
    return host, port


async def take(receiver: batch.Receiver, sock: socket.socket, count: int) -> list[bytes]:
    """Receive until so many datagrams have come, runs of segments taken apart."""
    taken: list[bytes] = []
    with trio.fail_after(60):
        while len(taken) < count:
            await trio.lowlevel.wait_readable(sock)
            received = receiver.receive()
            lengths = receiver.lengths(received).tolist()
            sizes = receiver.segment_lengths(received).tolist()
            for start, length, size in zip(receiver.starts.tolist(), lengths, sizes, strict=False):
                run = receiver.data[start : start + length].tobytes()
                taken += [run[at : at + size] for at in range(0, length, size)] if length else [b""]
    return taken


def lay_out(
    datagrams: list[bytes],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Put datagrams into memory, with something behind each that must not be sent."""
    width = max(map(len, datagrams)) + 8
    memory = np.full((len(datagrams), width), 0xEE, np.uint8)
    for row, datagram in enumerate(datagrams):
        memory[row, : len(datagram)] = np.frombuffer(datagram, np.uint8)
    addresses = address_of(memory) + width * np.arange(len(datagrams), dtype=np.uint64)
    return memory, addresses, np.array([len(datagram) for datagram in datagrams])


async def test_a_batch_comes_with_its_lengths_and_sources(
    way: ModuleType, pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    receiver = way.Receiver(here, slots=8, limit=LIMIT, headroom=24)
    datagrams = [b"", b"a", bytes(range(LIMIT)), bytes(LIMIT + 1), bytes(LIMIT + 50)]
    for datagram in datagrams:
        there.sendto(datagram, address(here))
    taken = await take(receiver, here, len(datagrams))
    # What is too long is cut, but so that it shows.
    assert taken == [datagram[: LIMIT + 1] for datagram in datagrams]
    assert receiver.receive() == 0
    assert not receiver.errors
    for name in receiver.names[: len(datagrams)]:
        assert kernel.decode_address(name) == address(there)
    assert (
        receiver.addresses == receiver.starts.astype(np.uint64) + np.uint64(address_of(receiver.data))
    ).all()


async def test_more_datagrams_than_slots_come_in_turns(
    way: ModuleType, pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    receiver = way.Receiver(here, slots=4, limit=LIMIT)
    sent = [bytes([number]) for number in range(11)]
    for datagram in sent:
        there.sendto(datagram, address(here))
    assert await take(receiver, here, len(sent)) == sent


async def test_one_send_reaches_many_addresses(
    way: ModuleType, pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    sender = way.Sender(here, capacity=8)
    _memory, addresses, lengths = lay_out([b"one", b"three", b""])
    targets = [there, here, there]
    sender.addresses[:3], sender.lengths[:3] = addresses, lengths
    for row, target in enumerate(targets):
        sender.names[row] = encode_address(address(target))[0]
    assert sender.send(3) == 0
    assert await take(way.Receiver(there, slots=8, limit=LIMIT), there, 2) == [b"one", b""]
    assert await take(way.Receiver(here, slots=8, limit=LIMIT), here, 1) == [b"three"]


async def test_what_the_kernel_refuses_is_lost_alone_and_counted(
    way: ModuleType, pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    sender = way.Sender(here, capacity=8)
    _memory, addresses, lengths = lay_out([b"before", b"refused", b"behind"])
    sender.addresses[:3], sender.lengths[:3] = addresses, lengths
    for row, port in enumerate([address(there)[1], 0, address(there)[1]]):
        sender.names[row] = encode_address((address(there)[0], port))[0]
    assert sender.send(3) == 1
    assert sender.errors == {"EINVAL": 1}
    assert await take(way.Receiver(there, slots=8, limit=LIMIT), there, 2) == [b"before", b"behind"]


@pytest.mark.parametrize("has_segments", [True, False])
@pytest.mark.parametrize(
    "lengths",
    [[50] * 3, [50, 20, 50], [50] * 150, [100, *[30] * 100, 90, 7], [1], [190, 1], [0] * 5, [0, 0, 0, 9]],
)
async def test_datagrams_to_one_address_arrive_whole_with_nothing_but_zeros_behind(
    way: ModuleType,
    pair: tuple[socket.socket, socket.socket],
    has_segments: bool,
    lengths: list[int],
) -> None:
    here, there = pair
    datagrams = [bytes([length] * length) for length in lengths]
    sender = way.SegmentSender(here, capacity=256, has_segments=has_segments)
    name = encode_address(address(there))
    _memory, addresses, sizes = lay_out(datagrams)
    for _ in range(2):  # the second time, everything inside has been used before
        sender.add(addresses, sizes, name=address_of(name))
        assert sender.flush() == 0
        receiver = way.Receiver(there, slots=32, limit=0xFFFF, has_segments=has_segments)
        taken = await take(receiver, there, len(lengths))
        assert sorted(datagram.rstrip(b"\0") for datagram in taken) == sorted(datagrams)
        assert sum(map(len, taken)) <= 3 * sum(lengths) + len(lengths)
    assert (sender.segmented > 0) == (way is batch and has_segments and len(lengths) > 1)


async def test_each_address_of_a_flush_gets_its_own(
    way: ModuleType, pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    sender = way.SegmentSender(here, capacity=256)
    names = [encode_address(address(sock)) for sock in (here, there)]
    memories = [lay_out([letter * 30] * 20) for letter in (b"h", b"t")]
    for name, (_memory, addresses, sizes) in zip(names, memories, strict=True):
        sender.add(addresses, sizes, name=address_of(name))
    assert sender.flush() == 0
    for sock, letter in ((here, b"h"), (there, b"t")):
        receiver = way.Receiver(sock, slots=32, limit=0xFFFF, has_segments=True)
        assert await take(receiver, sock, 20) == [letter * 30] * 20


async def test_segments_that_the_way_does_not_take_go_one_by_one(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    real = kernel.send_messages

    def refuse_segments(fd: int, messages: int, count: int) -> int:
        # As a device without checksums does.
        if sender.has_segments and count == 1 and sender._messages["control"][0] and messages == first:
            return -errno.EIO
        return real(fd, messages, count)

    monkeypatch.setattr(batch, "send_messages", refuse_segments)
    sender = batch.SegmentSender(here, capacity=64)
    first = address_of(sender._messages)
    name = encode_address(address(there))
    _memory, addresses, sizes = lay_out([b"long one", b"short", b"long two"])
    sender.add(addresses, sizes, name=address_of(name))
    assert sender.flush() == 0
    assert not sender.has_segments
    taken = await take(batch.Receiver(there, slots=8, limit=LIMIT), there, 3)
    assert [datagram.rstrip(b"\0") for datagram in taken] == [b"long one", b"short", b"long two"]


async def test_the_first_datagram_of_a_batch_says_when_it_came(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    here, there = pair
    receiver = batch.Receiver(here, slots=4, limit=LIMIT)
    there.sendto(b"first", address(here))
    await take(receiver, here, 1)
    first = receiver.received_at()
    there.sendto(b"second", address(here))
    await take(receiver, here, 1)
    second = receiver.received_at()
    assert first is not None
    assert second is not None
    assert 0 < first <= second
