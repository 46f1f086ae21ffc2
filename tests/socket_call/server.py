"""A WebSocket server that runs a socket call for each connection: what the HTTP surface does, and no more."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

from voicegate.call import Agent
from voicegate.socket_call import run_socket_call

_NUMBERS = count()


class Socket:
    """An event socket over a WebSocket."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection

    async def receive(self) -> str | None:
        try:
            message = await self._connection.get_message()
        except ConnectionClosed:
            return None
        assert isinstance(message, str)
        return message

    async def send(self, text: str) -> None:
        try:
            await self._connection.send_message(text)
        except ConnectionClosed:
            raise trio.BrokenResourceError from None

    async def close(self, code: int, reason: str) -> None:
        with suppress(ConnectionClosed):
            await self._connection.aclose(code, reason)


@asynccontextmanager
async def serve_calls(
    agent: Agent, *, watch: Callable[[WebSocketRequest], None] = lambda _request: None
) -> AsyncIterator[str]:
    """Serve around the block; the URL ends where the resource's own part begins."""

    async def handle(stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            with suppress(trio.BrokenResourceError):
                try:
                    await talk(nursery, stream)
                finally:
                    nursery.cancel_scope.cancel()
                    await trio.aclose_forcefully(stream)

    async def talk(nursery: trio.Nursery, stream: trio.SocketStream) -> None:
        request = await wrap_server_stream(nursery, stream, max_message_size=16 * 1024 * 1024)
        watch(request)
        asked = request.proposed_subprotocols
        connection = await request.accept(subprotocol="realtime" if "realtime" in asked else None)
        await run_socket_call(
            Socket(connection),
            agent=agent,
            session=None,
            model=request.path.partition("model=")[2],
            call_id=f"rtc_u0_{next(_NUMBERS)}",
            max_seconds=600.0,
        )

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"
        nursery.cancel_scope.cancel()
