"""What a worker answers to the public: for its own calls itself, for others by asking whoever knows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Unpack

from voicegate.access import Grant
from voicegate.signalling import JSON, CallService, CreatedCall, OfferRefused, RemoteCalls
from voicegate.signalling.service import CallTerms, Handshake
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
    """

    def __init__(self, own: CallService, *, transceiver_id: int, folder: Path) -> None:
        self.agent_name: Final = own.agent_name
        self._own = own
        self._transceiver_id = transceiver_id
        self._folder = folder
        self._server = RemoteCalls(server_socket(folder), agent_name=own.agent_name)

    async def create_call(self, offer: str, **terms: Unpack[CallTerms]) -> CreatedCall:
        """Make a call of an SDP offer: here, or, when there is no room, wherever there is."""
        try:
            return await self._own.create_call(offer, **terms)
        except OfferRefused as refused:
            if not is_for_others(refused):
                raise
        return await self._server.create_call(offer, **terms)

    async def attach(self, call_id: str, handshake: Handshake, *, grant: Grant) -> None:
        """Have its owner accept a sideband."""
        await self._owner(call_id).attach(call_id, handshake, grant=grant)

    async def run_session(self, handshake: Handshake, *, model: str, grant: Grant) -> None:
        """Accept a socket that is a call of its own: here, or, when there is no room, wherever there is."""
        try:
            await self._own.run_session(handshake, model=model, grant=grant)
        except OfferRefused as refused:
            if not is_for_others(refused):
                raise
            await self._server.run_session(handshake, model=model, grant=grant)

    def owner(self, call_id: str) -> Path | None:
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

    def _owner(self, call_id: str) -> CallService:
        transceiver_id = transceiver_id_of(call_id)
        if transceiver_id is None or transceiver_id == self._transceiver_id:
            return self._own
        return RemoteCalls(worker_socket(self._folder, transceiver_id), agent_name=self.agent_name)
