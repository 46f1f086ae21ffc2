"""The three things that a machine can be, each as one task that ends whole."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from voicegate.call import Agent
from voicegate.config import Address, Config
from voicegate.directory import Directory, open_directory
from voicegate.errors import UsageError
from voicegate.relay import Relay
from voicegate.relay.operation import OperationApp
from voicegate.server.back import Back
from voicegate.server.front import run_front
from voicegate.server.handle import RelayServer, Server
from voicegate.server.learn import learn
from voicegate.server.place import hop_of_relay
from voicegate.signalling import serve_app
from voicegate.signalling.api import Access
from voicegate.signalling.fault import RequestRefused, fault_response
from voicegate.signalling.gatekeeper import Gatekeeper
from voicegate.signalling.server import access_policy
from voicegate.worker import make_gate

__all__ = ["serve", "serve_relay", "serve_transceiver"]

FAREWELL_SECONDS: Final = 0.2
"""How long the relay stays after the last call, so that their goodbyes get through it."""


async def serve(
    agent: Agent | None = None,
    config: Config | None = None,
    *,
    owns_process: bool = False,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve calls until cancelled; ``agent`` (default: the one that ``config`` names) answers each.

    A function given here runs in this process, and whatever it does between two awaits makes the frames of
    all calls late. One that is named by ``config`` runs in a process of its own, unless it is a ready one.

    Args:
        agent: What answers calls.
        config: All else.
        owns_process: Whether this process does nothing else, so that its garbage may be collected when no
            frame is due, as it always is in workers.
        task_status: Told once calls can be made.

    Errors: UsageError for an address that is taken or an agent that is not there, or for a function with more
    than one worker.
    Cancellation: ends every call with its goodbyes, then the relay.
    Resources: child processes (of the relay, of workers, of agents), sockets for HTTP and UDP; all gone when
    this returns.
    """
    config = config or Config()
    config.check_role("serve")
    _check_agent(agent, config)
    secrets = config.secrets or (os.urandom(32),)
    async with (
        open_directory(config, secrets=secrets) as directory,
        _open_front(config, directory, secrets) as relay,
    ):
        back = Back(config, directory, secrets=secrets, relay=relay)
        await _run(back, agent, config, owns_process=owns_process, task_status=task_status)


async def serve_transceiver(
    agent: Agent | None = None,
    config: Config | None = None,
    *,
    owns_process: bool = False,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve calls as `serve` does, but those that come through the relays of other machines."""
    config = config or Config()
    config.check_role("transceiver")
    _check_agent(agent, config)
    async with open_directory(config, secrets=config.secrets) as directory:
        # Before a relay is known, an answer leads nowhere, or only to those that the configuration lists.
        await learn(directory, lambda snapshot: snapshot.relays)
        back = Back(config, directory, secrets=config.secrets, relay=None)
        await _run(back, agent, config, owns_process=owns_process, task_status=task_status)


async def serve_relay(
    config: Config, *, task_status: trio.TaskStatus[RelayServer] = trio.TASK_STATUS_IGNORED
) -> None:
    """Be a relay for the transceivers of other machines, until cancelled.

    Errors: UsageError for an address that is taken.
    Cancellation: takes the relay out of the directory, then ends it.
    """
    config.check_role("relay")
    async with open_directory(config, secrets=config.secrets) as directory, trio.open_nursery() as nursery:
        hop = hop_of_relay(config, is_alone=True)
        relay = await nursery.start(partial(run_front, config, directory, secrets=config.secrets, hop=hop))

        def make_app(bound: tuple[str, int]) -> ASGIApp:
            operators = _Operators(config, bound[0])
            return OperationApp(relay, admit=operators.admit, report=directory.report)

        serve_operators = partial(serve_app, make_app, host=config.http.host, port=config.http.port)
        http = await nursery.start(serve_operators)
        task_status.started(RelayServer(http=Address(*http), relay=relay))


class _Operators:
    """Tells operators from others, and from pages that would make use of them."""

    def __init__(self, config: Config, host: str) -> None:
        self._access = access_policy(host, origins=(), hosts=config.hosts)
        self._gatekeeper = Gatekeeper(gate=make_gate(config, config.secrets))

    def admit(self, request: Request) -> Response | None:
        try:
            self._access.check(request.scope["path"], request.headers)
            self._gatekeeper.admit(request, Access.OPERATOR)
        except RequestRefused as refused:
            return fault_response(refused)
        return None


def _check_agent(agent: Agent | None, config: Config) -> None:
    if agent is not None and config.workers > 1:
        raise UsageError(
            f"a function runs in this process, which is one worker, not {config.workers}: "
            "name it in the configuration, as package.module:function"
        )


async def _run(
    back: Back,
    agent: Agent | None,
    config: Config,
    *,
    owns_process: bool,
    task_status: trio.TaskStatus[Server],
) -> None:
    if config.workers == 1:
        await back.run_here(agent, owns_process=owns_process, task_status=task_status)
    else:
        await back.run_in_workers(task_status=task_status)


@asynccontextmanager
async def _open_front(config: Config, directory: Directory, secrets: Sequence[bytes]) -> AsyncIterator[Relay]:
    """Have a relay that outlives the calls, even cancelled with them: it carries their goodbyes."""
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        hop = hop_of_relay(config, is_alone=False)

        async def run(*, task_status: trio.TaskStatus[Relay]) -> None:
            with scope:
                await run_front(config, directory, secrets=secrets, hop=hop, task_status=task_status)

        relay: Relay = await nursery.start(run)
        scope.shield = True
        try:
            yield relay
        finally:
            with trio.move_on_after(FAREWELL_SECONDS, shield=True):
                await trio.sleep_forever()
            scope.cancel()
