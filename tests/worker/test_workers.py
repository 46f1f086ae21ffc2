"""A server with worker processes, as its operators start it: real processes and sockets, hence real time."""

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx2
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

import voicegate
from tests.harness import make_client
from voicegate.testing.client import ClientState
from voicegate.testing.phone import Phone, open_phone
from voicegate.transceiver.call_id import transceiver_id_of
from voicegate.worker import Workers

pytestmark = pytest.mark.slow

Spawned = Callable[[], set[int]]


class Place:
    """A server with two workers; the kernel leads each request to one of them."""

    def __init__(self, server: voicegate.Server, http: httpx2.AsyncClient) -> None:
        assert server.workers is not None
        self.server = server
        self.workers = server.workers
        self._http = http

    async def ask(self, method: str, path: str) -> httpx2.Response:
        return await self._http.request(method, path)

    async def status(self, phone: Phone) -> int:
        return (await self.ask("GET", f"/v1/sessions/{phone.call_id}")).status_code

    async def scrape(self, name: str) -> dict[str, float]:
        """Return a metric by worker."""
        families = text_string_to_metric_families((await self.ask("GET", "/metrics")).text)
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return {sample.labels.get("worker", ""): sample.value for sample in samples}


@asynccontextmanager
async def open_place(**settings: object) -> AsyncIterator[Place]:
    config = voicegate.Config(
        **{"http": "127.0.0.1:0", "udp": "127.0.0.1:0", "agent": "echo", "workers": 2, **settings}  # type: ignore[arg-type]
    )
    with trio.fail_after(240):
        async with trio.open_nursery() as nursery:
            server = await nursery.start(partial(voicegate.serve, None, config))
            async with httpx2.AsyncClient(
                base_url=server.url,
                trust_env=False,
                timeout=60,
                limits=httpx2.Limits(max_keepalive_connections=0),
            ) as http:
                yield Place(server, http)
            nursery.cancel_scope.cancel()


async def keep_phone(url: str, *, task_status: trio.TaskStatus[Phone]) -> None:
    async with open_phone(url, make_client()) as phone:
        await phone.wait_connected()
        task_status.started(phone)
        await trio.sleep_forever()


def owner(phone: Phone) -> int:
    found = transceiver_id_of(phone.call_id)
    assert found is not None
    return found


async def wait_ended(phone: Phone) -> None:
    await phone.wait_until(lambda: phone.core.state is ClientState.CLOSED)


def contents(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        await trio.sleep(0.01)


async def test_workers_are_one_server_to_those_who_ask(
    tmp_path: Path, spawned: Spawned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("voicegate.worker.keeper.ANSWER_SECONDS", 60.0)
    async with trio.open_nursery() as nursery, open_place(max_calls=5) as place:
        with pytest.raises(voicegate.UsageError, match=r"Server\.workers"):
            _ = place.server.transceiver
        phones: list[Phone] = [await nursery.start(keep_phone, place.server.url) for _ in range(5)]
        # Wherever the kernel led the offers, one that found no room was handed over.
        assert sorted(Counter(map(owner, phones)).values()) == [2, 3]
        with pytest.raises(AssertionError, match=r"503.*no_capacity"):
            async with open_phone(place.server.url, make_client()):
                pass
        assert (await place.ask("GET", "/readyz")).status_code == 200
        assert (await place.ask("GET", "/healthz")).status_code == 200
        listed = (await place.ask("GET", "/v1/sessions")).json()["sessions"]
        assert {session["id"] for session in listed} == {phone.call_id for phone in phones}
        assert await place.scrape("voicegate_calls") in ({"0": 3, "1": 2}, {"0": 2, "1": 3})
        assert await place.scrape("voicegate_relay_workers") == {"": 1}
        assert await place.scrape("voicegate_workers") == {"": 2}
        for phone in phones:
            assert [await place.status(phone) for _ in range(3)] == [200] * 3
            assert (await place.ask("DELETE", phone.url)).status_code == 200
            await wait_ended(phone)
            ended = (await place.ask("GET", f"/v1/sessions/{phone.call_id}")).json()
            assert ended["cause"] == "client_hangup"
            assert (await place.ask("POST", f"{phone.url}/hangup")).status_code == 404
        (folder,) = contents(tmp_path)
        assert folder.stat().st_mode & 0o777 == 0o700
        nursery.cancel_scope.cancel()
    assert spawned() == set()
    assert contents(tmp_path) == []


async def test_a_workers_death_ends_only_its_calls_and_another_takes_its_place(
    spawned: Spawned, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is we who end the one that hangs, however long the questions before take.
    monkeypatch.setattr("voicegate.child.keeper._HEARTBEATS_MISSED", 10_000)
    async with trio.open_nursery() as nursery:
        async with open_place() as place:
            phones: dict[int, Phone] = {}

            async def call_until(count: int) -> None:
                while len(phones) < count:
                    phone = await nursery.start(keep_phone, place.server.url)
                    phones[owner(phone)] = phone

            await call_until(2)
            assert all(len(os.sched_getaffinity(pid)) == 1 for pid in place.workers.pids)
            untouched = (await place.scrape("voicegate_calls"))["1"]
            victim = place.workers.pids[0]
            os.kill(victim, signal.SIGSTOP)
            await check_without_first(place.workers)
            os.kill(victim, signal.SIGKILL)
            await wait_until(lambda: place.workers.workers_started == 3)
            assert victim not in place.workers.pids
            assert len(place.workers.pids) == 2
            states = {id_: await place.status(phone) for id_, phone in phones.items()}
            (dead,) = (id_ for id_, status in states.items() if status == 404)
            (living,) = (id_ for id_, status in states.items() if status == 200)
            heard = len(phones[living].core.heard)
            await phones[living].wait_until(lambda: len(phones[living].core.heard) > heard)
            assert (await place.scrape("voicegate_calls"))["1"] == untouched
            assert (await place.scrape("voicegate_workers_started")) == {"": 3}
            await call_until(3)
            del phones[dead]
            assert {phone.core.state for phone in phones.values()} == {ClientState.CONNECTED}
        # The server is gone: all calls that were left heard its goodbye.
        for phone in phones.values():
            await wait_ended(phone)
        nursery.cancel_scope.cancel()
    assert spawned() == set()


async def check_without_first(workers: Workers) -> None:
    """See that a worker that hangs, not yet found out, holds nothing up for good.

    On a machine that stalls the other one may be late, too, but not always.
    """
    while not (sessions := await workers.sessions()):
        pass
    assert len({transceiver_id_of(str(session["id"])) for session in sessions}) == 1
    while b'{worker="1"}' not in (metrics := await workers.metrics()):
        pass
    assert b'{worker="0"}' not in metrics
    while not await workers.is_ready():
        pass
    created = await workers.create_call(make_client().offer(), session=None, client="192.0.2.1")
    assert await workers.session(created.id) is not None
    assert await workers.end_call(created.id)
    assert await workers.session("rtc_1") is None
    assert not await workers.end_call("rtc_1")


async def test_workers_that_cannot_start_say_why(spawned: Spawned) -> None:
    fault = pytest.RaisesExc(voicegate.UsageError, match="'nobody': neither one of echo")
    with pytest.RaisesGroup(fault, flatten_subgroups=True):
        async with open_place(agent="nobody"):
            pass
    assert spawned() == set()


async def test_an_address_in_use_is_named() -> None:
    with trio.socket.socket() as taken:
        await taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fault = pytest.RaisesExc(
            voicegate.UsageError, match=f"127.0.0.1:{port} for HTTP: Address already in use"
        )
        with pytest.RaisesGroup(fault, flatten_subgroups=True):
            async with open_place(http=f"127.0.0.1:{port}"):
                pass


async def echo(call: voicegate.Call) -> None:
    async for frame in call.audio_in:
        call.audio_out.send_nowait(frame.pcm)


async def test_a_function_cannot_be_in_several_processes() -> None:
    with pytest.raises(voicegate.UsageError, match="not 2: name it in the configuration"):
        await voicegate.serve(echo, voicegate.Config(workers=2))
