"""Workers that go away, stay, die meanwhile, and are told where relays are: real processes, no relay."""

import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import httpx2
import pytest
import trio
import trio_websocket

from tests.harness import make_client
from tests.worker import patient
from voicegate.config import Address, Config
from voicegate.directory import MemoryDirectory, RelayLease, TransceiverLease
from voicegate.signalling import CallService, RequestRefused
from voicegate.worker import Workers, run_workers

pytestmark = pytest.mark.slow

GOING_AWAY = "voicegate.going_away"
RELAY = RelayLease(udp=(("192.0.2.7", 3478),), tcp=(("192.0.2.7", 443),), region="eu")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the workers of a machine that stalls."""
    for name in ("keeper", "supervisor"):
        monkeypatch.setattr(f"voicegate.worker.{name}.ANSWER_SECONDS", 60.0)


class Place:
    """Some workers, and what the directory knows of them."""

    def __init__(self, workers: Workers, directory: MemoryDirectory) -> None:
        self.workers = workers
        self.directory = directory

    @property
    def leases(self) -> dict[int, TransceiverLease]:
        return dict(self.directory.snapshot().transceivers)

    async def call(self) -> tuple[str, str]:
        """Make a call; returns its id and its answer."""
        created = await self.workers.create_call(make_client().offer(), session=None, client="192.0.2.1")
        return created.id, created.answer

    async def refusal(self) -> str | None:
        """Return why no call can be made."""
        try:
            await self.call()
        except RequestRefused as refused:
            return refused.code
        return None

    async def ask(self, method: str, path: str, **rest: Any) -> httpx2.Response:
        limits = httpx2.Limits(max_keepalive_connections=0)
        url = f"http://{self.workers.http}"
        async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=60, limits=limits) as http:
            return await http.request(method, path, **rest)

    async def listen(
        self, events: list[dict[str, Any]], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Be a client with a session over a socket, until it is closed."""
        async with (
            await trio.open_tcp_stream(*self.workers.http) as stream,
            trio.open_nursery() as nursery,
        ):
            socket = await trio_websocket.wrap_client_stream(nursery, stream, "localhost", "/v1/realtime")
            with suppress(trio_websocket.ConnectionClosed):
                events.append(json.loads(await socket.get_message()))
                task_status.started()
                while True:
                    events.append(json.loads(await socket.get_message()))
            assert socket.closed is not None
            events.append({"type": "closed", "code": socket.closed.code})
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_place(
    *, wrap: Callable[[Any], Any] | None = None, hop: Address | None = None, **given: Any
) -> AsyncIterator[Place]:
    settings = {"http": "127.0.0.1:0", "agent": patient.NAME, "workers": 2, **given}
    directory = MemoryDirectory()
    directory.register_relay("here", RelayLease(udp=(("127.0.0.1", 9),)))
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            workers = await nursery.start(
                partial(
                    run_workers,
                    Config(**settings),
                    secrets=[bytes(16)],
                    hop_host="127.0.0.1",
                    hop=hop,
                    directory=directory,
                    wrap=wrap,
                )
            )
            yield Place(workers, directory)
            nursery.cancel_scope.cancel()


async def wait_until(condition: Callable[[], object]) -> None:
    while not condition():
        await trio.sleep(0.01)


async def test_a_drain_reaches_all_workers_and_their_clients_and_is_undone(nursery: trio.Nursery) -> None:
    async with open_place() as place:
        assert {lease.is_draining for lease in place.leases.values()} == {False}
        call_id, _ = await place.call()
        sockets: list[list[dict[str, Any]]] = [[], []]
        for events in sockets:
            await nursery.start(place.listen, events)
        begun = (await place.ask("POST", "/v1/drain", json={"seconds": 600})).json()
        assert begun["is_draining"]
        assert 0 < begun["seconds_left"] <= 600
        # From here on it is exact: not one more, at no worker.
        assert [await place.refusal() for _ in range(4)] == ["draining"] * 4
        offer = {"sdp": make_client().offer()}
        offered = [await place.ask("POST", "/v1/realtime/calls", json=offer) for _ in range(4)]
        assert {(answer.status_code, answer.json()["error"]["code"]) for answer in offered} == {
            (503, "draining")
        }
        assert all(int(answer.headers["retry-after"]) > 0 for answer in offered)
        assert {lease.is_draining for lease in place.leases.values()} == {True}
        for events in sockets:
            await wait_until(lambda events=events: any(each["type"] == GOING_AWAY for each in events))  # type: ignore[misc]
        assert (await place.ask("GET", "/readyz")).json()["error"]["code"] == "draining"
        assert (await place.ask("GET", "/healthz")).status_code == 200
        # They are told of a moment later.
        while (await place.ask("GET", "/v1/drain")).json()["calls"] != 3:
            await trio.sleep(0.01)
        assert not (await place.ask("DELETE", "/v1/drain")).json()["is_draining"]
        assert (await place.ask("GET", "/readyz")).status_code == 200
        assert await place.refusal() is None
        assert {lease.is_draining for lease in place.leases.values()} == {False}
        # The second time they end.
        await place.workers.begin_drain(seconds=0.5)
        await place.workers.wait_empty()
        for events in sockets:
            await wait_until(lambda events=events: events[-1] == {"type": "closed", "code": 1001})  # type: ignore[misc]
        ended = await place.workers.session(call_id)
        assert ended is not None
        assert ended["cause"] == "server_drained"
        assert (await place.workers.drain_state()).calls == 0


async def test_a_worker_that_takes_a_place_during_a_drain_drains() -> None:
    async with open_place() as place:
        await place.call()
        await place.workers.begin_drain(seconds=600)
        before, victims = set(place.leases), place.workers.pids
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        await wait_until(lambda: place.workers.workers_started == 4)
        await wait_until(lambda: len(place.leases) == 2)
        assert not before & set(place.leases)
        assert {lease.is_draining for lease in place.leases.values()} == {True}
        assert [await place.refusal() for _ in range(3)] == ["draining"] * 3
        await place.workers.wait_empty()
        await place.workers.end_drain()
        assert await place.refusal() is None
        assert {lease.is_draining for lease in place.leases.values()} == {False}


async def test_a_worker_that_dies_while_it_is_told_holds_nothing_up() -> None:
    async with open_place() as place:
        victim = place.workers.pids[0]
        os.kill(victim, signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(place.workers.begin_drain, seconds=600))
            await trio.sleep(0.05)
            os.kill(victim, signal.SIGKILL)
        await wait_until(lambda: place.workers.workers_started == 3)
        assert [await place.refusal() for _ in range(3)] == ["draining"] * 3


async def test_leases_say_how_many_calls_there_are_and_where() -> None:
    async with open_place(max_calls=5, region="eu", hop=Address("0.0.0.0", 0)) as place:
        assert sorted(lease.max_calls for lease in place.leases.values()) == [2, 3]
        assert {(lease.hop[0], lease.region) for lease in place.leases.values()} == {("127.0.0.1", "eu")}
        assert len({lease.hop for lease in place.leases.values()}) == 2
        for _ in range(5):
            await place.call()
        await wait_until(lambda: sorted(lease.calls for lease in place.leases.values()) == [2, 3])
        ports = {lease.hop[1] for lease in place.leases.values()}
        place.workers.set_addresses(hop_host="127.0.0.2", peer=Address("127.0.0.2", 7))
        assert {lease.hop for lease in place.leases.values()} == {("127.0.0.2", port) for port in ports}
        assert {lease.peer for lease in place.leases.values()} == {("127.0.0.2", 7)}
        assert sum(lease.calls for lease in place.leases.values()) == 5


async def test_answers_name_the_relays_that_workers_are_told_of() -> None:
    async with open_place() as place:
        assert "127.0.0.1 9 typ host" in (await place.call())[1]
        place.workers.set_relays({"a": RELAY})

        async def answer() -> str:
            call_id, said = await place.call()
            await place.workers.end_call(call_id)
            return said

        async def wait_for(text: str) -> None:
            while any([text not in await answer() for _ in range(4)]):
                await trio.sleep(0.01)

        await wait_for("192.0.2.7 3478 typ host")
        os.kill(place.workers.pids[0], signal.SIGKILL)
        await wait_until(lambda: place.workers.workers_started == 3)
        answers = [await answer() for _ in range(4)]
        assert all("192.0.2.7 3478 typ host" in said and "127.0.0.1 9" not in said for said in answers)
        place.workers.set_relays({})
        while any([await place.refusal() != "no_relay" for _ in range(4)]):
            await trio.sleep(0.01)


async def test_a_worker_whose_id_somebody_else_has_retires_and_is_replaced() -> None:
    async with open_place() as place:
        # They are shared out although no worker has told yet how many it has.
        calls = {(await place.call())[0] for _ in range(4)}
        await wait_until(lambda: all(lease.calls for lease in place.leases.values()))
        lost = min(place.leases)
        assert place.workers.retire(lost)
        assert not place.workers.retire(lost)
        assert not place.workers.retire(0)
        assert place.leases[lost].is_draining
        assert b"voicegate_workers_retired 1.0" in await place.workers.metrics()
        assert await place.refusal() is None
        assert await place.workers.is_ready()
        assert not (await place.workers.drain_state()).is_draining
        for call_id in calls:
            assert await place.workers.session(call_id) is not None
            assert await place.workers.end_call(call_id)
        await wait_until(lambda: place.workers.workers_started == 3 and len(place.leases) == 2)
        assert lost not in place.leases
        assert {lease.is_draining for lease in place.leases.values()} == {False}


async def test_workers_ask_whoever_their_supervisor_is_wrapped_in() -> None:
    asked: list[str] = []

    class Wrapped:
        """All of the workers, with an eye on it."""

        def __init__(self, service: CallService) -> None:
            self._service = service

        def __getattr__(self, name: str) -> object:
            asked.append(name)
            return getattr(self._service, name)

    async with open_place(workers=1, max_calls=1, wrap=Wrapped) as place:
        await place.call()
        assert (await place.ask("GET", "/v1/sessions")).status_code == 200
    assert "sessions" in asked
