"""Whole machines: real transceivers, and workers in processes of their own, behind real HTTP and TLS."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial

import httpx2
import pytest
import trio

from tests.fleet.conftest import SECRET, Box, Cluster, Machine
from tests.harness import make_client
from tests.signalling.test_websocket import connect
from tests.signalling.test_whip import CANDIDATES, FRAGMENT, SDP
from tests.worker import patient
from voicegate.access import Admission
from voicegate.config import Address, Config
from voicegate.directory import MemoryDirectory, RelayLease
from voicegate.fleet import FleetCalls, run_peer_listener
from voicegate.sdp import IceFragment
from voicegate.sdp.candidate import host_candidates
from voicegate.transceiver.call_id import transceiver_id_of
from voicegate.worker import LocalCalls, Workers, make_transceiver, open_port, run_agents, run_workers

pytestmark = pytest.mark.slow

CANDIDATE = host_candidates(udp=[("127.0.0.1", 9)])


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls whose clients never come last in this process, too."""
    monkeypatch.setattr("voicegate.transceiver.core.CHECK_SECONDS", patient.SECONDS)


def id_of(location: str) -> str:
    return location.rpartition("/")[2]


async def run_local(
    number: int, slots: int, *, task_status: trio.TaskStatus[LocalCalls] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a transceiver in this process."""
    config = Config(agent="echo")
    with closing(open_port("127.0.0.1")) as port:
        async with trio.open_nursery() as nursery:
            agents = await nursery.start(run_agents, config)
            transceiver = make_transceiver(
                port, config, agents=agents, secrets=[SECRET], transceiver_id=number
            )
            transceiver.candidates = CANDIDATE
            await nursery.start(transceiver.run)
            admission = Admission(max_calls=slots)
            task_status.started(
                LocalCalls(transceiver, agents=agents, admission=admission, max_call_seconds=60)
            )


async def start_locals(cluster: Cluster, *slots: int) -> list[Machine]:
    return [
        await cluster.start(await cluster.nursery.start(run_local, number, each))
        for number, each in enumerate(slots, start=1)
    ]


async def test_by_whip_a_call_is_had_by_any_machine(cluster: Cluster) -> None:
    a, b = await start_locals(cluster, 0, 9)
    created = await a.ask("POST", "/v1/whip", content=make_client().offer(), headers=SDP)
    assert created.status_code == 201
    call, tag = created.headers["location"], created.headers["etag"]
    assert transceiver_id_of(id_of(call)) == 2
    for machine in (a, b):
        headers = {**FRAGMENT, "if-match": tag}
        trickled = await machine.ask("PATCH", call, content=CANDIDATES, headers=headers)
        assert (trickled.status_code, trickled.content) == (204, b"")
    for machine, ufrag in ((a, "abcd"), (b, "efgh")):
        credentials = f"a=ice-ufrag:{ufrag}\r\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa\r\n"
        headers = {**FRAGMENT, "if-match": "*"}
        restarted = await machine.ask("PATCH", call, content=credentials + CANDIDATES, headers=headers)
        assert restarted.status_code == 200
        assert restarted.headers["content-type"] == FRAGMENT["content-type"]
        assert restarted.headers["etag"] != tag
        assert IceFragment.decode(restarted.text).credentials is not None
    late = await a.ask("PATCH", call, content=CANDIDATES, headers={**FRAGMENT, "if-match": tag})
    assert late.status_code == 412
    assert (await a.ask("DELETE", call)).status_code == 200
    assert (await b.ask("DELETE", call)).status_code == 404


async def test_sidebands_and_sessions_are_those_of_the_machine_with_room(cluster: Cluster) -> None:
    a, b = await start_locals(cluster, 0, 2)
    made = await a.ask("POST", "/v1/realtime/calls", json={"sdp": make_client().offer()})
    call_id = id_of(made.headers["location"])
    async with connect(a.address, f"/v1/realtime?call_id={call_id}") as socket:
        assert json.loads(await socket.get_message())["type"] == "session.created"
    async with connect(a.address, "/v1/realtime?model=m") as socket:
        created = json.loads(await socket.get_message())
        assert (created["type"], created["session"]["model"]) == ("session.created", "m")
        refused = await a.ask("POST", "/v1/realtime/calls", json={"sdp": make_client().offer()})
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert len(await b.fleet.sessions()) == 2


async def test_a_machine_that_drains_hands_on_and_keeps_what_it_has(cluster: Cluster) -> None:
    a, _ = await start_locals(cluster, 9, 9)

    async def call() -> str:
        made = await a.ask("POST", "/v1/realtime/calls", json={"sdp": make_client().offer()})
        assert made.status_code == 201
        return id_of(made.headers["location"])

    before = await call()
    await a.fleet.begin_drain(seconds=60)
    after = await call()
    assert [transceiver_id_of(each) for each in (before, after)] == [1, 2]
    assert not await a.fleet.is_ready()
    for call_id in (before, after):
        assert (await a.ask("GET", f"/v1/sessions/{call_id}")).json()["state"] != "ended"


# With workers


async def run_machine(
    directory: MemoryDirectory,
    *,
    max_calls: int,
    region: str = "",
    task_status: trio.TaskStatus[Workers] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a machine with two workers."""
    config = Config(http="127.0.0.1:0", agent=patient.NAME, workers=2, max_calls=max_calls, region=region)
    directory.register_relay("here", RelayLease(udp=(("127.0.0.1", 9),)))
    async with trio.open_nursery() as nursery:
        run = partial(
            run_workers,
            config,
            secrets=[SECRET],
            hop_host="127.0.0.1",
            directory=directory,
            wrap=lambda workers: FleetCalls(workers, directory, secrets=[SECRET], region=region),
        )
        workers: Workers = await nursery.start(run)
        peer = Address(*await nursery.start(run_peer_listener, workers, ("127.0.0.1", 0), [SECRET]))
        workers.set_addresses(hop_host="127.0.0.1", peer=peer)
        task_status.started(workers)


@asynccontextmanager
async def open_http(workers: Workers) -> AsyncIterator[httpx2.AsyncClient]:
    # A connection each, so that any worker may get the request.
    limits = httpx2.Limits(max_keepalive_connections=0)
    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{workers.http.port}", trust_env=False, timeout=60, limits=limits
    ) as http:
        yield http


async def test_workers_reach_other_machines_by_their_supervisor(nursery: trio.Nursery) -> None:
    directory = MemoryDirectory()
    with trio.fail_after(120):
        a, b = [
            await nursery.start(partial(run_machine, directory, max_calls=slots, region=region))
            for slots, region in ((2, "us"), (3, "eu"))
        ]
        # A session each for the workers here, then one for the other machine, through a tunnel.
        async with AsyncExitStack() as stack:
            for _ in range(3):
                socket = await stack.enter_async_context(connect(("127.0.0.1", a.http.port)))
                assert json.loads(await socket.get_message())["type"] == "session.created"
            assert [len(await each.sessions()) for each in (a, b)] == [2, 1]
        for machine in (a, b):
            while await machine.sessions():
                await trio.sleep(0.01)
        async with open_http(a) as http, open_http(b) as there:
            made = [await http.post("/v1/whip", content=make_client().offer(), headers=SDP) for _ in range(5)]
            assert [each.status_code for each in made] == [201] * 5
            calls = [each.headers["location"] for each in made]
            owners = [transceiver_id_of(id_of(call)) for call in calls]
            assert [owner in a.transceiver_ids for owner in owners] == [True] * 2 + [False] * 3
            refused = await http.post("/v1/whip", content=make_client().offer(), headers=SDP)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_capacity")
            assert int(refused.headers["retry-after"]) > 0
            # Whichever worker of whichever machine is asked.
            for asked in (http, http, there, there):
                for call in calls:
                    described = await asked.get(f"/v1/sessions/{id_of(call)}")
                    assert described.status_code == 200
                    trickled = await asked.patch(
                        call, content=CANDIDATES, headers={**FRAGMENT, "if-match": "*"}
                    )
                    assert trickled.status_code == 204
            for n, call in enumerate(calls):
                port = (a, b)[n % 2].http.port
                async with connect(("127.0.0.1", port), f"/v1/realtime?call_id={id_of(call)}") as socket:
                    assert json.loads(await socket.get_message())["type"] == "session.created"
            for call in calls:
                assert (await http.delete(call)).status_code == 200
                assert (await there.delete(call)).status_code == 404
            unknown = Box(0xFFF).call_id(0)
            assert (await http.delete(f"/v1/whip/{unknown}")).status_code == 404
        nursery.cancel_scope.cancel()
