"""What a machine knows of its cluster when it is told to be there."""

from ipaddress import ip_network

import httpx2
import pytest
import trio
from trio.testing import MockClock

import voicegate
from tests.harness import make_client
from voicegate.directory import MemoryDirectory, RelayLease
from voicegate.directory.redis import open_redis_directory
from voicegate.server import Server, serve_transceiver
from voicegate.server.learn import LEARN_SECONDS, learn
from voicegate.testing.redis import open_redis

RELAY = RelayLease(udp=(("192.0.2.7", 3478),))
SECRET = "the secret of the cluster"


async def test_it_waits_for_the_word_that_it_needs_and_not_for_ever(autojump_clock: MockClock) -> None:
    directory = MemoryDirectory()

    async def register() -> None:
        await trio.sleep(0.5)
        directory.register_relay("one", RELAY)
        await trio.sleep(0.5)
        directory.register_relay("two", RELAY)

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(register)
        await learn(directory, lambda snapshot: len(snapshot.relays) == 2)
        assert trio.current_time() - began == pytest.approx(1.0)
    began = trio.current_time()
    await learn(directory, lambda snapshot: snapshot.relays)
    assert trio.current_time() == began
    await learn(directory, lambda snapshot: snapshot.transceivers)
    assert trio.current_time() - began == pytest.approx(LEARN_SECONDS)


@pytest.mark.slow
async def test_the_first_answer_of_a_transceiver_knows_the_relays_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voicegate.server.learn.LEARN_SECONDS", 60.0)
    networks = [ip_network("127.0.0.0/8")]
    with trio.fail_after(120):
        async with (
            open_redis() as redis,
            open_redis_directory(redis.url(), secrets=[SECRET.encode()], hop_networks=networks) as directory,
            trio.open_nursery() as nursery,
        ):
            config = voicegate.Config(
                agent="echo",
                http="127.0.0.1:0",
                hop="127.0.0.1:0",
                directory=redis.url(),
                hop_networks=networks,
                secrets=[SECRET],
            )

            async def register() -> None:
                await trio.sleep(0.3)
                directory.register_relay("one", RELAY)

            nursery.start_soon(register)

            async def run(*, task_status: trio.TaskStatus[Server]) -> None:
                await serve_transceiver(None, config, task_status=task_status)

            server = await nursery.start(run)
            async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
                sdp = {"content-type": "application/sdp"}
                made = await http.post(server.url + "v1/whip", content=make_client().offer(), headers=sdp)
            assert made.status_code == 201, made.text
            assert "192.0.2.7 3478 typ host" in made.text
            nursery.cancel_scope.cancel()
