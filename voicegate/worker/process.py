"""A worker: a transceiver with its agent, and an HTTP listener that stands for the whole server.

It is driven by its supervisor through `voicegate.worker.control` and ends with it, at the end of stdin, after
goodbyes to its calls.
"""

import os
import signal
import sys
from contextlib import closing, suppress
from functools import partial
from typing import Final, NamedTuple

import structlog
import trio

from voicegate.access import Admission
from voicegate.child.channel import ControlChannel, ControlMessage
from voicegate.errors import VoicegateError
from voicegate.observability import configure_logging
from voicegate.signalling import serve_http, serve_privately
from voicegate.signalling.locate import Locator
from voicegate.signalling.relays import RelayChooser, RelayList
from voicegate.transceiver.collector import open_collector
from voicegate.wire.path import Address
from voicegate.worker.agents import run_agents
from voicegate.worker.calls import LocalCalls, make_gate, make_transceiver, open_port
from voicegate.worker.control import WorkerSettings, worker_socket
from voicegate.worker.shared import SharedCalls

__all__ = ["main", "run_worker"]

_BEAT_INTERVAL: Final = 1.0
"""Seconds between signs of life."""


class _Worker(NamedTuple):
    hop: Address
    calls: LocalCalls
    relays: RelayChooser


def main() -> None:
    """Run a worker on this process's stdin and stdout."""
    # What a signal to all of us means is for the supervisor to say. Handlers, since what is ignored would be
    # ignored by an agent's process, too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    stdin, stdout = os.dup(0), os.dup(1)
    # The channel is ours alone: what an agent prints or reads goes elsewhere.
    os.dup2(2, 1)
    with open(os.devnull) as nothing:  # noqa: PTH123 - there is no Path to speak of
        os.dup2(nothing.fileno(), 0)

    async def converse() -> None:
        stream = trio.StapledStream(trio.lowlevel.FdStream(stdout), trio.lowlevel.FdStream(stdin))
        async with ControlChannel(stream) as control:
            await run_worker(control)

    trio.run(converse)


async def run_worker(control: ControlChannel) -> None:
    """Serve calls until the supervisor is gone, or until the configuration proves impossible.

    Cancellation: ends every call with its goodbyes.
    """
    first = await control.receive()
    if first is None:
        return
    settings = WorkerSettings.from_json(first)
    if settings.logging is not None:
        configure_logging(**settings.logging)
    structlog.contextvars.bind_contextvars(worker=settings.number)
    sys.path[:] = settings.import_path
    cause = ""
    try:
        async with trio.open_nursery() as nursery:
            worker: _Worker = await nursery.start(_serve, settings)
            with suppress(trio.BrokenResourceError):
                await control.send({"ready": True, "hop": worker.hop})
                nursery.start_soon(_beat, control, worker.calls)
                while (order := await control.receive()) is not None:
                    await _obey(order, worker)
            nursery.cancel_scope.cancel()
    except* VoicegateError as group:
        cause = _innermost(group)
    if cause:
        with suppress(trio.BrokenResourceError):
            await control.send({"error": cause})


async def _serve(settings: WorkerSettings, *, task_status: trio.TaskStatus[_Worker]) -> None:
    config = settings.config
    locator = Locator(config)
    with closing(open_port(*settings.hop)) as port, open_collector() as collector:
        async with trio.open_nursery() as nursery:
            agents = await nursery.start(run_agents, config)
            transceiver = make_transceiver(
                port,
                config,
                agents=agents,
                secrets=settings.secrets,
                transceiver_id=settings.transceiver_id,
                collector=collector,
            )
            relays = RelayChooser(config)
            relays.update(settings.relays)
            await nursery.start(transceiver.run)
            own = LocalCalls(
                transceiver,
                agents=agents,
                admission=Admission(
                    max_calls=config.max_calls,
                    max_calls_per_client=config.max_calls_per_client,
                    number=settings.number,
                    count=settings.count,
                ),
                max_call_seconds=config.max_call_seconds,
                answer_candidates=relays.choose,
                reports=(locator.report, relays.report),
            )
            if settings.drain_seconds is not None:
                await own.begin_drain(seconds=settings.drain_seconds)
            await nursery.start(serve_privately, own, worker_socket(settings.folder, transceiver.id))
            shared = SharedCalls(
                own, transceiver_id=transceiver.id, folder=settings.folder, region=config.region
            )
            await nursery.start(
                partial(
                    serve_http,
                    shared,
                    host=config.http.host,
                    port=config.http.port,
                    origins=config.cors_origins,
                    hosts=config.hosts,
                    gate=make_gate(config, settings.secrets),
                    ice_servers=config.ice_servers,
                    locator=locator,
                    is_shared=True,
                )
            )
            task_status.started(_Worker(port.address, own, relays))


async def _obey(order: ControlMessage, worker: _Worker) -> None:
    match order:
        case {"drain": None}:
            await worker.calls.end_drain()
        case {"drain": seconds}:
            await worker.calls.begin_drain(seconds=seconds)
        case {"retire": True}:
            worker.calls.transceiver.retire()
        case {"relays": listed}:
            worker.relays.update(RelayList.decode(listed))
        case _:
            pass  # Of a supervisor that was brought up to date before its workers.


async def _beat(control: ControlChannel, calls: LocalCalls) -> None:
    with suppress(trio.BrokenResourceError):
        while True:
            changed = calls.transceiver.changed
            await control.send({"calls": calls.call_count, "is_draining": calls.transceiver.is_draining})
            with trio.move_on_after(_BEAT_INTERVAL):
                await changed.wait()


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)
