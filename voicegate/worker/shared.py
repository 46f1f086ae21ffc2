"""What a worker answers to the public: for its own calls itself, for others by asking whoever knows."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

from voicegate.signalling import JSON, CallService, CreatedCall, OfferRefused, RemoteCalls
from voicegate.transceiver.call_id import transceiver_id_of
from voicegate.worker.control import server_socket, worker_socket

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

    async def create_call(
        self,
        offer: str,
        *,
        session: Mapping[str, JSON] | None,
        client: str,
        data_channel_id: int | None = None,
    ) -> CreatedCall:
        """Make a call of an SDP offer: here, or, when there is no room, wherever there is."""
        try:
            return await self._own.create_call(
                offer, session=session, client=client, data_channel_id=data_channel_id
            )
        except OfferRefused as refused:
            if refused.status != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
        return await self._server.create_call(
            offer, session=session, client=client, data_channel_id=data_channel_id
        )

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
