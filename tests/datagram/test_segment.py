"""A port that sends and receives runs of segments, with its like and with any other."""

import errno
import socket
from contextlib import closing
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from voicegate.datagram import DatagramPort, SegmentPort

LIMIT = 2000


async def take(port: DatagramPort, count: int) -> list[tuple[bytes, tuple[str, int]]]:
    taken: list[tuple[bytes, tuple[str, int]]] = []
    with trio.fail_after(60):
        while len(taken) < count:
            await port.wait_readable()
            taken += port.receive_batch()
    return taken


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@given(lengths=st.lists(st.integers(min_value=0, max_value=LIMIT), max_size=150))
async def test_what_is_sent_arrives_in_order_with_zeros_behind_at_most(host: str, lengths: list[int]) -> None:
    with (
        closing(SegmentPort((host, 0), datagram_limit=0xFFFF)) as here,
        closing(SegmentPort((host, 0), datagram_limit=0xFFFF)) as there,
    ):
        sent = [bytes([1 + number % 255]) * length for number, length in enumerate(lengths)]
        here.send_batch((data, there.address) for data in sent)
        taken = await take(there, len(sent))
        assert [data.rstrip(b"\0") for data, _ in taken] == sent, "in their order"
        assert {source for _, source in taken} <= {here.address}
        assert not there.receive_batch()
        assert not here.errors + there.errors


async def test_a_plain_port_understands_it_and_it_a_plain_port() -> None:
    with (
        closing(SegmentPort(("127.0.0.1", 0), datagram_limit=0xFFFF)) as here,
        closing(DatagramPort(("127.0.0.1", 0), datagram_limit=LIMIT)) as plain,
    ):
        batch = [bytes([number]) * 30 for number in range(1, 100)]
        here.send_batch((data, plain.address) for data in batch)
        assert [data for data, _ in await take(plain, len(batch))] == batch
        plain.send_batch((data, here.address) for data in batch)
        assert [data for data, _ in await take(here, len(batch))] == batch


async def test_each_address_gets_its_own() -> None:
    with (
        closing(SegmentPort(("127.0.0.1", 0), datagram_limit=0xFFFF)) as here,
        closing(SegmentPort(("127.0.0.1", 0), datagram_limit=0xFFFF)) as one,
        closing(SegmentPort(("127.0.0.1", 0), datagram_limit=0xFFFF)) as two,
    ):
        here.send_batch([(b"one", one.address), (b"two", two.address)] * 20)
        assert [data for data, _ in await take(one, 20)] == [b"one"] * 20
        assert [data for data, _ in await take(two, 20)] == [b"two"] * 20


async def test_segments_that_the_way_does_not_take_go_one_by_one() -> None:
    class Device:
        """A socket behind a device that can't make checksums."""

        def __init__(self, sock: socket.socket) -> None:
            self._socket = sock

        def sendmsg(self, *_: object) -> int:
            raise OSError(errno.EIO, "no checksums")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._socket, name)

    with (
        closing(SegmentPort(("127.0.0.1", 0), datagram_limit=0xFFFF)) as here,
        closing(SegmentPort(("127.0.0.1", 0), datagram_limit=0xFFFF)) as there,
    ):
        here._socket = Device(here._socket)  # type: ignore[assignment]
        for _ in range(2):
            here.send_batch([(b"a", there.address), (b"b", there.address)])
            assert [data for data, _ in await take(there, 2)] == [b"a", b"b"]
        assert not here.errors


@pytest.mark.parametrize("port_type", [DatagramPort, SegmentPort])
async def test_a_run_is_what_came_in_one_piece(port_type: type[DatagramPort]) -> None:
    with (
        closing(SegmentPort(("127.0.0.1", 0), datagram_limit=0xFFFF)) as here,
        closing(port_type(("127.0.0.1", 0), datagram_limit=0xFFFF)) as there,
    ):
        assert there.receive_run() is None
        sent = [bytes([number]) * (30 - number % 3) for number in range(1, 101)]
        here.send_run(sent, there.address)
        taken: list[bytes] = []
        runs = 0
        while len(taken) < len(sent):
            await there.wait_readable()
            while (run := there.receive_run()) is not None:
                data, size, source = run
                assert source == here.address
                taken += [data[at : at + size] for at in range(0, len(data), size)]
                runs += 1
        assert [data.rstrip(b"\0") for data in taken] == sent
        assert runs == 2 if port_type is SegmentPort and here._sends_segments else runs == len(sent)
        here.send_run([], there.address)
        here.send_run([b""], there.address)
        await there.wait_readable()
        assert there.receive_run() == (b"", 1, here.address)
        assert there.receive_run() is None
