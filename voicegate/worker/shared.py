"""What a worker answers to the public: for its own calls itself, for others by asking whoever knows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Unpack

from voicegate.access import Grant
from voicegate.signalling import JSON, CallService, CreatedCall, Door, RemoteCalls, RequestRefused, UnixDoor
from voicegate.signalling.service import CallTerms, DrainState, Handshake
from voicegate.transceiver.call_id import transceiver_id_of
from voicegate.worker.calls import is_for_others
from voicegate.worker.control import server_socket, worker_socket

if TYPE_CHECKING:
    from voicegate.ice import Credentials
    from voicegate.sdp import Candidate
    from voicegate.transceiver.task import ActiveCall

__all__ = ["SharedCalls"]


class SharedCalls:
    """A `CallService` that stands for the whole server.

    Args:
        own: The calls of this process.
        transceiver_id: The one that has them.
        folder: Where the private sockets of the others are.
        region: Where this machine is.
    """

    def __init__(self, own: CallService, *, transceiver_id: int, folder: Path, region: str = "") -> None:
        self.agent_name: Final = own.agent_name
        self._own = own
        self._transceiver_id = transceiver_id
        self._folder = folder
        self._region = region
        self._server = RemoteCalls(UnixDoor(server_socket(folder)), agent_name=own.agent_name)

    async def create_call(self, offer: str, **terms: Unpack[CallTerms]) -> CreatedCall:
        """Make a call of an SDP offer: here, or, when there is no room, wherever there is.

        For a client that is nearer to another region, it is the server that knows whom to ask.
        """
        regions = terms.get("regions", ())
        first: CallService = self._own
        second: CallService = self._server
        if regions and regions[0] != self._region:
            first, second = second, first
        try:
            return await first.create_call(offer, **terms)
        except RequestRefused as refused:
            if not is_for_others(refused):
                raise
        return await second.create_call(offer, **terms)

    async def attach(self, call_id: str, handshake: Handshake, *, grant: Grant) -> None:
        """Have its owner accept a sideband."""
        await self._owner(call_id).attach(call_id, handshake, grant=grant)

    async def run_session(self, handshake: Handshake, *, model: str, grant: Grant) -> None:
        """Accept a socket that is a call of its own: here, or, when there is no room, wherever there is."""
        try:
            await self._own.run_session(handshake, model=model, grant=grant)
        except RequestRefused as refused:
            if not is_for_others(refused):
                raise
            await self._server.run_session(handshake, model=model, grant=grant)

    def owner(self, call_id: str) -> Door | None:
        """Return where a call of another worker is."""
        return self._owner(call_id).owner(call_id)

    def local_call(self, call_id: str) -> "ActiveCall | None":
        """Return a call of this worker."""
        return self._own.local_call(call_id)

    def restart_ice(
        self, call: "ActiveCall", remote: "Credentials"
    ) -> "tuple[Credentials, Sequence[Candidate]]":
        """Begin another ICE session of a call of this worker."""
        return self._own.restart_ice(call, remote)

    async def end_call(self, call_id: str) -> bool:
        """Have its owner hang up."""
        return await self._owner(call_id).end_call(call_id)

    async def sessions(self) -> Sequence[Mapping[str, JSON]]:
        """Each call of all workers."""
        return await self._server.sessions()

    async def session(self, call_id: str) -> Mapping[str, JSON] | None:
        """Have its owner describe a call."""
        return await self._owner(call_id).session(call_id)

    async def metrics(self) -> bytes:
        """Everything that is counted anywhere."""
        return await self._server.metrics()

    async def is_ready(self) -> bool:
        """Whether a call made now would work."""
        return await self._server.is_ready()

    async def begin_drain(self, *, seconds: float) -> None:
        """Have all workers drain."""
        await self._server.begin_drain(seconds=seconds)

    async def end_drain(self) -> None:
        """Have all workers take calls again."""
        await self._server.end_drain()

    async def drain_state(self) -> DrainState:
        """Say how far all workers are with going away."""
        return await self._server.drain_state()

    def _owner(self, call_id: str) -> CallService:
        transceiver_id = transceiver_id_of(call_id)
        if transceiver_id is None or transceiver_id == self._transceiver_id:
            return self._own
        path = worker_socket(self._folder, transceiver_id)
        # What is no worker's here may be another machine's, which the server knows.
        return RemoteCalls(UnixDoor(path), agent_name=self.agent_name) if path.exists() else self._server
