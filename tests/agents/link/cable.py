"""A TCP line that a test can cut, and an agent's server that a test writes by hand."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from voicegate.agents.link import LinkOptions, run_link_agent
from voicegate.call import Agent, AudioFrame
from voicegate.link import Frame, read_frames


def frame(number: int, *, rate: int = 48_000) -> AudioFrame:
    """Make the n-th frame of a call, which can be told from others."""
    samples = rate // 50
    return AudioFrame(number.to_bytes(2, "little") * samples, rate, number * samples)


class Cable:
    """Passes bytes on in both directions, to a port of this machine."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.is_out = False
        """Whether nobody gets through."""
        self.connections = self.refusals = 0
        self._target = port
        self._scopes: list[trio.CancelScope] = []

    def cut(self) -> None:
        """Break all connections."""
        for scope in self._scopes:
            scope.cancel()
        self._scopes.clear()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, self._connect, 0)
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started()

    async def _connect(self, ours: trio.SocketStream) -> None:
        if self.is_out:
            self.refusals += 1
            return
        self.connections += 1
        scope = trio.CancelScope()
        self._scopes.append(scope)
        with scope:
            theirs = await trio.open_tcp_stream("127.0.0.1", self._target)
            async with theirs, trio.open_nursery() as nursery:
                nursery.start_soon(self._pass_on, theirs, ours, scope)
                await self._pass_on(ours, theirs, scope)

    async def _pass_on(
        self, source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            async for data in source:
                await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


@asynccontextmanager
async def open_cable(port: int) -> AsyncIterator[Cable]:
    cable = Cable(port)
    async with trio.open_nursery() as nursery:
        await nursery.start(cable.run)
        yield cable
        nursery.cancel_scope.cancel()


class HandMadeAgent:
    """An agent's server of which each message is written by a test."""

    def __init__(self, hello: dict[str, Any]) -> None:
        self.hello = {"type": "hello", "version": 1} | hello
        self.greeted: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.frames: list[Frame] = []
        self.closed: list[Any] = []
        self._socket: WebSocketConnection | None = None
        self._news = trio.Event()

    async def handle(self, request: WebSocketRequest) -> None:
        socket = await request.accept()
        self.greeted.append(json.loads(await socket.get_message()))
        await socket.send_message(json.dumps(self.hello))
        self._socket = socket
        try:
            while True:
                message = await socket.get_message()
                if isinstance(message, bytes):
                    self.frames += read_frames(message)
                else:
                    self.events.append(json.loads(message))
                self._tell()
        except ConnectionClosed:
            self.closed.append(socket.closed)
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def send(self, message: dict[str, Any] | bytes | str) -> None:
        assert self._socket is not None
        await self._socket.send_message(message if isinstance(message, bytes | str) else json.dumps(message))

    async def wait_event(self, kind: str, count: int = 1) -> dict[str, Any]:
        """Wait for the n-th event of a type."""
        while len(found := [event for event in self.events if event["type"] == kind]) < count:
            await self._news.wait()
        return found[count - 1]

    async def wait_closed(self) -> Any:
        while not self.closed:
            await self._news.wait()
        return self.closed[-1]


@asynccontextmanager
async def open_hand_made(
    options: LinkOptions | None = None, **hello: Any
) -> AsyncIterator[tuple[HandMadeAgent, Agent]]:
    """Have such an agent, and what takes calls for it."""
    made = HandMadeAgent(hello)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, made.handle, "127.0.0.1", 0, None)
        agent = await nursery.start(run_link_agent, f"ws://127.0.0.1:{server.port}/", options)
        yield made, agent
        nursery.cancel_scope.cancel()
