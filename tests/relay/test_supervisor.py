"""The relay as its users start it: a real child process and real sockets, hence real time."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import attrs
import pytest
import structlog
import trio

from tests.relay.checks import DTLS, MEDIA, SECRET
from tests.relay.peers import connect, open_peer
from voicegate.datagram import DatagramPort
from voicegate.errors import UsageError
from voicegate.relay import Relay, RelayConfig, run_relay
from voicegate.wire import hop

pytestmark = pytest.mark.slow

CONFIG = RelayConfig(secrets=[SECRET], public=[("127.0.0.1", 0)], hop=("127.0.0.1", 0))


@asynccontextmanager
async def open_relay(config: RelayConfig = CONFIG) -> AsyncIterator[Relay]:
    with trio.fail_after(240):
        async with trio.open_nursery() as nursery:
            relay: Relay = await nursery.start(run_relay, config)
            yield relay
            nursery.cancel_scope.cancel()


async def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        await trio.sleep(0.01)


def has_started(relay: Relay, number: int) -> bool:
    return relay.workers_started == number


def process_exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def kill_and_see_dead(pid: int) -> None:
    """Kill a worker; it is dead on return, and its supervisor had no chance to notice yet."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_call_passes_through_the_relay_process(host: str) -> None:
    config = attrs.evolve(CONFIG, public=[(host, 0)], hop=(host, 0))
    async with open_relay(config) as relay:
        with open_peer(host) as client, open_peer(host) as transceiver:
            relay.set_transceivers({1: transceiver.address})
            assert await relay.statistics() is not None
            assert await connect(client, transceiver, relay.public[0]) == relay.hop
            client.send(MEDIA, relay.public[0])
            datagram = hop.encode(0, host=client.host, port=client.port, payload=MEDIA)
            assert await transceiver.receive() == (datagram, relay.hop)
            statistics = await relay.statistics()
            assert statistics is not None
            router = statistics.router
            assert (router.flows, router.packets_to_transceivers, router.packets_to_clients) == (1, 2, 1)


async def test_a_killed_worker_is_replaced_on_the_same_address_and_calls_go_on() -> None:
    async with open_relay() as relay:
        with open_peer() as client, open_peer() as transceiver:
            relay.set_transceivers({1: transceiver.address})
            await relay.statistics()
            public, first = relay.public, relay.pid
            await connect(client, transceiver, public[0])
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await wait_until(partial(has_started, relay, 2))
            assert relay.public == public
            assert relay.pid != first
            # The new worker knows the transceivers without being told again; the flow, from the next check.
            assert await relay.statistics() is not None
            await connect(client, transceiver, public[0])
            client.send(DTLS, public[0])
            data, _ = await transceiver.receive()
            assert hop.decode(data).payload == DTLS


async def test_cancelling_leaves_no_process_and_no_socket() -> None:
    async with open_relay() as relay:
        pid = relay.pid
        assert pid is not None
    assert not process_exists(pid)
    DatagramPort(relay.public[0], datagram_limit=1).close()


async def test_cancelling_while_it_starts_leaves_no_process() -> None:
    with trio.move_on_after(0.05) as scope:
        await run_relay(CONFIG)
    assert scope.cancelled_caught
    assert children() == ""


async def test_an_address_in_use_is_named_even_when_its_owner_would_share_it() -> None:
    with closing(DatagramPort(("127.0.0.1", 0), datagram_limit=1, is_shared=True)) as taken:
        named = f"UDP 127.0.0.1 port {taken.address[1]}: Address already in use"
        with pytest.raises(UsageError, match=named):
            await run_relay(attrs.evolve(CONFIG, public=[taken.address]))


async def test_what_only_the_worker_finds_out_is_told_too() -> None:
    with closing(DatagramPort(("127.0.0.1", 0), datagram_limit=1)) as taken, trio.fail_after(120):
        named = f"cannot start: cannot bind UDP 127.0.0.1 port {taken.address[1]}"
        with pytest.raises(UsageError, match=named):
            await run_relay(attrs.evolve(CONFIG, hop=taken.address))


async def test_a_list_with_a_name_in_it_is_refused_before_the_worker_sees_it() -> None:
    async with open_relay() as relay:
        with pytest.raises(UsageError, match="not a literal IP address"):
            relay.set_transceivers({1: ("localhost", 1)})
        assert await relay.statistics() is not None


async def test_a_worker_that_hangs_has_no_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicegate.relay.supervisor._STATISTICS_DEADLINE", 0.05)
    async with open_relay() as relay:
        assert relay.pid is not None
        os.kill(relay.pid, signal.SIGSTOP)
        assert await relay.statistics() is None
        monkeypatch.setattr("voicegate.relay.supervisor._STATISTICS_DEADLINE", 5.0)
        os.kill(relay.pid, signal.SIGCONT)
        # The late answer to the first question is not taken for the second's.
        assert await relay.statistics() is not None


async def test_while_there_is_no_worker_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicegate.relay.supervisor._STATISTICS_DEADLINE", 0.01)
    monkeypatch.setattr("voicegate.relay.supervisor._FIRST_BACK_OFF", 60.0)
    async with open_relay() as relay:
        assert relay.pid is not None
        kill_and_see_dead(relay.pid)
        relay.set_transceivers({1: ("127.0.0.1", 1)})
        await wait_until(lambda: relay.pid is None)
        assert await relay.statistics() is None


async def test_only_deaths_in_a_row_make_the_pause_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicegate.relay.supervisor._STEADY_AFTER", 0.0)
    monkeypatch.setattr("voicegate.relay.supervisor._FIRST_BACK_OFF", 0.01)
    with structlog.testing.capture_logs() as logs:
        async with open_relay() as relay:
            for number in (2, 3):
                assert relay.pid is not None
                os.kill(relay.pid, signal.SIGKILL)
                await wait_until(partial(has_started, relay, number))
    assert [(entry["event"], entry["restart_in"]) for entry in logs] == [("relay_died", 0.01)] * 2
    assert "exit status -9" in logs[0]["cause"]


@pytest.fixture
def impostor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what puts a shell script in the worker's place."""

    def install(script: str) -> None:
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        monkeypatch.setattr("sys.executable", str(python))

    return install


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("exit 3", "the worker ended with exit status 3"),
        ("exec >&-; exec sleep 60", "the worker ended with exit status -9"),
        ("read line; exec sleep 60", "the worker was not ready within 0.5 s"),
    ],
)
async def test_a_worker_that_never_gets_ready_is_reported_and_gone(
    script: str, fault: str, impostor: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicegate.relay.supervisor._START_DEADLINE", 0.5)
    impostor(script)
    with trio.fail_after(120), pytest.raises(UsageError, match=fault):
        await run_relay(CONFIG)
    assert children() == ""


async def test_a_worker_that_dies_while_it_is_told_its_configuration_is_reported(
    impostor: Callable[[str], None],
) -> None:
    impostor("exit 3")
    longer_than_a_pipe = attrs.evolve(CONFIG, secrets=[bytes(200_000)])
    with trio.fail_after(120), pytest.raises(UsageError, match="the worker ended with exit status 3"):
        await run_relay(longer_than_a_pipe)


async def test_a_worker_that_hears_nothing_any_more_is_replaced(impostor: Callable[[str], None]) -> None:
    ready = '{"ready": {"public": [["127.0.0.1", 9]], "hop": ["127.0.0.1", 9]}}'
    impostor(f"read line; echo '{ready}'; exec <&-; exec sleep 60")

    def has_replaced_a_deaf_worker(relay: Relay) -> bool:
        relay.set_transceivers({1: ("127.0.0.1", 1)})
        return has_started(relay, 2)

    async with open_relay() as relay:
        await wait_until(partial(has_replaced_a_deaf_worker, relay))
