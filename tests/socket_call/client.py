"""A client of a socket call, on the other end of memory channels."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from voicegate.call import Agent
from voicegate.socket_call import SocketCall, run_socket_call

Event = dict[str, Any]


class MemorySocket:
    """The server's end of a connection."""

    def __init__(self, capacity: float) -> None:
        self.to_server, self._from_client = trio.open_memory_channel[str](1000)
        self._to_client, self.to_client = trio.open_memory_channel[str](capacity)
        self.closed: tuple[int, str] | None = None

    async def receive(self) -> str | None:
        try:
            return await self._from_client.receive()
        except trio.EndOfChannel:
            return None

    async def send(self, text: str) -> None:
        await self._to_client.send(text)

    async def close(self, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self.closed = code, reason
        self._to_client.close()


class Client:
    """What a client does with its socket."""

    def __init__(self, capacity: float = 1000) -> None:
        self.socket = MemorySocket(capacity)
        self.call: SocketCall | None = None
        self.seen: list[Event] = []
        """All events so far."""

    def send(self, kind: str, **fields: Any) -> None:
        self.send_text(json.dumps({"type": kind, **fields}))

    def send_text(self, text: str) -> None:
        self.socket.to_server.send_nowait(text)

    def say(self, pcm: bytes, *, size: int = 4800) -> None:
        """Append samples, some at a time."""
        for start in range(0, len(pcm), size):
            piece = base64.b64encode(pcm[start : start + size]).decode()
            self.send("input_audio_buffer.append", audio=piece)

    async def receive(self) -> Event:
        event: Event = json.loads(await self.socket.to_client.receive())
        self.seen.append(event)
        return event

    async def wait(self, kind: str) -> Event:
        """Read on up to an event of a kind."""
        while (event := await self.receive())["type"] != kind:
            pass
        return event

    async def read_out(self) -> list[Event]:
        """Read until the server closes."""
        try:
            while True:
                await self.receive()
        except trio.EndOfChannel:
            return self.seen

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.seen]

    def heard(self) -> bytes:
        """Return all audio so far."""
        kind = "response.output_audio.delta"
        return b"".join(base64.b64decode(event["delta"]) for event in self.seen if event["type"] == kind)

    def hang_up(self) -> None:
        self.socket.to_server.close()


@asynccontextmanager
async def open_call(
    agent: Agent, *, capacity: float = 1000, session: Event | None = None, **others: Any
) -> AsyncIterator[Client]:
    """Run a call around the block; it is over when the block is."""
    client = Client(capacity)
    settings = {"model": "test", "call_id": "rtc_u0_test", "max_seconds": 3600.0, **others}
    async with trio.open_nursery() as nursery:
        client.call = await nursery.start(
            partial(run_socket_call, client.socket, agent=agent, session=session, **settings)
        )
        yield client
        client.hang_up()
        await client.read_out()
