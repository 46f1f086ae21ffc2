"""Everything on one machine: relay process, transceiver and signalling, as one task that ends whole.

Layer: shell (Trio).
"""

import datetime
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Final

import attrs
import trio

from voicegate.agents import load_agent
from voicegate.call import Agent, EndCause
from voicegate.config import Address, Config
from voicegate.datagram import SegmentPort
from voicegate.directory import MemoryDirectory
from voicegate.errors import WireError
from voicegate.ice import Keyring
from voicegate.observability import Metrics
from voicegate.relay import Relay, RelayConfig, run_relay
from voicegate.sdp import Candidate, OfferError
from voicegate.sdp.candidate import host_candidates
from voicegate.signalling import CreatedCall, OfferRefused, serve_http
from voicegate.transceiver import TooManyPendingError, Transceiver, TransceiverFullError
from voicegate.wire import hop

__all__ = ["Server", "serve"]

FAREWELL_SECONDS: Final = 0.2
"""How long the relay stays after the last call, so that their goodbyes get through it."""


@attrs.frozen(kw_only=True)
class Server:
    """What `serve` bound, and the parts that run behind it."""

    http: Address
    udp: Address
    """The relay's first public address; ``relay.public`` has all."""
    transceiver: Transceiver
    relay: Relay

    @property
    def url(self) -> str:
        """Where a browser finds the page."""
        host = Address("127.0.0.1", self.http.port) if self.http.is_wildcard else self.http
        return f"http://{host}/"


async def serve(
    agent: Agent | None = None,
    config: Config | None = None,
    *,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve calls until cancelled; ``agent`` (default: the one that ``config`` names) answers each.

    Errors: UsageError for an address that is taken or an agent that is not there.
    Cancellation: ends every call with its goodbyes, then the relay.
    Resources: child processes (the relay's workers), sockets for HTTP and UDP; all gone when this returns.
    """
    config = config or Config()
    agent_name = config.agent if agent is None else getattr(agent, "__name__", type(agent).__name__)
    secrets = config.secrets or (os.urandom(32),)
    hop_address = (_hop_host(config), 0)
    limit = hop.HEADER_LENGTH + hop.MAX_PAYLOAD_LENGTH
    with closing(SegmentPort(hop_address, datagram_limit=limit)) as port:
        transceiver = Transceiver(
            port,
            agent=agent or load_agent(config.agent),
            keyring=Keyring(secrets),
            transceiver_id=config.cluster << 20 | int.from_bytes(os.urandom(3), "big") >> 4,
            max_calls=config.max_calls,
            max_call_seconds=config.max_call_seconds,
            max_pending_calls=config.max_pending_calls,
            max_pending_calls_per_client=config.max_pending_calls_per_client,
            set_up=config.set_up,
            random=os.urandom,
            clock=partial(datetime.datetime.now, datetime.UTC),
        )
        directory = MemoryDirectory()
        directory.register(transceiver.id, port.address)
        relay_config = RelayConfig(
            secrets=secrets,
            public=config.udp,
            hop=hop_address,
            streams=config.udp if config.tcp is None else config.tcp,
            tls=[str(path) for path in (config.tls_certificate, config.tls_key) if path],
            workers=config.relay_workers,
            flow_limit=config.relay_flows,
            transceivers=directory.transceivers(),
        )
        async with trio.open_nursery() as nursery:
            relay_scope = trio.CancelScope()
            relay = await nursery.start(_run_relay, relay_config, directory, relay_scope)
            # From here on the relay outlives the calls, even cancelled with them: it carries their goodbyes.
            relay_scope.shield = True
            try:
                transceiver.candidates = _candidates(config, relay)
                service = _Service(transceiver, relay, agent_name=agent_name)
                await _serve_calls(service, config, task_status)
            finally:
                with trio.move_on_after(FAREWELL_SECONDS, shield=True):
                    await trio.sleep_forever()
                relay_scope.cancel()


async def _serve_calls(service: "_Service", config: Config, task_status: trio.TaskStatus[Server]) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(service.transceiver.run)
        http = await nursery.start(
            partial(
                serve_http,
                service,
                host=config.http.host,
                port=config.http.port,
                origins=config.cors_origins,
                hosts=config.hosts,
            )
        )
        task_status.started(
            Server(
                http=Address(*http),
                udp=Address(*service.relay.public[0]),
                transceiver=service.transceiver,
                relay=service.relay,
            )
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


class _Service:
    """The transceiver and the relay, as signalling sees them."""

    def __init__(self, transceiver: Transceiver, relay: Relay, *, agent_name: str) -> None:
        self.transceiver: Final = transceiver
        self.relay: Final = relay
        self.agent_name: Final = agent_name

    async def create_call(
        self,
        offer: str,
        *,
        session: Mapping[str, Any] | None,
        client: str,
        data_channel_id: int | None = None,
    ) -> CreatedCall:
        try:
            call_id, answer = self.transceiver.create_call(
                offer, metadata=session or {}, client=client, data_channel_id=data_channel_id
            )
        except WireError as error:
            raise OfferRefused(str(error)) from error
        except OfferError as error:
            raise OfferRefused(str(error), code=error.code, param=error.param) from error
        except TooManyPendingError as error:
            raise OfferRefused(str(error), status=429, code="too_many_pending_calls", param=None) from error
        except TransceiverFullError as error:
            raise OfferRefused(str(error), status=503, code="no_capacity", param=None) from error
        return CreatedCall(id=call_id, answer=answer)

    def end_call(self, call_id: str) -> bool:
        call = self.transceiver.find(call_id)
        if call is None:
            return False
        call.end(EndCause.CLIENT_HANGUP, "the client hung up")
        return True

    def sessions(self) -> list[dict[str, Any]]:
        return self.transceiver.describe_all()

    def session(self, call_id: str) -> dict[str, Any] | None:
        return self.transceiver.describe(call_id)

    async def metrics(self) -> bytes:
        metrics = Metrics()
        self.transceiver.report(metrics)
        self.relay.report(metrics)
        return metrics.render()

    def is_ready(self) -> bool:
        return bool(self.relay.pids)
