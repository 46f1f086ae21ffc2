"""What a machine answers to its clients: for its own calls itself, for others by asking who has them.

Room for a call is known exactly only where it would be: so it is offered to one machine after another, in the
order of `voicegate.fleet.choice`, until one takes it. Whose a call is, its id tells, and the directory, or
while it is away what it said last. `sessions` and `metrics` are those of this machine.
"""

import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, Unpack

import trio

from voicegate.access import Grant
from voicegate.directory import Address, Directory
from voicegate.fleet.choice import list_machines, order_machines
from voicegate.fleet.count import FleetCounts
from voicegate.fleet.peer import ABSENT, LATE, PeerDoor
from voicegate.fleet.tls import PeerTls
from voicegate.signalling import JSON, CallService, CreatedCall, Door, RemoteCalls, RequestRefused
from voicegate.signalling.service import CallTerms, DrainState, Handshake
from voicegate.transceiver.call_id import transceiver_id_of
from voicegate.worker.calls import is_for_others

if TYPE_CHECKING:
    from voicegate.ice import Credentials
    from voicegate.sdp import Candidate
    from voicegate.transceiver.task import ActiveCall

__all__ = ["FleetCalls", "MachineCalls"]

TRY_SECONDS: Final = 1.5
"""For another machine to take a call: three of them, one after the other, and the client still waits."""
ANSWER_SECONDS: Final = 4.0
"""For another machine to answer about its call: less than whoever asked us waits, who so hears why."""
SHUN_SECONDS: Final = 5.0
"""For how long a machine that was out of reach is offered no calls: as long as its lease may outlive it."""

_T = TypeVar("_T")


class MachineCalls(CallService, Protocol):
    """The calls of one machine."""

    @property
    def transceiver_ids(self) -> Collection[int]:
        """The ids of the transceivers that have them."""


class FleetCalls:
    """A `CallService` that stands for the whole cluster.

    Args:
        own: The calls of this machine.
        directory: Knows the other machines.
        secrets: Of the cluster, which let us in there.
        region: Where this machine is.
        counts: Takes what is counted; whoever has them reports them.
    """

    def __init__(
        self,
        own: MachineCalls,
        directory: Directory,
        *,
        secrets: Sequence[bytes],
        region: str = "",
        counts: FleetCounts | None = None,
    ) -> None:
        self.agent_name: Final = own.agent_name
        self.counts: Final = counts or FleetCounts()
        self._own = own
        self._directory = directory
        self._tls = PeerTls(secrets)
        self._region = region
        self._shunned: dict[Address, float] = {}

    async def create_call(self, offer: str, **terms: Unpack[CallTerms]) -> CreatedCall:
        """Make a call of an SDP offer: as near to the client as there is room."""

        async def ask(calls: CallService) -> CreatedCall:
            return await calls.create_call(offer, **terms)

        return await self._offer(ask, regions=terms.get("regions", ()))

    async def run_session(self, handshake: Handshake, *, model: str, grant: Grant) -> None:
        """Accept a socket that is a call of its own: here, or, when there is no room, wherever there is.

        Wherever the client is: its audio comes in by this machine in any case.
        """

        async def ask(calls: CallService) -> None:
            await calls.run_session(handshake, model=model, grant=grant)

        await self._offer(ask, regions=())

    async def end_call(self, call_id: str) -> bool:
        """Have its owner hang up."""
        return await self._holder(call_id).end_call(call_id)

    async def attach(self, call_id: str, handshake: Handshake, *, grant: Grant) -> None:
        """Have its owner accept a sideband."""
        await self._holder(call_id).attach(call_id, handshake, grant=grant)

    def owner(self, call_id: str) -> Door | None:
        """Return the way to whoever has a call."""
        return self._holder(call_id).owner(call_id)

    def local_call(self, call_id: str) -> "ActiveCall | None":
        """Return a call of this process."""
        return self._own.local_call(call_id)

    def restart_ice(
        self, call: "ActiveCall", remote: "Credentials"
    ) -> "tuple[Credentials, Sequence[Candidate]]":
        """Begin another ICE session of a call of this process."""
        return self._own.restart_ice(call, remote)

    async def sessions(self) -> Sequence[Mapping[str, JSON]]:
        """Each call of this machine."""
        return await self._own.sessions()

    async def session(self, call_id: str) -> Mapping[str, JSON] | None:
        """Have its owner describe a call."""
        return await self._holder(call_id).session(call_id)

    async def metrics(self) -> bytes:
        """Everything that is counted on this machine."""
        return await self._own.metrics()

    async def is_ready(self) -> bool:
        """Whether a call made now would work here: those who ask decide about this machine."""
        return await self._own.is_ready()

    async def begin_drain(self, *, seconds: float) -> None:
        """Have this machine drain."""
        await self._own.begin_drain(seconds=seconds)

    async def end_drain(self) -> None:
        """Have this machine take calls again."""
        await self._own.end_drain()

    async def drain_state(self) -> DrainState:
        """Say how far this machine is with going away."""
        return await self._own.drain_state()

    # Internals

    async def _offer(self, ask: Callable[[CallService], Awaitable[_T]], *, regions: Sequence[str]) -> _T:
        """Ask one machine after the other to take a call.

        Errors: RequestRefused, by the first that would not have any other asked, or by all of them.
        """
        refusals: list[RequestRefused] = []
        for peer in self._order(regions):
            calls = self._own if peer is None else self._at(peer, patience=TRY_SECONDS)
            try:
                taken = await ask(calls)
            except RequestRefused as refused:
                self._note(peer, refused)
                if not is_for_others(refused):
                    raise
                refusals.append(refused)
            else:
                self._note(peer, None)
                return taken
        self.counts.offers["nobody"] += 1
        raise _sum_up(refusals)

    def _order(self, regions: Sequence[str]) -> Sequence[Address | None]:
        now = trio.current_time()
        self._shunned = {peer: until for peer, until in self._shunned.items() if until > now}
        machines = list_machines(self._directory.snapshot().transceivers, own=self._own.transceiver_ids)
        return order_machines(
            [machine for machine in machines if machine.peer not in self._shunned],
            own_region=self._region,
            regions=regions,
            random=os.urandom,
        )

    def _note(self, peer: Address | None, refused: RequestRefused | None) -> None:
        if refused is None:
            self.counts.offers["own" if peer is None else "other"] += 1
        if peer is None:
            return
        if refused is None:
            self.counts.tries["taken"] += 1
        elif refused.code in {ABSENT, LATE}:
            self.counts.tries["unreachable"] += 1
            self._shunned[peer] = trio.current_time() + SHUN_SECONDS
        else:
            self.counts.tries["refused"] += 1

    def _holder(self, call_id: str) -> CallService:
        """Return who has a call: this machine, which then says that there is none, when none is known to."""
        id_ = transceiver_id_of(call_id)
        lease = None
        # Ours are ours, whatever a row says.
        if id_ is not None and id_ not in self._own.transceiver_ids:
            lease = self._directory.snapshot().transceivers.get(id_)
        if lease is None or lease.peer is None:
            self.counts.questions["own"] += 1
            return self._own
        self.counts.questions["other"] += 1
        return self._at(lease.peer, patience=ANSWER_SECONDS)

    def _at(self, peer: Address, *, patience: float) -> RemoteCalls:
        door = PeerDoor(peer, self._tls, self.counts)
        return RemoteCalls(door, agent_name=self.agent_name, patience=patience)


def _sum_up(refusals: Sequence[RequestRefused]) -> RequestRefused:
    """Choose what the client is told: of its own limits, or when to come again, or else what came last."""
    for refused in refusals:
        if refused.status == HTTPStatus.TOO_MANY_REQUESTS:
            return refused
    full = [refused for refused in refusals if refused.status == HTTPStatus.SERVICE_UNAVAILABLE]
    return max(full, key=_retry_after, default=refusals[-1])


def _retry_after(refused: RequestRefused) -> int:
    value = (refused.headers or {}).get("Retry-After", "")
    return int(value) if value.isdecimal() else 0
