"""A worker in this process, its supervisor being the test; the sockets are real."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
from trio.testing import memory_stream_pair

from tests.harness import make_client
from voicegate.child.channel import ControlChannel, ControlMessage
from voicegate.config import Address, Config
from voicegate.directory import RelayLease
from voicegate.signalling import RemoteCalls, RequestRefused, UnixDoor, hold_address
from voicegate.signalling.relays import RelayList
from voicegate.transceiver.call_id import transceiver_id_of
from voicegate.worker.control import WorkerSettings, worker_socket
from voicegate.worker.process import run_worker

pytestmark = pytest.mark.slow


async def receive(control: ControlChannel) -> ControlMessage:
    message = await control.receive()
    assert message is not None
    return message


@asynccontextmanager
async def open_worker(**settings: object) -> AsyncIterator[tuple[ControlChannel, Path]]:
    """Run a worker; leaving closes its stdin and waits for its end."""
    here, there = memory_stream_pair()
    with trio.fail_after(120), TemporaryDirectory() as folder, await hold_address("127.0.0.1", 0) as held:
        config = Config(**{"http": held.getsockname(), "agent": "echo", **settings})
        first = WorkerSettings(
            number=0,
            count=1,
            transceiver_id=17,
            config=config,
            secrets=[bytes(16)],
            hop=Address("127.0.0.1", 0),
            relays=RelayList({"here": RelayLease(udp=(("127.0.0.1", 9),))}),
            folder=Path(folder),
            import_path=list(sys.path),
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_worker, ControlChannel(there))
            async with ControlChannel(here) as control:
                await control.send(first.to_json())
                yield control, Path(folder)


async def test_a_worker_says_where_it_takes_packets_and_how_many_calls_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voicegate.worker.process._BEAT_INTERVAL", 0.01)
    async with open_worker() as (control, folder):
        ready = await receive(control)
        assert ready["ready"] is True
        assert ready["hop"][0] == "127.0.0.1"
        assert await receive(control) == {"calls": 0, "is_draining": False}
        calls = RemoteCalls(UnixDoor(worker_socket(folder, 17)), agent_name="echo")
        created = await calls.create_call(make_client().offer(), session=None, client="192.0.2.1")
        assert transceiver_id_of(created.id) == 17
        assert "127.0.0.1 9 typ host" in created.answer
        while await receive(control) != {"calls": 1, "is_draining": False}:
            pass
        assert b"voicegate_gc_pause_ms" in await calls.metrics()
        assert await calls.is_ready()
    assert not await calls.is_ready()


async def test_a_client_is_counted_wherever_its_offers_arrive() -> None:
    async with open_worker(max_pending_calls_per_client=1) as (control, folder):
        await receive(control)
        calls = RemoteCalls(UnixDoor(worker_socket(folder, 17)), agent_name="echo")
        for client in ("192.0.2.1", "192.0.2.2"):
            await calls.create_call(make_client().offer(), session=None, client=client)
        with pytest.raises(RequestRefused) as caught:
            await calls.create_call(make_client().offer(), session=None, client="192.0.2.1")
        assert caught.value.code == "too_many_pending_calls"


async def test_a_worker_that_cannot_serve_says_why_and_ends() -> None:
    async with open_worker(agent="nobody") as (control, _):
        assert "'nobody'" in (await receive(control))["error"]


async def test_a_worker_without_supervisor_ends_at_once() -> None:
    here, there = memory_stream_pair()
    await here.aclose()
    with trio.fail_after(120):
        await run_worker(ControlChannel(there))


def test_a_worker_is_a_module_that_talks_on_its_stdio() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "voicegate.worker"], stdin=subprocess.DEVNULL, capture_output=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
