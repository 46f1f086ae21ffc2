"""The transceivers of a machine, in this process or in workers, with the signalling in front of them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from functools import partial

import trio

from voicegate.access import Admission
from voicegate.call import Agent
from voicegate.config import Address, Config
from voicegate.directory import Directory, RelayLease, TransceiverLease
from voicegate.errors import VoicegateError
from voicegate.fleet import FleetCalls, FleetCounts, run_peer_listener
from voicegate.fleet.calls import MachineCalls
from voicegate.observability import Metrics
from voicegate.relay import Relay
from voicegate.server.handle import Server
from voicegate.server.place import LOOK_SECONDS, Announced, hop_of_transceiver
from voicegate.signalling import CallService, serve_http
from voicegate.signalling.locate import Locator
from voicegate.signalling.relays import RelayChooser, RelayList
from voicegate.transceiver import Transceiver
from voicegate.transceiver.collector import open_collector
from voicegate.worker import (
    Agents,
    LocalCalls,
    Workers,
    make_gate,
    make_transceiver,
    open_port,
    run_agents,
    run_workers,
)

__all__ = ["Back", "IdentityLostError"]


class IdentityLostError(VoicegateError):
    """Another transceiver has our id: start again, to have another one."""


class Back:
    """Has the calls of a machine.

    Args:
        config: The machine's.
        directory: Where the others are found, and find us.
        secrets: Of the cluster.
        relay: The relay of this machine, if it has one.
    """

    def __init__(
        self, config: Config, directory: Directory, *, secrets: Sequence[bytes], relay: Relay | None
    ) -> None:
        self._config = config
        self._directory = directory
        self._secrets = secrets
        self._relay = relay
        self._counts = FleetCounts()

    async def run_here(
        self,
        agent: Agent | None,
        *,
        owns_process: bool,
        task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Have the calls in this process."""
        config = self._config
        port = open_port(*hop_of_transceiver(config))
        with closing(port), open_collector() if owns_process else nullcontext() as collector:
            async with trio.open_nursery() as nursery:
                agents = await nursery.start(partial(run_agents, config, agent=agent))
                transceiver = make_transceiver(
                    port,
                    config,
                    agents=agents,
                    secrets=self._secrets,
                    transceiver_id=await self._directory.claim(config.cluster),
                    collector=collector,
                )
                await nursery.start(transceiver.run)
                relays, locator = RelayChooser(config), Locator(config)
                relays.update(RelayList(self._directory.snapshot().relays))
                calls = self._make_calls(transceiver, agents, relays, locator)
                peer = await self._open_to_peers(calls, nursery)
                announce = partial(self._announce, calls, port.address[1])
                nursery.start_soon(
                    self._look_after, calls, port.address[0], peer, announce, lambda: transceiver.changed
                )
                nursery.start_soon(self._follow_relays, lambda listed: relays.update(RelayList(listed)))
                nursery.start_soon(self._withdraw_relay, calls)
                http = await nursery.start(
                    partial(
                        serve_http,
                        self._join(calls),
                        host=config.http.host,
                        port=config.http.port,
                        origins=config.cors_origins,
                        hosts=config.hosts,
                        gate=make_gate(config, self._secrets),
                        ice_servers=config.ice_servers,
                        locator=locator,
                    )
                )
                task_status.started(Server(http=Address(*http), calls=calls, relay=self._relay))

    def _make_calls(
        self, transceiver: Transceiver, agents: Agents, relays: RelayChooser, locator: Locator
    ) -> LocalCalls:
        config = self._config
        return LocalCalls(
            transceiver,
            agents=agents,
            admission=Admission(max_calls=config.max_calls, max_calls_per_client=config.max_calls_per_client),
            max_call_seconds=config.max_call_seconds,
            relay=self._relay,
            answer_candidates=relays.choose,
            reports=[self._report, relays.report, locator.report],
        )

    def _announce(self, calls: LocalCalls, hop_port: int, hop_host: str, peer: Address | None) -> None:
        transceiver = calls.transceiver
        if transceiver.is_retired and not calls.call_count:
            raise IdentityLostError(f"somebody else is transceiver {transceiver.id:08x}, and no call is left")
        lease = TransceiverLease(
            hop=(hop_host, hop_port),
            peer=peer,
            region=self._config.region,
            calls=calls.call_count,
            max_calls=self._config.max_calls,
            is_draining=transceiver.is_draining,
        )
        self._directory.register(transceiver.id, lease)

    async def run_in_workers(
        self, *, task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Have the calls in processes of their own."""
        config = self._config
        hop = hop_of_transceiver(config)
        async with trio.open_nursery() as nursery:
            workers: Workers = await nursery.start(
                partial(
                    run_workers,
                    config,
                    secrets=self._secrets,
                    hop_host=await Announced(config, hop.host).find(),
                    hop=hop,
                    directory=self._directory,
                    relay=self._relay,
                    wrap=self._join,
                    reports=[self._report],
                )
            )
            peer = await self._open_to_peers(workers, nursery)

            def announce(hop_host: str, peer: Address | None) -> None:
                workers.set_addresses(hop_host=hop_host, peer=peer)

            nursery.start_soon(self._look_after, workers, hop.host, peer, announce, trio.Event)
            nursery.start_soon(self._follow_relays, workers.set_relays)
            nursery.start_soon(self._withdraw_relay, workers)
            task_status.started(Server(http=workers.http, calls=workers, relay=self._relay))

    # The others

    def _join(self, own: MachineCalls) -> CallService:
        """Return what stands for the whole cluster, when others can be asked and can ask us."""
        if self._config.peer is None:
            return own
        return FleetCalls(
            own,
            self._directory,
            secrets=self._secrets,
            region=self._config.region,
            counts=self._counts,
        )

    async def _open_to_peers(self, own: MachineCalls, nursery: trio.Nursery) -> Address | None:
        if self._config.peer is None:
            return None
        run = partial(run_peer_listener, own, self._config.peer, self._secrets, counts=self._counts)
        return Address(*await nursery.start(run))

    async def _look_after(
        self,
        own: LocalCalls | Workers,
        hop_host: str,
        peer: Address | None,
        announce: Callable[[str, Address | None], None],
        get_news: Callable[[], trio.Event],
    ) -> None:
        """Announce the transceivers, wherever this machine is; at once when there is news of them.

        Those whose id somebody else holds take no more calls.
        """
        hop_at = Announced(self._config, hop_host)
        peer_at = hop_at if peer is None else Announced(self._config, peer.host)
        while True:
            news = get_news()
            for transceiver_id in self._directory.conflicts:
                own.retire(transceiver_id)
            announce(await hop_at.find(), peer and Address(await peer_at.find(), peer.port))
            with trio.move_on_after(LOOK_SECONDS):
                await news.wait()

    async def _follow_relays(self, update: Callable[[Mapping[str, RelayLease]], None]) -> None:
        async for snapshot in self._directory.watch():
            update(snapshot.relays)

    async def _withdraw_relay(self, own: MachineCalls) -> None:
        """Have new answers name our relay as long as we take calls: whoever drains one drains the machine."""
        while self._relay is not None:
            state = await own.drain_state()
            if state.is_draining and not self._relay.is_draining:
                self._relay.begin_drain()
            elif self._relay.is_draining and not state.is_draining:
                self._relay.end_drain()
            await trio.sleep(LOOK_SECONDS)

    def _report(self, metrics: Metrics) -> None:
        self._directory.report(metrics)
        if self._config.peer is not None:
            self._counts.report(metrics)
