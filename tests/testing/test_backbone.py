"""The backbone: packets take as long as they should, arrive whole, or don't arrive where they shouldn't."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from voicegate.testing.backbone import Backbone, BackboneError, open_backbone

pytestmark = pytest.mark.slow

_ECHO = """
import socket
with socket.socket(type=socket.SOCK_DGRAM) as served:
    served.bind(("0.0.0.0", 5000))
    print("ready", flush=True)
    while True:
        served.sendto(*served.recvfrom(2000))
"""

_ASK = """
import json, socket, sys, time
with socket.socket(type=socket.SOCK_DGRAM) as ours:
    ours.settimeout(float(sys.argv[3]))
    ours.connect((sys.argv[1], 5000))
    times = []
    for number in range(int(sys.argv[2])):
        began_at = time.perf_counter()
        ours.send(bytes([number]) * 1200)
        try:
            times.append(time.perf_counter() - began_at if len(ours.recv(2000)) == 1200 else None)
        except OSError:
            times.append(None)
        if times[-1]:
            times[-1] = time.perf_counter() - began_at
    print(json.dumps(times))
"""

_SERVE_STREAM = """
import socket
with socket.create_server(("0.0.0.0", 6000)) as server:
    print("ready", flush=True)
    with server.accept()[0] as client:
        length = 0
        while taken := client.recv(65536):
            length += len(taken)
        client.sendall(str(length).encode())
"""

_SEND_STREAM = """
import socket
with socket.create_connection(("10.2.0.1", 6000)) as ours:
    ours.sendall(bytes(3_000_000))
    ours.shutdown(socket.SHUT_WR)
    print(ours.recv(100).decode())
"""

_UDP_SEGMENT = 103
_SEND_SEGMENTS = f"""
import socket
with socket.socket(type=socket.SOCK_DGRAM) as ours:
    ours.setsockopt(socket.IPPROTO_UDP, {_UDP_SEGMENT}, 1000)
    ours.settimeout(5.0)
    ours.sendto(bytes(10_000), ("10.2.0.1", 5000))
    print(sum(len(ours.recv(2000)) == 1000 for _ in range(10)))
"""


@asynccontextmanager
async def open_pair(*, round_trip: float = 0.0) -> AsyncIterator[Backbone]:
    """Make two hosts, each in a region."""
    with trio.fail_after(120):
        async with open_backbone() as backbone:
            await backbone.add_host("a", region="near", address="10.1.0.1")
            await backbone.add_host("b", region="far", address="10.2.0.1")
            await backbone.set_delay("near", "far", round_trip / 2)
            yield backbone


@asynccontextmanager
async def serve(backbone: Backbone, name: str, code: str) -> AsyncIterator[None]:
    command = backbone.hosts[name].wrap([sys.executable, "-c", code])
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert await process.stdout.receive_some(5) == b"ready"
        yield
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()


async def run(backbone: Backbone, name: str, code: str, *arguments: str) -> str:
    command = backbone.hosts[name].wrap([sys.executable, "-c", code, *arguments])
    return (await trio.run_process(command, capture_stdout=True)).stdout.decode()


async def lose(backbone: Backbone, probability: float) -> None:
    await backbone.set_loss("near", "far", probability)


async def ask(backbone: Backbone, address: str, count: int, *, patience: float = 20.0) -> list[float | None]:
    said = await run(backbone, "a", _ASK, address, str(count), str(patience))
    times: list[float | None] = json.loads(said)
    return times


async def test_packets_between_regions_take_as_long_as_the_way_is() -> None:
    async with open_pair(round_trip=0.1) as backbone, serve(backbone, "b", _ECHO):
        times = await ask(backbone, "10.2.0.1", 5)
        assert all(each is not None and each >= 0.1 for each in times)
        await backbone.set_delay("near", "far", 0.2)
        assert all(each is not None and each >= 0.4 for each in await ask(backbone, "10.2.0.1", 1))
        assert (await backbone.count())["forwarded"] >= 12


async def test_packets_are_gathered_for_as_long_as_a_small_machine_wants() -> None:
    async with open_pair() as backbone, serve(backbone, "b", _ECHO):
        await backbone.set_tick(0.2)
        # The answer always comes just after a round of work, and that is in time but for a stall.
        while not all(each is not None and each >= 0.15 for each in await ask(backbone, "10.2.0.1", 3)):
            pass


async def test_streams_arrive_whole_and_so_does_what_the_sender_left_for_the_card_to_cut() -> None:
    async with open_pair() as backbone:
        async with serve(backbone, "b", _SERVE_STREAM):
            assert await run(backbone, "a", _SEND_STREAM) == "3000000\n"
        async with serve(backbone, "b", _ECHO):
            assert await run(backbone, "a", _SEND_SEGMENTS) == "10\n"
        assert (await backbone.count())["long"] == 0


async def test_nothing_passes_a_cut_nor_a_host_that_is_down_until_it_is_healed() -> None:
    async with open_pair() as backbone, serve(backbone, "b", _ECHO):
        for break_, mend in (
            (partial(backbone.cut, "a", "b"), partial(backbone.heal, "b", "a")),
            (partial(backbone.take_down, "b"), partial(backbone.bring_up, "b")),
            (partial(lose, backbone, 1.0), partial(lose, backbone, 0.0)),
        ):
            await break_()
            assert await ask(backbone, "10.2.0.1", 1, patience=0.8) == [None]
            await mend()
            assert None not in await ask(backbone, "10.2.0.1", 1)
        counts = await backbone.count()
        assert (counts["cut"], counts["lost"]) == (2, 1)


async def test_a_host_that_moves_is_found_at_its_new_address_and_at_no_other() -> None:
    async with open_pair() as backbone, serve(backbone, "b", _ECHO):
        assert None not in await ask(backbone, "10.2.0.1", 1)
        await backbone.move("b", "10.2.0.7")
        assert backbone.hosts["b"].address == "10.2.0.7"
        assert None not in await ask(backbone, "10.2.0.7", 1)
        assert await ask(backbone, "10.2.0.1", 1, patience=0.8) == [None]


async def test_what_cannot_be_is_refused() -> None:
    async with open_pair() as backbone:
        for wrong in (
            backbone.cut("a", "nobody"),
            backbone.add_host("a", region="near", address="10.1.0.9"),
            backbone.take_down("nobody"),
            backbone.set_tick(0.0),
            backbone.set_tick(1.0),
        ):
            with pytest.raises(BackboneError):
                await wrong
