"""Speech-to-text, chat and speech over HTTP as a cascade calls them, with known answers and known delays."""

import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import h11
import trio

from voicegate.agents.cascade import CascadeOptions
from voicegate.testing import sound

RATE = 24_000
LETTER_SECONDS = 0.05
"""What the voice takes for each."""

READ_BYTES = 1 << 16


def say(text: str) -> list[Any]:
    """Return a reply's chunks, a word each."""
    return [{"content": word} for word in re.findall(r"\S+\s*", text)]


def call(name: str, arguments: str, *, index: int = 0, call_id: str = "call_1") -> list[Any]:
    """Return the chunks of a function call."""
    first = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
    rest = {"index": index, "function": {"arguments": arguments}}
    return [{"tool_calls": [first]}, {"tool_calls": [rest]}]


@attrs.define
class Request:
    """What was asked for."""

    path: str
    at: float
    headers: Mapping[str, str]
    body: bytes
    answered_at: float = 0.0
    """When the first of the answer was sent."""
    is_answered: bool = False
    """Whether the client has waited for all of it."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def words(self) -> str:
        """What is to be said, or the last thing that was."""
        return str(self.json.get("input") or self.json["messages"][-1]["content"])


@attrs.define
class Stub:
    """The server."""

    url: str = ""
    transcripts: Callable[[int], list[str]] = lambda _number: ["what time is it"]
    """The deltas for each transcription, by its number."""
    reply: Callable[[list[Any]], list[Any]] = lambda _messages: say("It is noon.")
    """The chunks that answer messages."""
    streams_words: bool = True
    recognition_seconds: float = 0.0
    """Before the first words."""
    thinking_seconds: float = 0.0
    word_seconds: float = 0.0
    """Between any two."""
    voice_seconds: float = 0.0
    finish_reason: str = "stop"
    failing: dict[str, int] = attrs.field(factory=dict)
    """What paths answer with instead."""
    strange: dict[str, tuple[str, bytes]] = attrs.field(factory=dict)
    """What paths answer with instead: a content type, and something that then breaks off."""
    requests: list[Request] = attrs.field(factory=list)
    connections: int = 0

    def asked(self, path: str) -> list[Request]:
        return [each for each in self.requests if each.path.endswith(path)]

    @property
    def options(self) -> dict[str, Any]:
        """As a configuration file has them."""
        return {kind: {"base_url": self.url, "model": kind} for kind in ("transcription", "chat", "speech")}

    def make_options(self, **others: Any) -> CascadeOptions:
        return CascadeOptions.from_mapping(self.options | others)

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection."""
        self.connections += 1
        connection = h11.Connection(h11.SERVER)
        async with stream:
            try:
                while (request := await self._read(connection, stream)) is not None:
                    await self._answer(request, _Reply(connection, stream, request))
                    request.is_answered = True
                    connection.start_next_cycle()
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                return

    async def _read(self, connection: h11.Connection, stream: trio.SocketStream) -> Request | None:
        head: h11.Request | None = None
        body = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(READ_BYTES))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                headers = {name.decode(): value.decode() for name, value in head.headers}
                self.requests.append(Request(head.target.decode(), trio.current_time(), headers, body))
                return self.requests[-1]
            else:
                return None

    async def _answer(self, request: Request, reply: "_Reply") -> None:
        if status := self.failing.get(request.path):
            await reply.send_json(
                {"error": {"message": "out of order", "type": "server_error"}}, status=status
            )
            return
        if request.path in self.strange:
            content_type, data = self.strange[request.path]
            await reply.start(content_type)
            await reply.send(data)
            raise trio.BrokenResourceError
        match request.path:
            case "/v1/audio/transcriptions":
                number = len(self.asked("transcriptions"))
                await trio.sleep(self.recognition_seconds)
                deltas = self.transcripts(number)
                if not self.streams_words:
                    await reply.send_json({"text": "".join(deltas)})
                    return
                await reply.start("text/event-stream")
                for delta in deltas:
                    await reply.send_event({"type": "transcript.text.delta", "delta": delta})
                    await trio.sleep(self.word_seconds)
                await reply.send_event({"type": "transcript.text.done", "text": "".join(deltas)})
            case "/v1/chat/completions":
                await trio.sleep(self.thinking_seconds)
                await reply.start("text/event-stream")
                for delta in self.reply(request.json["messages"]):
                    chunk = delta if "error" in delta else {"choices": [{"index": 0, "delta": delta}]}
                    await reply.send_event(chunk)
                    await trio.sleep(self.word_seconds)
                await reply.send_event({"choices": [{"delta": {}, "finish_reason": self.finish_reason}]})
                await reply.send(b"data: [DONE]\n\n")
            case _:
                await trio.sleep(self.voice_seconds)
                await reply.start("application/octet-stream")
                seconds = LETTER_SECONDS * len(request.words)
                pcm = sound.tone(440, seconds, rate=RATE).pcm
                # Pieces that end within samples, as those of a network do.
                for start in range(0, len(pcm), 9601):
                    await reply.send(pcm[start : start + 9601])
        await reply.end()


class _Reply:
    def __init__(self, connection: h11.Connection, stream: trio.SocketStream, request: Request) -> None:
        self._connection = connection
        self._stream = stream
        self._request = request

    async def start(self, content_type: str, *, status: int = 200) -> None:
        self._request.answered_at = trio.current_time()
        headers = [("content-type", content_type), ("transfer-encoding", "chunked")]
        await self._send(h11.Response(status_code=status, headers=headers))

    async def send(self, data: bytes) -> None:
        await self._send(h11.Data(data=data))

    async def send_event(self, event: Any) -> None:
        await self.send(f"data: {json.dumps(event)}\n\n".encode())

    async def send_json(self, value: Any, *, status: int = 200) -> None:
        await self.start("application/json", status=status)
        await self.send(json.dumps(value).encode())
        await self.end()

    async def end(self) -> None:
        if self._connection.our_state is not h11.DONE:
            await self._send(h11.EndOfMessage())

    async def _send(self, event: Any) -> None:
        await self._stream.send_all(self._connection.send(event))


_running: dict[int, tuple[Stub, trio.Nursery]] = {}
"""By port."""


@asynccontextmanager
async def open_stub(**settings: Any) -> AsyncIterator[Stub]:
    """Run a server on a free port of this machine."""
    stub = Stub(**settings)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, stub.handle, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        stub.url = f"http://127.0.0.1:{port}/v1"
        _running[port] = stub, nursery
        yield stub
        del _running[port]
        nursery.cancel_scope.cancel()


async def connect_at_once(*, port: int, **_options: object) -> trio.SocketStream:
    """Be `trio.open_tcp_stream` for a clock that jumps.

    What one end of a socket pair sends is there for the other at once. TCP takes its time, and meanwhile such
    a clock would jump.
    """
    await trio.lowlevel.checkpoint()
    if port not in _running:
        raise ConnectionRefusedError
    ours, theirs = map(trio.socket.from_stdlib_socket, socket.socketpair())
    stub, nursery = _running[port]
    nursery.start_soon(stub.handle, trio.SocketStream(theirs))
    return trio.SocketStream(ours)
