"""A client on a real socket: `ClientCore` with HTTP for the offer and UDP for the rest.

Layer: shell (Trio).
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from math import inf

import httpx2
import trio

from voicegate.testing.client import ClientCore, ClientState

__all__ = ["Phone", "open_phone"]


class Phone:
    """A client in a call; `core` has what it hears and how far it came."""

    def __init__(self, core: ClientCore, *, url: str) -> None:
        self.core = core
        self.url = url
        """Of the call, as the server's ``Location`` gave it."""
        self.sent = 0
        """Datagrams sent."""
        self.vanish_after: float = inf
        """Datagrams after which nothing is sent any more, as by a client that vanished."""
        self._progress = trio.Condition()

    @property
    def call_id(self) -> str:
        """The call's id."""
        return self.url.rpartition("/")[2]

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that the core shows has come true."""
        async with self._progress:
            while not condition():
                await self._progress.wait()

    async def wait_connected(self) -> None:
        """Wait until audio can flow; an AssertionError tells of a failed handshake."""
        await self.wait_until(lambda: self.core.state not in {ClientState.CHECKING, ClientState.HANDSHAKING})
        if self.core.state is not ClientState.CONNECTED:
            raise AssertionError(f"not connected but {self.core.state.value}: {self.core.failure}")

    def say(self, pcm: bytes) -> None:
        """Queue samples for the microphone."""
        self.core.say(pcm)

    async def run(self, sock: trio.socket.SocketType) -> None:
        """Move datagrams between the core and a connected socket until cancelled."""
        while True:
            await self._flush(sock)
            async with self._progress:
                self._progress.notify_all()
            deadline = self.core.poll_timeout()
            with trio.CancelScope(deadline=inf if deadline is None else deadline):
                try:
                    data = await sock.recv(65536)
                except ConnectionRefusedError:
                    continue
                self.core.handle_datagram(data, now=trio.current_time())
            now = trio.current_time()
            if deadline is not None and now >= deadline:
                self.core.handle_timeout(now=now)

    async def _flush(self, sock: trio.socket.SocketType) -> None:
        while (data := self.core.poll_transmit()) is not None:
            if self.sent < self.vanish_after:
                self.sent += 1
                # An ICMP error that an earlier datagram caused says nothing of this one.
                with suppress(ConnectionRefusedError):
                    await sock.send(data)

    async def hang_up(self, sock: trio.socket.SocketType) -> None:
        """Say goodbye on the media path."""
        self.core.close(now=trio.current_time())
        await self._flush(sock)


@asynccontextmanager
async def open_phone(server_url: str, core: ClientCore) -> AsyncIterator[Phone]:
    """Call a server; leaving hangs up on the media path.

    Errors: AssertionError with the server's words when it refuses the offer.
    """
    async with httpx2.AsyncClient(base_url=server_url, trust_env=False) as http:
        response = await http.post(
            "/v1/realtime/calls", content=core.offer(), headers={"content-type": "application/sdp"}
        )
    if response.status_code != 201:
        raise AssertionError(f"{response.status_code}: {response.text}")
    core.handle_answer(response.text, now=trio.current_time())
    phone = Phone(core, url=str(httpx2.URL(server_url).join(response.headers["location"])))
    candidate = core.server
    if candidate is None:
        raise AssertionError("the answer names no candidate")
    family = trio.socket.AF_INET6 if ":" in candidate.address else trio.socket.AF_INET
    with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as sock:
        await sock.connect((candidate.address, candidate.port))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(phone.run, sock)
            try:
                yield phone
            finally:
                with trio.CancelScope(shield=True):
                    await phone.hang_up(sock)
                nursery.cancel_scope.cancel()
