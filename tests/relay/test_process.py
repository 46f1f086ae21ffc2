"""A worker in this process, its supervisor being the test; the sockets are real."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, cast

import attrs
import pytest
import trio
from trio.testing import memory_stream_pair

from tests.relay.checks import DTLS, MEDIA, SECRET, check, foreign_check, success
from tests.relay.peers import Peer, connect, open_peer
from voicegate.child.channel import ControlChannel
from voicegate.relay.control import RelayConfig, WorkerConfig, decode_rows
from voicegate.relay.counter import Count, DropReason, RelayStatistics
from voicegate.relay.process import run_worker
from voicegate.relay.recovery import flow_key
from voicegate.relay.slot import Slot, open_slots
from voicegate.wire import hop
from voicegate.wire.path import Address, address_bytes

CONFIG = RelayConfig(secrets=[SECRET], public=[("127.0.0.1", 0)], hop=("127.0.0.1", 0))


@attrs.frozen
class Worker:
    """A running worker, as its supervisor sees it."""

    control: ControlChannel
    slot: Slot

    @property
    def public(self) -> Sequence[Address]:
        return self.slot.public

    @property
    def hop(self) -> Address:
        return self.slot.hop

    async def list_transceivers(self, *transceivers: Peer) -> None:
        table = {id_: peer.address for id_, peer in enumerate(transceivers, start=1)}
        await self.control.send({"transceivers": table})
        await trio.testing.wait_all_tasks_blocked()

    async def receive(self) -> dict[str, Any]:
        message = await self.control.receive()
        assert message is not None
        return message

    def statistics(self) -> RelayStatistics:
        return self.slot.statistics()

    async def wait_for(self, counted: DropReason | Count, count: int) -> None:
        while self.slot.counters.get(counted) < count:
            await trio.sleep(0.005)


@contextmanager
def open_place(config: RelayConfig, *, has_directory: bool = False) -> Iterator[tuple[Slot, WorkerConfig]]:
    """Bind sockets; a worker that closes the descriptors it is told of closes none of ours."""
    with ExitStack() as stack:
        (slot,) = open_slots(config, stack)
        first = slot.worker_config(config, transceivers=config.transceivers, has_directory=has_directory)
        yield (
            slot,
            attrs.evolve(
                first,
                public=[os.dup(number) for number in first.public],
                hop=os.dup(first.hop),
                streams=[os.dup(number) for number in first.streams],
                counters=os.dup(first.counters),
            ),
        )


@asynccontextmanager
async def open_worker(config: RelayConfig = CONFIG, *, has_directory: bool = False) -> AsyncIterator[Worker]:
    here, there = memory_stream_pair()
    with open_place(config, has_directory=has_directory) as (slot, first):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_worker, ControlChannel(there))
            async with ControlChannel(here) as control:
                await control.send(first.to_json())
                assert await control.receive() == {"ready": True}
                yield Worker(control, slot)


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


async def test_a_client_on_tcp_is_served_beside_the_others() -> None:
    with open_peer() as transceiver:
        config = attrs.evolve(CONFIG, streams=[("127.0.0.1", 0)], transceivers={1: transceiver.address})
        async with open_worker(config) as worker, await trio.open_tcp_stream(*worker.slot.streams[0]) as tcp:
            request = check()
            await tcp.send_all(len(request).to_bytes(2, "big") + request)
            data, source = await transceiver.receive()
            _, host, port, is_stream, payload = hop.decode(data)
            assert (is_stream, payload) == (True, request)
            answer = success(request, host=host, port=port)
            transceiver.send(hop.encode(0, host=host, port=port, payload=answer, is_stream=True), source)
            assert await tcp.receive_some() == len(answer).to_bytes(2, "big") + answer


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
            for reason, datagrams in expected.items():
                await worker.wait_for(reason, len(datagrams))
            await worker.wait_for(DropReason.FOREIGN_HOP_SOURCE, 1)
            await trio.testing.wait_all_tasks_blocked(0.05)
            dropped = worker.statistics().dropped
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
            await worker.wait_for(DropReason.GARBAGE, 270)
            assert worker.statistics().dropped["garbage"] == 270
            sizes = worker.statistics().batch_sizes
            assert sizes.total == 270
            assert sizes.observations == worker.statistics().counts["batches_public"] > 1


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
            await worker.wait_for(DropReason.NO_SOCKET, 2)
            await worker.wait_for(DropReason.SEND_REFUSED, 1)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert worker.statistics().dropped["send_refused"] == 1
            assert worker.statistics().dropped["no_socket"] == 2


@pytest.fixture
def clock() -> trio.testing.MockClock:
    """Stands still until a test lets it go on."""
    return trio.testing.MockClock()


async def test_silent_flows_end(clock: trio.testing.MockClock) -> None:
    async with open_worker() as worker:
        with open_peer() as client, open_peer() as transceiver:
            await worker.list_transceivers(transceiver)
            client.send(check(), worker.public[0])
            await transceiver.receive()
            # From here on nobody waits for a socket.
            clock.autojump_threshold = 0
            await trio.sleep(2)
            assert worker.statistics().counts["flows"] == 1
            await trio.sleep(10)
            counts = worker.statistics().counts
            assert (counts["flows"], counts["flows_expired"]) == (0, 1)
            assert counts["heartbeats"] > 10


async def test_what_the_worker_cannot_use_is_refused_with_the_reason() -> None:
    here, there = memory_stream_pair()
    with open_place(attrs.evolve(CONFIG, secrets=[b"short"])) as (_, first):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_worker, ControlChannel(there))
            await ControlChannel(here).send(first.to_json())
            reply = await ControlChannel(here).receive()
            assert reply is not None
            assert "16 bytes" in reply["error"]


async def test_transceivers_that_are_there_from_the_start_need_no_telling() -> None:
    with open_peer() as client, open_peer() as transceiver:
        async with open_worker(attrs.evolve(CONFIG, transceivers={1: transceiver.address})) as worker:
            await connect(client, transceiver, worker.public[0])


async def test_confirmed_flows_are_written_down_for_others() -> None:
    with open_peer() as client, open_peer() as transceiver:
        config = attrs.evolve(CONFIG, transceivers={1: transceiver.address})
        async with open_worker(config, has_directory=True) as worker:
            await connect(client, transceiver, worker.public[0])
            key = flow_key((client.host, client.port, False))
            assert decode_rows((await worker.receive())["rows"]) == {key: 1}
            gone = hop.encode(hop.HopType.FLOW_GONE, host=client.host, port=client.port)
            transceiver.send(gone, worker.hop)
            assert decode_rows((await worker.receive())["rows"]) == {key: None}


async def test_media_of_an_unknown_client_goes_where_the_directory_says() -> None:
    with open_peer() as client, open_peer() as transceiver:
        config = attrs.evolve(CONFIG, transceivers={1: transceiver.address})
        async with open_worker(config, has_directory=True) as worker:
            client.send(MEDIA, worker.public[0])
            question = await worker.receive()
            key = flow_key((client.host, client.port, False))
            assert question["keys"] == [key.hex()]
            await worker.control.send({"found": question["lookup"], "flows": {key.hex(): 1}})
            await worker.wait_for(Count.LOOKUPS_FOUND, 1)
            client.send(MEDIA, worker.public[0])
            data, _ = await transceiver.receive()
            assert hop.decode(data).payload == MEDIA


async def test_an_answer_that_nobody_waits_for_any_more_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voicegate.relay.process._QUESTION_LIMIT", 1)
    with open_peer() as one, open_peer() as other:
        async with open_worker(has_directory=True) as worker:
            questions = []
            for client in (one, other):
                client.send(MEDIA, worker.public[0])
                questions.append(await worker.receive())
            for question in questions:
                await worker.control.send({"found": question["lookup"], "flows": {}})
            await worker.control.send({"found": 99, "flows": {}})
            await worker.wait_for(Count.LOOKUPS_ANSWERED, 1)
            await trio.testing.wait_all_tasks_blocked()
            counts = worker.statistics().counts
            assert (counts["lookups_asked"], counts["lookups_answered"]) == (2, 1)


async def test_without_a_directory_nobody_is_asked() -> None:
    with open_peer() as client, open_peer() as transceiver:
        async with open_worker(attrs.evolve(CONFIG, transceivers={1: transceiver.address})) as worker:
            client.send(MEDIA, worker.public[0])
            await worker.wait_for(DropReason.NO_FLOW, 1)
            with trio.move_on_after(0.1) as scope:
                await worker.receive()
            assert scope.cancelled_caught


async def test_a_worker_ends_when_its_supervisor_is_gone_at_any_time() -> None:
    here, there = memory_stream_pair()
    await here.aclose()
    with trio.fail_after(120):
        await run_worker(ControlChannel(there))
    last_words: dict[str, Any]
    for last_words in ({}, {"transceivers": {}}):
        with trio.fail_after(120):
            async with open_worker() as worker:
                await worker.control.send(last_words)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["EOF", "SIGTERM"])
async def test_as_a_process_it_ignores_ctrl_c_and_ends_with_its_supervisor(ending: str) -> None:
    with open_place(CONFIG) as (slot, _), trio.fail_after(120):
        first = slot.worker_config(CONFIG, transceivers={}, has_directory=False)
        run = partial(
            trio.run_process,
            [sys.executable, "-m", "voicegate.relay"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            check=False,
            pass_fds=slot.descriptors,
        )
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(run)
            async with ControlChannel(cast("trio.abc.Stream", process.stdio)) as control:
                await control.send(first.to_json())
                assert await control.receive() == {"ready": True}
                os.kill(process.pid, signal.SIGINT)
                with open_peer() as stranger:
                    stranger.send(b"\xff", slot.public[0])
                    while not slot.counters.get(DropReason.GARBAGE):
                        await trio.sleep(0.005)
                if ending == "SIGTERM":
                    process.terminate()
                    await process.wait()
        assert process.returncode == (-signal.SIGTERM if ending == "SIGTERM" else 0)


def test_a_worker_loads_nothing_that_only_its_supervisor_needs() -> None:
    code = (
        "import sys, voicegate.relay.process\n"
        "print(*{'structlog', 'rich', 'prometheus_client', 'asyncio', 'voicegate.relay.supervisor',"
        " 'voicegate.dtls', 'voicegate.relay.stream'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []
