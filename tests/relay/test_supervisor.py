"""The relay as its users start it: real child processes and real sockets, hence real time."""

import os
import signal
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import ExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import structlog
import trio

import voicegate.relay as relay_package
from tests.relay.checks import DTLS, MEDIA, SECRET, check
from tests.relay.peers import Peer, connect, open_peer
from voicegate.datagram import bind
from voicegate.errors import UsageError
from voicegate.observability import Metrics
from voicegate.relay import FlowStore, Relay, RelayConfig, run_relay
from voicegate.wire import hop

pytestmark = pytest.mark.slow

Spawned = Callable[[], set[int]]

CONFIG = RelayConfig(secrets=[SECRET], public=[("127.0.0.1", 0)], hop=("127.0.0.1", 0))


def listing(transceiver: Peer, **settings: Any) -> RelayConfig:
    """A relay that knows a transceiver from the start."""
    return attrs.evolve(CONFIG, transceivers={1: transceiver.address}, **settings)


@asynccontextmanager
async def open_relay(
    config: RelayConfig = CONFIG, directory: FlowStore | None = None
) -> AsyncIterator[Relay]:
    with trio.fail_after(240):
        async with trio.open_nursery() as nursery:
            relay: Relay = await nursery.start(run_relay, config, directory)
            yield relay
            nursery.cancel_scope.cancel()


async def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        await trio.sleep(0.01)


def has_started(relay: Relay, number: int) -> bool:
    return relay.workers_started == number


def process_exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def kill_and_see_dead(pid: int) -> None:
    """Kill a worker; it is dead on return, and its supervisor had no chance to notice yet."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_call_passes_through_the_relay_process(host: str) -> None:
    with open_peer(host) as client, open_peer(host) as transceiver:
        async with open_relay(listing(transceiver, public=[(host, 0)], hop=(host, 0))) as relay:
            assert await connect(client, transceiver, relay.public[0]) == relay.hop
            client.send(MEDIA, relay.public[0])
            datagram = hop.encode(0, host=client.host, port=client.port, payload=MEDIA)
            assert await transceiver.receive() == (datagram, relay.hop)
            counts = relay.statistics().counts
            assert (counts["packets_to_transceivers"], counts["packets_to_clients"]) == (2, 1)
            assert counts["bytes_to_transceivers"] == len(check()) + len(MEDIA)


async def test_a_change_of_transceivers_reaches_the_workers() -> None:
    with open_peer() as client, open_peer() as one, open_peer() as other:
        async with open_relay(listing(one)) as relay:
            relay.set_transceivers({1: other.address})
            while other.is_silent:
                client.send(check(), relay.public[0])
                await trio.sleep(0.01)


async def test_a_call_goes_on_when_its_transceiver_moves() -> None:
    with open_peer() as client, open_peer() as before, open_peer() as after:
        async with open_relay(listing(before)) as relay:
            hop_address = await connect(client, before, relay.public[0])
            relay.set_transceivers({1: after.address})
            while after.is_silent:
                client.send(MEDIA, relay.public[0])
                await trio.sleep(0.01)
            datagram = hop.encode(0, host=client.host, port=client.port, payload=MEDIA)
            assert await after.receive() == (datagram, hop_address)
            after.send(datagram, hop_address)
            assert await client.receive() == (MEDIA, relay.public[0])
            assert relay.statistics().dropped["no_flow"] == 0


async def test_a_hop_socket_of_all_addresses_is_heard_and_answers_from_the_right_one() -> None:
    with open_peer() as client, open_peer() as one, open_peer("127.0.0.2") as two:
        config = attrs.evolve(CONFIG, hop=("0.0.0.0", 0), transceivers={1: one.address, 2: two.address})
        async with open_relay(config) as relay:
            port = relay.hop[1]
            assert await connect(client, one, relay.public[0]) == ("127.0.0.1", port)
            client.send(check(2), relay.public[0])
            assert (await two.receive())[1] == ("127.0.0.1", port)
            two.send(hop.encode(0, host=client.host, port=client.port, payload=DTLS), ("127.0.0.1", port))
            assert await client.receive() == (DTLS, relay.public[0])


async def test_a_relay_with_the_wrong_secret_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicegate.relay.supervisor._DIAGNOSIS_INTERVAL", 0.05)
    monkeypatch.setattr("voicegate.relay.diagnosis._SUSPICIOUS", 2)
    with open_peer() as client, open_peer() as transceiver, structlog.testing.capture_logs() as logs:
        async with open_relay(listing(transceiver, secrets=[bytes(32)])) as relay:
            while not logs:
                client.send(check(), relay.public[0])
                await trio.sleep(0.01)
            assert relay.statistics().counts["flows"] == 0
    assert {(entry["event"], entry["log_level"]) for entry in logs} == {("relay_checks_foreign", "warning")}
    assert "another secret" in logs[0]["cause"]


async def test_several_workers_share_the_clients_and_answer_from_one_address() -> None:
    with ExitStack() as stack:
        transceiver = stack.enter_context(open_peer())
        async with open_relay(listing(transceiver, workers=2)) as relay:
            assert len(set(relay.pids)) == len(set(relay.hops)) == 2
            hops: set[tuple[str, int]] = set()
            while hops != set(relay.hops):
                client = stack.enter_context(open_peer())
                hops.add(await connect(client, transceiver, relay.public[0]))
            counts = relay.statistics().counts
            assert counts["checks_verified"] == counts["packets_to_clients"] >= 2


async def test_a_worker_has_a_processor_of_its_own() -> None:
    processors = sorted(os.sched_getaffinity(0))
    async with open_relay(attrs.evolve(CONFIG, workers=2)) as relay:
        assert [os.sched_getaffinity(pid) for pid in relay.pids] == [
            {processors[0]},
            {processors[1 % len(processors)]},
        ]
    async with open_relay() as relay:
        assert os.sched_getaffinity(relay.pids[0]) == set(processors)


async def test_a_killed_worker_is_replaced_on_the_same_addresses_and_calls_go_on() -> None:
    with open_peer() as client, open_peer() as transceiver:
        async with open_relay(listing(transceiver)) as relay:
            public, hops, (first,) = relay.public, relay.hops, relay.pids
            await connect(client, transceiver, public[0])
            before = relay.statistics()
            kill_and_see_dead(first)
            # It waits for the next worker, which knows the transceivers without being told again.
            client.send(check(), public[0])
            client.send(DTLS, public[0])
            payloads = [hop.decode((await transceiver.receive())[0]).payload for _ in range(2)]
            assert payloads == [check(), DTLS]
            await wait_until(partial(has_started, relay, 2))
            assert (relay.public, relay.hops) == (public, hops)
            assert relay.pids not in ([], [first])
            after = relay.statistics()
            assert before.counts["packets_to_transceivers"] == 1
            assert after.counts["packets_to_transceivers"] == 3


async def test_one_process_waits_to_take_the_place_of_a_dead_one(
    spawned: Spawned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicegate.child.reserve._RESERVE_DELAY", 0.0)
    with open_peer() as client, open_peer() as transceiver:
        async with open_relay(listing(transceiver, workers=2)) as relay:
            for number in (3, 4):
                await wait_until(lambda: len(spawned()) == 3)
                (waiting,) = spawned() - set(relay.pids)
                os.kill(relay.pids[0], signal.SIGKILL)
                await wait_until(partial(has_started, relay, number))
                assert waiting in relay.pids
                await connect(client, transceiver, relay.public[0])
    assert spawned() == set()


async def test_the_death_of_the_process_that_waits_is_overcome(
    spawned: Spawned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicegate.child.reserve._RESERVE_DELAY", 0.0)
    async with open_relay() as relay:
        await wait_until(lambda: len(spawned()) == 2)
        (waiting,) = spawned() - set(relay.pids)
        kill_and_see_dead(waiting)
        os.kill(relay.pids[0], signal.SIGKILL)
        await wait_until(partial(has_started, relay, 2))


async def test_the_others_do_not_notice_a_death(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicegate.child.keeper._LAST_BACK_OFF", 0.0)
    with ExitStack() as stack:
        transceiver = stack.enter_context(open_peer())
        async with open_relay(listing(transceiver, workers=2)) as relay:
            victim, survivor = relay.pids
            client = stack.enter_context(open_peer())
            while await connect(client, transceiver, relay.public[0]) != relay.hops[1]:
                client = stack.enter_context(open_peer())
            kill_and_see_dead(victim)
            client.send(MEDIA, relay.public[0])
            data, source = await transceiver.receive()
            assert (hop.decode(data).payload, source) == (MEDIA, relay.hops[1])
            await wait_until(partial(has_started, relay, 3))
            assert relay.pids[1] == survivor


class Store:
    """A directory's flows."""

    def __init__(self) -> None:
        self.flows: dict[bytes, int] = {}
        self.is_slow = False

    def write_flows(self, rows: Mapping[bytes, int | None]) -> None:
        for key, id_ in rows.items():
            if id_ is None:
                self.flows.pop(key, None)
            else:
                self.flows[key] = id_

    async def find_flows(self, keys: Collection[bytes]) -> Mapping[bytes, int]:
        if self.is_slow:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return {key: self.flows[key] for key in keys if key in self.flows}


async def test_with_a_directory_media_goes_on_before_the_next_check() -> None:
    store = Store()
    with open_peer() as client, open_peer() as transceiver:
        async with open_relay(listing(transceiver), store) as relay:
            await connect(client, transceiver, relay.public[0])
            await wait_until(lambda: bool(store.flows))
            os.kill(relay.pids[0], signal.SIGKILL)
            while transceiver.is_silent:
                client.send(MEDIA, relay.public[0])
                await trio.sleep(0.02)
            data, _ = await transceiver.receive()
            assert hop.decode(data).payload == MEDIA
            assert relay.workers_started == 2
            # What a transceiver gives up is found no more.
            transceiver.send(hop.encode(hop.HopType.FLOW_GONE, host=client.host, port=client.port), relay.hop)
            await wait_until(lambda: not store.flows)


async def test_a_directory_that_does_not_answer_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicegate.relay.keeper._LOOKUP_DEADLINE", 0.01)
    store = Store()
    store.is_slow = True
    with open_peer() as client, open_peer() as transceiver:
        async with open_relay(listing(transceiver), store) as relay:
            client.send(MEDIA, relay.public[0])
            await wait_until(lambda: relay.statistics().counts["lookups_asked"] == 1)
            await connect(client, transceiver, relay.public[0])
            assert relay.statistics().counts["lookups_answered"] == 0


async def test_cancelling_leaves_no_process_and_no_socket() -> None:
    async with open_relay(attrs.evolve(CONFIG, workers=2)) as relay:
        pids = relay.pids
        assert len(pids) == 2
    assert not any(map(process_exists, pids))
    bind(relay.public[0]).close()


async def test_cancelling_while_it_starts_leaves_no_process(spawned: Spawned) -> None:
    with trio.move_on_after(0.05) as scope:
        await run_relay(CONFIG)
    assert scope.cancelled_caught
    assert spawned() == set()


async def test_an_address_in_use_is_named() -> None:
    async with open_relay(attrs.evolve(CONFIG, workers=2)) as relay:
        named = f"UDP 127.0.0.1 port {relay.public[0][1]}: Address already in use"
        with pytest.raises(UsageError, match=named):
            await run_relay(attrs.evolve(CONFIG, public=relay.public))
    with closing(bind(("127.0.0.1", 0))) as taken:
        address = taken.getsockname()
        with pytest.raises(UsageError, match=f"cannot bind UDP 127.0.0.1 port {address[1]}"):
            await run_relay(attrs.evolve(CONFIG, hop=address))


async def test_what_only_a_worker_finds_out_is_told_too(spawned: Spawned) -> None:
    with trio.fail_after(120), pytest.raises(UsageError, match=r"cannot start: .*16 bytes"):
        await run_relay(attrs.evolve(CONFIG, secrets=[b"short"], workers=2))
    assert spawned() == set()


def test_the_package_has_what_it_lists_and_no_more() -> None:
    assert relay_package.run_relay is run_relay
    with pytest.raises(AttributeError, match="no attribute 'run_relays'"):
        _ = relay_package.run_relays


async def test_a_relay_without_workers_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="0 workers"):
        await run_relay(attrs.evolve(CONFIG, workers=0))


async def test_a_list_with_a_name_in_it_is_refused_before_a_worker_sees_it() -> None:
    wrong = {1: ("localhost", 1)}
    with pytest.raises(UsageError, match="not a literal IP address"):
        await run_relay(attrs.evolve(CONFIG, transceivers=wrong))
    with open_peer() as client, open_peer() as transceiver:
        async with open_relay(listing(transceiver)) as relay:
            with pytest.raises(UsageError, match="not a literal IP address"):
                relay.set_transceivers(wrong)
            await connect(client, transceiver, relay.public[0])


async def test_a_worker_that_hangs_is_replaced_and_its_figures_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_peer() as client, open_peer() as transceiver, structlog.testing.capture_logs() as logs:
        async with open_relay(listing(transceiver)) as relay:
            await connect(client, transceiver, relay.public[0])
            os.kill(relay.pids[0], signal.SIGSTOP)
            # Only now, since a worker that was stopped shows no life however short the time.
            monkeypatch.setattr("voicegate.child.keeper._HEARTBEAT_INTERVAL", 0.01)
            assert relay.statistics().counts["packets_to_clients"] == 1
            await wait_until(lambda: bool(logs))
            monkeypatch.undo()
            client.send(check(), relay.public[0])
            await transceiver.receive()
            assert relay.statistics().counts["packets_to_clients"] == 1
    assert "no sign of life" in logs[0]["cause"]


async def test_while_there_is_no_worker_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicegate.child.keeper._FIRST_BACK_OFF", 60.0)
    monkeypatch.setattr("voicegate.child.keeper._LAST_BACK_OFF", 60.0)
    async with open_relay() as relay:
        kill_and_see_dead(relay.pids[0])
        await wait_until(partial(has_started, relay, 2))
        kill_and_see_dead(relay.pids[0])
        relay.set_transceivers({1: ("127.0.0.1", 1)})
        await wait_until(lambda: not relay.pids)
        assert relay.statistics().counts["flows"] == 0
        metrics = Metrics()
        relay.report(metrics)
        assert b"voicegate_relay_workers 0.0" in metrics.render()


@pytest.mark.parametrize(("steady_after", "pauses"), [(3600.0, [0.0, 0.01, 0.02]), (0.0, [0.0, 0.0, 0.0])])
async def test_only_deaths_in_a_row_make_a_pause_and_a_longer_one(
    steady_after: float, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicegate.child.keeper._STEADY_AFTER", steady_after)
    monkeypatch.setattr("voicegate.child.keeper._FIRST_BACK_OFF", 0.01)
    with structlog.testing.capture_logs() as logs:
        async with open_relay() as relay:
            for number in (2, 3, 4):
                os.kill(relay.pids[0], signal.SIGKILL)
                await wait_until(partial(has_started, relay, number))
    assert [(entry["event"], entry["restart_in"]) for entry in logs] == [
        ("relay_worker_died", pause) for pause in pauses
    ]
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
    ("script", "patience", "fault"),
    [
        ("exit 3", 100, "the worker ended with exit status 3"),
        ("exec >&-; exec sleep 600", 100, "the worker ended with exit status -9"),
        ("read line; exec sleep 600", 0.5, "the worker was not ready within 0.5 s"),
        (
            "read line; echo ready; exec sleep 600",
            100,
            "the worker talked nonsense: control line is not JSON",
        ),
    ],
)
async def test_a_worker_that_never_gets_ready_is_reported_and_gone(
    script: str,
    patience: float,
    fault: str,
    impostor: Callable[[str], None],
    spawned: Spawned,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voicegate.child.keeper._START_DEADLINE", patience)
    impostor(script)
    with trio.fail_after(120), pytest.raises(UsageError, match=fault):
        await run_relay(CONFIG)
    assert spawned() == set()


async def test_a_worker_that_dies_while_it_is_told_its_configuration_is_reported(
    impostor: Callable[[str], None],
) -> None:
    impostor("exit 3")
    longer_than_a_pipe = attrs.evolve(CONFIG, secrets=[bytes(200_000)])
    with trio.fail_after(120), pytest.raises(UsageError, match="the worker ended with exit status 3"):
        await run_relay(longer_than_a_pipe)


async def test_a_worker_that_hears_nothing_any_more_is_replaced(impostor: Callable[[str], None]) -> None:
    impostor("read line; echo '{\"ready\": true}'; exec <&-; exec sleep 60")

    def has_replaced_a_deaf_worker(relay: Relay) -> bool:
        relay.set_transceivers({1: ("127.0.0.1", 1)})
        return has_started(relay, 2)

    async with open_relay() as relay:
        await wait_until(partial(has_replaced_a_deaf_worker, relay))


async def test_what_a_worker_says_without_being_asked_to_is_ignored(impostor: Callable[[str], None]) -> None:
    impostor('read line; echo \'{"ready": true}\'; echo \'{"rows": {"00": 1}}\'; echo oops; sleep 60')
    with structlog.testing.capture_logs() as logs:
        async with open_relay():
            await wait_until(lambda: bool(logs))
    assert logs[0]["cause"] == "the worker talked nonsense: control line is not JSON"
