"""The calls of this process: a transceiver with its agent, as the HTTP surface sees it."""

import datetime
import os
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack

import trio

from voicegate.access import Admission, CapExceeded, Gate, Grant
from voicegate.call import EndCause
from voicegate.config import Config
from voicegate.datagram import DatagramPort, SegmentPort
from voicegate.errors import WireError
from voicegate.ice import Credentials, Keyring, Route
from voicegate.observability import Metrics
from voicegate.realtime.fault import EventRefused
from voicegate.sdp import Candidate, OfferError
from voicegate.signalling import CreatedCall, OfferRefused, RequestRefused
from voicegate.signalling.api import client_address, unknown_call
from voicegate.signalling.gatekeeper import unix_time
from voicegate.signalling.service import CallTerms, Handshake
from voicegate.socket_call import SocketCall, run_socket_call
from voicegate.transceiver import TooManyPendingError, Transceiver, TransceiverFullError
from voicegate.transceiver.call_id import call_id_of
from voicegate.transceiver.collector import Collector
from voicegate.transceiver.task import ActiveCall
from voicegate.wire import hop
from voicegate.worker.agents import Agents

if TYPE_CHECKING:
    from voicegate.relay import Relay

__all__ = [
    "TOO_MANY_CALLS",
    "LocalCalls",
    "is_for_others",
    "make_gate",
    "make_transceiver",
    "new_transceiver_id",
    "open_port",
]

TOO_MANY_CALLS: Final = "too_many_calls"
"""The code that tells a client of its own limits; another worker may still have a part of them."""
RETRY_SECONDS: Final = 5
"""What a client that found no room is told to wait: some call has ended, or a worker was replaced."""

_SESSION_ID_LENGTH: Final = 8
_CLUSTER_SHIFT: Final = 20
"""The cluster is in the high 12 of an id's 32 bits."""


class LocalCalls:
    """A `CallService` over the transceiver of this process, and the sockets that are calls without one.

    Args:
        transceiver: The owner of the calls.
        agents: Who answers them.
        admission: How many there may be; by default as many as the transceiver takes.
        max_call_seconds: The longest one.
        relay: The one in front of it, if it is this process's to report on.
    """

    def __init__(
        self,
        transceiver: Transceiver,
        *,
        agents: Agents,
        admission: Admission,
        max_call_seconds: float,
        relay: "Relay | None" = None,
    ) -> None:
        self.transceiver: Final = transceiver
        self.agent_name: Final = agents.name
        self._agents = agents
        self._admission = admission
        self._max_call_seconds = max_call_seconds
        self._relay = relay
        self._sockets: dict[str, SocketCall] = {}

    @property
    def call_count(self) -> int:
        """Calls that are set up or going on."""
        return self.transceiver.call_count + len(self._sockets)

    async def create_call(self, offer: str, **terms: Unpack[CallTerms]) -> CreatedCall:
        """Make a call of an SDP offer."""
        client, grant, session = terms["client"], terms.get("grant", Grant()), terms["session"]
        model = terms.get("model", "")
        # No await between here and `add`: nobody else can take the slot that was found free.
        self._check_room(grant, client)
        try:
            call_id, answer = self.transceiver.create_call(
                offer,
                metadata=session or {},
                client=client,
                data_channel_id=terms.get("data_channel_id"),
                agent=self._agents.choose(model=model, grant=grant),
                api=terms.get("api", "realtime"),
                session=session,
                model=model or self.agent_name,
                max_seconds=grant.max_seconds,
                labels={"key": grant.key} if grant.key else None,
            )
        except EventRefused as error:
            raise OfferRefused(error.message, code=error.code, param=error.param) from error
        except WireError as error:
            raise OfferRefused(str(error)) from error
        except OfferError as error:
            raise OfferRefused(str(error), code=error.code, param=error.param) from error
        except TooManyPendingError as error:
            raise _busy(str(error), status=429, code="too_many_pending_calls") from error
        except TransceiverFullError as error:
            raise _busy(str(error), status=503, code="no_capacity") from error
        self._admission.add(call_id, key=grant.key, client=client)
        return CreatedCall(id=call_id, answer=answer)

    async def end_call(self, call_id: str) -> bool:
        """Hang up for the client."""
        call = self.transceiver.find(call_id) or self._sockets.get(call_id)
        if call is None:
            return False
        call.end(EndCause.CLIENT_HANGUP, "the client hung up")
        return True

    async def attach(self, call_id: str, handshake: Handshake, *, grant: Grant) -> None:  # noqa: ARG002
        """Accept a sideband of a call."""
        if self.transceiver.find(call_id) is None:
            raise unknown_call()
        socket = await handshake.accept()
        await self.transceiver.attach(call_id, socket)

    async def run_session(self, handshake: Handshake, *, model: str, grant: Grant) -> None:
        """Accept a socket that is a call of its own."""
        client = client_address(handshake.request)
        self._check_room(grant, client)
        call_id = call_id_of(Route(self.transceiver.id, os.urandom(_SESSION_ID_LENGTH)))
        self._admission.add(call_id, key=grant.key, client=client)
        max_seconds = min(self._max_call_seconds, inf if grant.max_seconds is None else grant.max_seconds)
        try:
            run = partial(
                run_socket_call,
                await handshake.accept(),
                agent=self._agents.choose(model=model, grant=grant),
                session=grant.session,
                model=model or self.agent_name,
                call_id=call_id,
                max_seconds=max_seconds,
                client=client,
                expires_at=int(unix_time() + max_seconds),
                find_agent=self._agents.find,
            )
            async with trio.open_nursery() as nursery:
                self._sockets[call_id] = await nursery.start(run)
        finally:
            self._sockets.pop(call_id, None)
            self._admission.remove(call_id)

    def owner(self, call_id: str) -> Path | None:  # noqa: ARG002 - all that there are, are here
        """Return nobody else."""
        return None

    def local_call(self, call_id: str) -> ActiveCall | None:
        """Return a call that goes on."""
        return self.transceiver.find(call_id)

    def restart_ice(self, call: ActiveCall, remote: Credentials) -> tuple[Credentials, Sequence[Candidate]]:
        """Begin another ICE session of a call."""
        return self.transceiver.restart_ice(call, remote), self.transceiver.candidates

    async def sessions(self) -> Sequence[Mapping[str, Any]]:
        """Describe each call."""
        return [*self.transceiver.describe_all(), *(call.describe() for call in self._sockets.values())]

    async def session(self, call_id: str) -> Mapping[str, Any] | None:
        """Describe one call."""
        socket = self._sockets.get(call_id)
        return self.transceiver.describe(call_id) if socket is None else socket.describe()

    async def metrics(self) -> bytes:
        """Everything that is counted."""
        metrics = Metrics()
        self.transceiver.report(metrics)
        metrics.gauge("socket_calls", "Calls that are a WebSocket and nothing else", len(self._sockets))
        if self._relay is not None:
            self._relay.report(metrics)
        return metrics.render()

    async def is_ready(self) -> bool:
        """Whether a call made now would work, as far as can be seen from here."""
        return self._relay is None or bool(self._relay.pids)

    # Internals

    def _check_room(self, grant: Grant, client: str) -> None:
        self._admission.retain(lambda call_id: call_id in self._sockets or self._is_alive(call_id))
        match self._admission.check(key=grant.key, client=client, max_calls=grant.max_calls):
            case CapExceeded.SERVER:
                raise _busy("All slots for calls are taken.", status=503, code="no_capacity")
            case CapExceeded.KEY:
                raise _busy(
                    f"This key has {grant.max_calls} calls, which is the most at once.",
                    status=429,
                    code=TOO_MANY_CALLS,
                )
            case CapExceeded.CLIENT:
                raise _busy(
                    "This address has as many calls as it may have at once.", status=429, code=TOO_MANY_CALLS
                )
            case None:
                pass

    def _is_alive(self, call_id: str) -> bool:
        return self.transceiver.find(call_id) is not None


def _busy(message: str, *, status: int, code: str) -> OfferRefused:
    return OfferRefused(
        message, status=status, code=code, param=None, headers={"Retry-After": str(RETRY_SECONDS)}
    )


def is_for_others(refused: RequestRefused) -> bool:
    """Whether another worker may still take a call that was refused: it has slots, and shares, of its own."""
    return refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR or refused.code == TOO_MANY_CALLS


def new_transceiver_id(cluster: int, taken: Collection[int] = ()) -> int:
    """Make up an id that is not taken."""
    while True:
        made_up = cluster << _CLUSTER_SHIFT | int.from_bytes(os.urandom(3), "big") >> 4
        if made_up not in taken:
            return made_up


def open_port(host: str) -> SegmentPort:
    """Bind a hop socket on a free port."""
    return SegmentPort((host, 0), datagram_limit=hop.HEADER_LENGTH + hop.MAX_PAYLOAD_LENGTH)


def make_transceiver(
    port: DatagramPort,
    config: Config,
    *,
    agents: Agents,
    secrets: Sequence[bytes],
    transceiver_id: int,
    collector: Collector | None = None,
) -> Transceiver:
    """Make the transceiver that a configuration describes; ``collector`` is for a process that is ours."""
    return Transceiver(
        port,
        agent=agents.find(agents.name),
        find_agent=agents.find,
        keyring=Keyring(secrets),
        transceiver_id=transceiver_id,
        max_calls=config.max_calls,
        max_call_seconds=config.max_call_seconds,
        max_pending_calls=config.max_pending_calls,
        max_pending_calls_per_client=config.max_pending_calls_per_client,
        set_up=config.set_up,
        uplink=config.uplink,
        random=os.urandom,
        clock=partial(datetime.datetime.now, datetime.UTC),
        collector=collector,
    )


def make_gate(config: Config, secrets: Sequence[bytes]) -> Gate:
    """Make the gate that a configuration describes."""
    return Gate(config.keys, secrets=secrets, random=os.urandom)
