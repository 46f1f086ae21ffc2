"""The calls of this process: a transceiver with its agent, as the HTTP surface sees it."""

import datetime
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Any, Final, Unpack
from weakref import WeakKeyDictionary

import structlog
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
from voicegate.signalling import CreatedCall, Door, OfferRefused, RequestRefused
from voicegate.signalling.api import client_address, unknown_call
from voicegate.signalling.gatekeeper import unix_time
from voicegate.signalling.service import CallTerms, DrainState, Handshake
from voicegate.socket_call import SocketCall, run_socket_call
from voicegate.transceiver import (
    TooManyPendingError,
    Transceiver,
    TransceiverDrainingError,
    TransceiverFullError,
)
from voicegate.transceiver.call_id import call_id_of
from voicegate.transceiver.collector import Collector
from voicegate.transceiver.task import ActiveCall
from voicegate.wire import hop
from voicegate.worker.agents import Agents

if TYPE_CHECKING:
    from voicegate.relay import Relay

__all__ = [
    "DRAINING",
    "TOO_MANY_CALLS",
    "LocalCalls",
    "is_for_others",
    "make_gate",
    "make_transceiver",
    "open_port",
]

DRAINING: Final = "draining"
"""The code that tells a client to come again, since this server goes away; others may take the call."""
TOO_MANY_CALLS: Final = "too_many_calls"
"""The code that tells a client of its own limits; another worker may still have a part of them."""
RETRY_SECONDS: Final = 5
"""What a client that found no room is told to wait: some call has ended, or a worker was replaced."""

_SESSION_ID_LENGTH: Final = 8

_log = structlog.get_logger(__name__)


class LocalCalls:
    """A `CallService` over the transceiver of this process, and the sockets that are calls without one.

    Args:
        transceiver: The owner of the calls.
        agents: Who answers them.
        admission: How many there may be; by default as many as the transceiver takes.
        max_call_seconds: The longest one.
        relay: The one in front of it, if it is this process's to report on.
        answer_candidates: Lists the relays for a client by its regions, the nearest first; those of the
            transceiver count when there are none.
        reports: What else adds to a scrape.
    """

    def __init__(
        self,
        transceiver: Transceiver,
        *,
        agents: Agents,
        admission: Admission,
        max_call_seconds: float,
        relay: "Relay | None" = None,
        answer_candidates: Callable[[tuple[str, ...]], Sequence[Candidate]] | None = None,
        reports: Sequence[Callable[[Metrics], None]] = (),
    ) -> None:
        self.transceiver: Final = transceiver
        self.agent_name: Final = agents.name
        self._agents = agents
        self._admission = admission
        self._max_call_seconds = max_call_seconds
        self._relay = relay
        self._answer_candidates = answer_candidates
        self._reports = reports
        # Of each call's client, for an ICE restart.
        self._regions: WeakKeyDictionary[ActiveCall, tuple[str, ...]] = WeakKeyDictionary()
        self._sockets: dict[str, SocketCall | None] = {}
        """None while the socket is being accepted, which takes a slot already."""

    @property
    def transceiver_ids(self) -> Collection[int]:
        """The one id of what has them."""
        return (self.transceiver.id,)

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
        regions = tuple(terms.get("regions", ()))
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
                candidates=self._candidates(regions),
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
        except TransceiverDrainingError as error:
            raise _draining() from error
        self._admission.add(call_id, key=grant.key, client=client)
        if call := self.transceiver.find(call_id):
            self._regions[call] = regions
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
        # The slot is taken here, and not only when the client has its answer.
        self._sockets[call_id] = None
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
                call = self._sockets[call_id] = await nursery.start(run)
                if (seconds := self.transceiver.drain_seconds_left) is not None:
                    call.leave(seconds=seconds)  # It was said while the socket was being accepted.
        finally:
            del self._sockets[call_id]
            self._admission.remove(call_id)
            if not self.call_count:
                self.transceiver.note_change()

    def owner(self, call_id: str) -> Door | None:  # noqa: ARG002 - all that there are, are here
        """Return nobody else."""
        return None

    def local_call(self, call_id: str) -> ActiveCall | None:
        """Return a call that goes on."""
        return self.transceiver.find(call_id)

    def restart_ice(self, call: ActiveCall, remote: Credentials) -> tuple[Credentials, Sequence[Candidate]]:
        """Begin another ICE session of a call."""
        candidates = self._candidates(self._regions.get(call, ()))
        return self.transceiver.restart_ice(call, remote), candidates

    async def sessions(self) -> Sequence[Mapping[str, Any]]:
        """Describe each call."""
        return [*self.transceiver.describe_all(), *(call.describe() for call in self._open_sockets())]

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
        for report in self._reports:
            report(metrics)
        return metrics.render()

    async def is_ready(self) -> bool:
        """Whether a call made now would work, as far as can be seen from here."""
        return not self.transceiver.is_draining and (self._relay is None or bool(self._relay.pids))

    # Going away

    async def begin_drain(self, *, seconds: float) -> None:
        """Take no new calls, tell those that go on, and end in ``seconds`` what is left of them."""
        for call in list(self._open_sockets()):
            call.leave(seconds=seconds)
        self.transceiver.begin_drain(seconds=seconds)

    async def end_drain(self) -> None:
        """Take calls again."""
        for call in self._open_sockets():
            call.stay()
        self.transceiver.end_drain()

    async def drain_state(self) -> DrainState:
        """Say how far it is with going away."""
        return DrainState(
            is_draining=self.transceiver.is_draining,
            seconds_left=self.transceiver.drain_seconds_left,
            calls=self.call_count,
        )

    def retire(self, transceiver_id: int) -> bool:
        """Take no new calls any more, if the id that somebody else has is ours; False when it is not.

        Those that there are go on. There is no way back: a process that is to take calls begins anew.
        """
        if transceiver_id != self.transceiver.id or self.transceiver.is_retired:
            return False
        _log.error("transceiver_id_conflict", transceiver=f"{transceiver_id:08x}")
        self.transceiver.retire()
        return True

    async def wait_empty(self) -> None:
        """Wait until there are no calls.

        Cancellation: a checkpoint always.
        """
        await trio.lowlevel.checkpoint()
        while self.call_count:
            await self.transceiver.changed.wait()

    # Internals

    def _open_sockets(self) -> Iterator[SocketCall]:
        return (call for call in self._sockets.values() if call is not None)

    def _candidates(self, regions: tuple[str, ...]) -> Sequence[Candidate]:
        """Return how a client gets here."""
        chosen = () if self._answer_candidates is None else self._answer_candidates(regions)
        listed = chosen or self.transceiver.candidates
        if not listed:
            raise _busy("No relay is known that calls could come by.", status=503, code="no_relay")
        return listed

    def _check_room(self, grant: Grant, client: str) -> None:
        if self.transceiver.is_draining:
            raise _draining()
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


def _draining() -> OfferRefused:
    return _busy("No new calls are taken: the server goes away.", status=503, code=DRAINING)


def _busy(message: str, *, status: int, code: str) -> OfferRefused:
    return OfferRefused(
        message, status=status, code=code, param=None, headers={"Retry-After": str(RETRY_SECONDS)}
    )


def is_for_others(refused: RequestRefused) -> bool:
    """Whether another worker may still take a call that was refused: it has slots, and shares, of its own."""
    return refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR or refused.code == TOO_MANY_CALLS


def open_port(host: str, port: int = 0) -> SegmentPort:
    """Bind a hop socket; 0: on a free port."""
    return SegmentPort((host, port), datagram_limit=hop.HEADER_LENGTH + hop.MAX_PAYLOAD_LENGTH)


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
