"""A worker in this process, its supervisor being the test; the sockets are real."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Any, cast

import attrs
import pytest
import trio
from trio.testing import memory_stream_pair

from tests.relay.checks import DTLS, MEDIA, SECRET, check, foreign_check
from tests.relay.peers import Peer, connect, open_peer
from voicegate.datagram import DatagramPort
from voicegate.relay.control import ControlChannel, RelayConfig
from voicegate.relay.process import run_worker
from voicegate.relay.router import DropReason
from voicegate.wire import hop
from voicegate.wire.path import address_bytes

CONFIG = RelayConfig(secrets=[SECRET], public=[("127.0.0.1", 0)], hop=("127.0.0.1", 0))


@attrs.frozen
class Worker:
    """A running worker, as its supervisor sees it."""

    control: ControlChannel
    public: list[tuple[str, int]]
    hop: tuple[str, int]

    async def list_transceivers(self, *transceivers: Peer) -> None:
        table = {id_: peer.address for id_, peer in enumerate(transceivers, start=1)}
        await self.control.send({"transceivers": table})
        await self.statistics()

    async def statistics(self) -> dict[str, Any]:
        await self.control.send({"statistics": 7})
        answer = await self.control.receive()
        assert answer is not None
        assert answer["statistics"] == 7
        return cast("dict[str, Any]", answer["relay"])


@asynccontextmanager
async def open_worker(config: RelayConfig = CONFIG) -> AsyncIterator[Worker]:
    here, there = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_worker, ControlChannel(there))
        async with ControlChannel(here) as control:
            await control.send(config.to_json())
            reply = await control.receive()
            assert reply is not None
            ready = reply["ready"]
            yield Worker(control, [(host, port) for host, port in ready["public"]], tuple(ready["hop"]))


async def refusal(config: RelayConfig) -> str:
    here, there = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_worker, ControlChannel(there))
        await ControlChannel(here).send(config.to_json())
        reply = await ControlChannel(here).receive()
        assert reply is not None
        return str(reply["error"])
    raise AssertionError


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_call_passes_both_ways(host: str) -> None:
    config = attrs.evolve(CONFIG, public=[(host, 0)], hop=(host, 0))
    async with open_worker(config) as worker:
        with open_peer(host) as client, open_peer(host) as transceiver:
            await worker.list_transceivers(transceiver)
            assert await connect(client, transceiver, worker.public[0]) == worker.hop
            for packet in (DTLS, MEDIA):
                client.send(packet, worker.public[0])
                datagram = hop.encode(0, host=client.host, port=client.port, payload=packet)
                assert await transceiver.receive() == (datagram, worker.hop)
                transceiver.send(datagram, worker.hop)
                assert await client.receive() == (packet, worker.public[0])


async def test_each_family_is_answered_from_its_own_public_address() -> None:
    config = attrs.evolve(CONFIG, public=[("127.0.0.1", 0), ("::1", 0)])
    async with open_worker(config) as worker:
        with open_peer() as four, open_peer("::1") as six, open_peer() as transceiver:
            await worker.list_transceivers(transceiver)
            await connect(four, transceiver, worker.public[0])
            await connect(six, transceiver, worker.public[1])


async def test_bad_datagrams_are_counted_by_reason_and_unanswered() -> None:
    async with open_worker() as worker:
        with open_peer() as stranger, open_peer() as transceiver:
            await worker.list_transceivers(transceiver)
            expected = {
                DropReason.GARBAGE: [b"", b"\xff" * 100, b"SIP/2.0 200 OK"],
                DropReason.MALFORMED_STUN: [check()[:-4], check()[:20]],
                DropReason.BAD_FINGERPRINT: [b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)],
                DropReason.FOREIGN_UFRAG: [foreign_check()],
                DropReason.UNKNOWN_TRANSCEIVER: [check(2)],
                DropReason.NO_FLOW: [MEDIA, MEDIA, DTLS],
                DropReason.OVERSIZED: [MEDIA + bytes(3000)],
            }
            for datagrams in expected.values():
                for datagram in datagrams:
                    stranger.send(datagram, worker.public[0])
            stranger.send(hop.encode(0, host=stranger.host, port=stranger.port, payload=MEDIA), worker.hop)
            await trio.testing.wait_all_tasks_blocked(0.05)
            dropped = (await worker.statistics())["router"]["dropped"]
            counts = {reason.value: len(datagrams) for reason, datagrams in expected.items()}
            assert {reason: count for reason, count in dropped.items() if count} == {
                **counts,
                "foreign_hop_source": 1,
            }
            assert stranger.is_silent
            assert transceiver.is_silent


async def test_a_refused_check_reaches_the_transceiver_and_not_the_client() -> None:
    async with open_worker() as worker:
        with open_peer() as client, open_peer() as transceiver:
            await worker.list_transceivers(transceiver)
            client.send(check(pwd="guessed"), worker.public[0])
            data, _ = await transceiver.receive()
            refused = (hop.HopType.CHECK_REFUSED, client.host, client.port, False, b"session1")
            assert hop.decode(data) == refused
            assert client.is_silent


async def test_a_ping_is_answered() -> None:
    async with open_worker() as worker:
        with open_peer() as transceiver:
            await worker.list_transceivers(transceiver)
            transceiver.send(hop.encode(hop.HopType.PING, host=bytes(16), port=0, payload=b"1"), worker.hop)
            data, source = await transceiver.receive()
            assert hop.decode(data).type == hop.HopType.PONG
            assert source == worker.hop


async def test_a_flood_is_taken_in_turns_and_whole() -> None:
    async with open_worker() as worker:
        with open_peer() as stranger:
            # More than is taken in one turn, less than the smallest usual kernel buffer holds.
            for _ in range(270):
                stranger.send(b"\xff", worker.public[0])
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert (await worker.statistics())["router"]["dropped"]["garbage"] == 270


async def test_packets_that_cannot_leave_are_counted() -> None:
    async with open_worker(attrs.evolve(CONFIG, public=[("127.0.0.1", 0)])) as worker:
        with open_peer() as transceiver:
            await worker.list_transceivers(transceiver)
            here = address_bytes("127.0.0.1")
            for datagram in (
                hop.encode(0, host=here, port=0, payload=MEDIA),
                hop.encode(0, host=address_bytes("::1"), port=9, payload=MEDIA),
                hop.encode(0, host=here, port=9, payload=MEDIA, is_stream=True),
            ):
                transceiver.send(datagram, worker.hop)
            await trio.testing.wait_all_tasks_blocked(0.05)
            statistics = await worker.statistics()
            assert statistics["socket_errors"] == {"public IPv4 send EINVAL": 1}
            assert statistics["clients_without_socket"] == 2


async def test_sockets_that_had_no_trouble_report_none_under_either_family() -> None:
    async with open_worker(attrs.evolve(CONFIG, public=[("::1", 0)])) as worker:
        with open_peer() as transceiver:
            await worker.list_transceivers(transceiver)
            assert (await worker.statistics())["socket_errors"] == {}
            transceiver.send(hop.encode(0, host=address_bytes("::1"), port=0, payload=MEDIA), worker.hop)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert (await worker.statistics())["socket_errors"] == {"public IPv6 send EINVAL": 1}


async def test_silent_flows_end(autojump_clock: trio.testing.MockClock) -> None:
    async with open_worker() as worker:
        with open_peer() as client, open_peer() as transceiver:
            await worker.list_transceivers(transceiver)
            client.send(check(), worker.public[0])
            await transceiver.receive()
            assert (await worker.statistics())["router"]["flows"] == 1
            await trio.sleep(12)
            assert (await worker.statistics())["router"]["flows"] == 0


async def test_a_configuration_that_is_impossible_is_refused_with_the_reason() -> None:
    twice = attrs.evolve(CONFIG, public=[("127.0.0.1", 0), ("127.0.0.1", 0)])
    assert "127.0.0.1 is a second public address of its family" in await refusal(twice)
    assert "16 bytes" in await refusal(attrs.evolve(CONFIG, secrets=[b"short"]))
    with closing(DatagramPort(("127.0.0.1", 0), datagram_limit=1)) as taken:
        host, port = taken.address
        assert f"cannot bind UDP {host} port {port}: Address already in use" in await refusal(
            attrs.evolve(CONFIG, public=[taken.address])
        )


async def test_a_worker_ends_when_its_supervisor_is_gone_at_any_time() -> None:
    here, there = memory_stream_pair()
    await here.aclose()
    with trio.fail_after(120):
        await run_worker(ControlChannel(there))
    for last_words in ({}, {"statistics": 1}):
        with trio.fail_after(120):
            async with open_worker() as worker:
                await worker.control.send(last_words)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["EOF", "SIGTERM"])
async def test_as_a_process_it_ignores_ctrl_c_and_ends_with_its_supervisor(ending: str) -> None:
    command = [sys.executable, "-m", "voicegate.relay"]
    run = partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False)
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(run)
            async with ControlChannel(cast("trio.abc.Stream", process.stdio)) as control:
                await control.send(CONFIG.to_json())
                assert "ready" in (await control.receive() or {})
                os.kill(process.pid, signal.SIGINT)
                await control.send({"statistics": 1})
                assert "relay" in (await control.receive() or {})
                if ending == "SIGTERM":
                    process.terminate()
                    await process.wait()
        assert process.returncode == (-signal.SIGTERM if ending == "SIGTERM" else 0)
