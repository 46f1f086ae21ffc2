"""Servers in processes of their own, which may run in a network namespace.

A module of agents calls `run_module` when it is the main program; a test runs it with `open_server`.
"""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

import voicegate
from voicegate.bench.place import Place
from voicegate.observability import configure_logging

__all__ = ["open_server", "run_module"]


@asynccontextmanager
async def open_server(module: str, place: Place, **set_up: object) -> AsyncIterator[int]:
    """Run a module of agents, with `voicegate.config.SetUp`; gives the port of HTTP."""
    command = [sys.executable, "-m", module, place.address, json.dumps(set_up)]
    process = await trio.lowlevel.open_process(place.wrap(command), stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with process.stdout:
            yield int(await process.stdout.receive_some())
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            await process.wait()


def run_module(agent: Callable[[voicegate.Server, voicegate.Call], Awaitable[None]]) -> None:
    """Serve with an agent that is told which server it belongs to."""
    configure_logging(level="warning")
    trio.run(_serve, agent, sys.argv[1], json.loads(sys.argv[2]))


async def _serve(
    agent: Callable[[voicegate.Server, voicegate.Call], Awaitable[None]],
    address: str,
    set_up: dict[str, object],
) -> None:
    async def serve_call(call: voicegate.Call) -> None:
        await agent(server, call)

    config = voicegate.Config(http="127.0.0.1:0", udp=f"{address}:0", set_up=set_up)
    async with trio.open_nursery() as nursery:
        server: voicegate.Server = await nursery.start(partial(voicegate.serve, serve_call, config))
        server.transceiver.has_api = False
        sys.stdout.write(f"{server.http.port}\n")
        sys.stdout.flush()
