"""Everything on one machine: relay processes, transceivers and signalling, as one task that ends whole.

Layer: shell (Trio).
"""

import os
from collections.abc import Sequence
from contextlib import closing, nullcontext
from functools import partial
from typing import Final

import attrs
import trio

from voicegate.access import Admission
from voicegate.call import Agent
from voicegate.config import Address, Config
from voicegate.directory import MemoryDirectory
from voicegate.errors import UsageError
from voicegate.relay import Relay, RelayConfig, run_relay
from voicegate.sdp import Candidate
from voicegate.sdp.candidate import host_candidates
from voicegate.signalling import serve_http
from voicegate.transceiver import Transceiver
from voicegate.transceiver.collector import Collector, open_collector
from voicegate.worker import (
    LocalCalls,
    Workers,
    make_gate,
    make_transceiver,
    new_transceiver_id,
    open_port,
    run_agents,
    run_workers,
)

__all__ = ["Server", "serve"]

FAREWELL_SECONDS: Final = 0.2
"""How long the relay stays after the last call, so that their goodbyes get through it."""


@attrs.frozen(kw_only=True)
class Server:
    """What `serve` bound, and the parts that run behind it."""

    http: Address
    udp: Address
    """The relay's first public address; ``relay.public`` has all."""
    relay: Relay
    workers: Workers | None = None
    """Those that have the calls; None when this process has them."""
    _transceiver: Transceiver | None = None

    @property
    def transceiver(self) -> Transceiver:
        """What has the calls.

        Errors: UsageError when workers have them.
        """
        if self._transceiver is None:
            raise UsageError("the calls are in other processes: see `Server.workers`")
        return self._transceiver

    @property
    def url(self) -> str:
        """Where a browser finds the page."""
        host = Address("127.0.0.1", self.http.port) if self.http.is_wildcard else self.http
        return f"http://{host}/"


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
    if agent is not None and config.workers > 1:
        raise UsageError(
            f"a function runs in this process, which is one worker, not {config.workers}: "
            "name it in the configuration, as package.module:function"
        )
    secrets = config.secrets or (os.urandom(32),)
    directory = MemoryDirectory()
    relay_config = RelayConfig(
        secrets=secrets,
        public=config.udp,
        hop=(_hop_host(config), 0),
        streams=config.udp if config.tcp is None else config.tcp,
        tls=[str(path) for path in (config.tls_certificate, config.tls_key) if path],
        workers=config.relay_workers,
        flow_limit=config.relay_flows,
    )
    async with trio.open_nursery() as nursery:
        relay_scope = trio.CancelScope()
        relay = await nursery.start(_run_relay, relay_config, directory, relay_scope)
        # From here on the relay outlives the calls, even cancelled with them: it carries their goodbyes.
        relay_scope.shield = True
        try:
            if config.workers == 1:
                with open_collector() if owns_process else nullcontext() as collector:
                    await _serve_calls(agent, config, secrets, directory, relay, collector, task_status)
            else:
                await _serve_workers(config, secrets, directory, relay, task_status)
        finally:
            with trio.move_on_after(FAREWELL_SECONDS, shield=True):
                await trio.sleep_forever()
            relay_scope.cancel()


async def _serve_calls(
    agent: Agent | None,
    config: Config,
    secrets: Sequence[bytes],
    directory: MemoryDirectory,
    relay: Relay,
    collector: Collector | None,
    task_status: trio.TaskStatus[Server],
) -> None:
    """Have the calls in this process."""
    with closing(open_port(_hop_host(config))) as port:
        async with trio.open_nursery() as nursery:
            agents = await nursery.start(partial(run_agents, config, agent=agent))
            transceiver = make_transceiver(
                port,
                config,
                agents=agents,
                secrets=secrets,
                transceiver_id=new_transceiver_id(config.cluster),
                collector=collector,
            )
            transceiver.candidates = _candidates(config, relay)
            directory.register(transceiver.id, port.address)
            await nursery.start(transceiver.run)
            calls = LocalCalls(
                transceiver,
                agents=agents,
                admission=Admission(
                    max_calls=config.max_calls, max_calls_per_client=config.max_calls_per_client
                ),
                max_call_seconds=config.max_call_seconds,
                relay=relay,
            )
            http = await nursery.start(
                partial(
                    serve_http,
                    calls,
                    host=config.http.host,
                    port=config.http.port,
                    origins=config.cors_origins,
                    hosts=config.hosts,
                    gate=make_gate(config, secrets),
                    ice_servers=config.ice_servers,
                )
            )
            task_status.started(
                Server(
                    http=Address(*http),
                    udp=Address(*relay.public[0]),
                    relay=relay,
                    transceiver=transceiver,
                )
            )


async def _serve_workers(
    config: Config,
    secrets: Sequence[bytes],
    directory: MemoryDirectory,
    relay: Relay,
    task_status: trio.TaskStatus[Server],
) -> None:
    """Have the calls in worker processes."""
    async with trio.open_nursery() as nursery:
        workers = await nursery.start(
            partial(
                run_workers,
                config,
                secrets=secrets,
                candidates=_candidates(config, relay),
                hop_host=_hop_host(config),
                directory=directory,
                relay=relay,
            )
        )
        task_status.started(
            Server(http=workers.http, udp=Address(*relay.public[0]), relay=relay, workers=workers)
        )


async def _run_relay(
    config: RelayConfig,
    directory: MemoryDirectory,
    scope: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[Relay],
) -> None:
    with scope:
        async with trio.open_nursery() as nursery:
            relay = await nursery.start(run_relay, config, directory)
            task_status.started(relay)
            async for transceivers in directory.watch():
                relay.set_transceivers(transceivers)


def _hop_host(config: Config) -> str:
    """Relay and transceiver share this machine, so their hop stays on loopback."""
    return "::1" if all(address.is_ipv6 for address in config.udp) else "127.0.0.1"


def _candidates(config: Config, relay: Relay) -> tuple[Candidate, ...]:
    # TCP is where UDP is, behind whatever translates addresses, unless it was given addresses of its own.
    over_tcp = config.advertise if config.tcp is None else [(host, 0) for host, _ in config.advertise]
    return host_candidates(
        udp=_reached(config.advertise, relay.public), tcp=_reached(over_tcp, relay.streams)
    )


def _reached(advertised: Sequence[tuple[str, int]], bound: Sequence[tuple[str, int]]) -> list[Address]:
    """List how clients reach what is bound: at its own addresses, or at those that are advertised for it."""
    listening = [Address(*address) for address in bound]
    if not advertised:
        return listening
    reached: dict[Address, None] = {}
    for address in (Address(*each) for each in advertised):
        # What is reached in a family that it isn't bound in is behind something that translates.
        same = [each for each in listening if each.is_ipv6 == address.is_ipv6] or listening
        reached |= {Address(address.host, address.port or each.port): None for each in same}
    return list(reached)
