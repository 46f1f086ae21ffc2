"""A server of the Realtime API that follows a script: what the documents say, and what servers leave out.

Every event of the modern dialect is checked against the classes of the `openai` package, both ways.
"""

import base64
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import trio
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import TypeAdapter
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

from voicegate.testing import sound

Event = dict[str, Any]

RATE = 24_000
ANSWER = sound.speech_like(1.0, seed=3, rate=RATE).pcm
WORDS = "Good day to you."

_CLIENT: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)
_SERVER: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)

_BETA = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "conversation.item.added": "conversation.item.created",
}


class ScriptedServer:
    """One server, over all its connections.

    Args:
        dialect: which names it uses.
        lacks: events it has never heard of.
        greets: whether it sends ``session.created``.
        renames: whether it gives items names of its own.
        updates: whether it answers ``session.update``.
        has_references: whether its errors say which event they are about.
        is_strict: whether what clients send is to be as documented, to the letter.
    """

    def __init__(
        self,
        *,
        dialect: str = "ga",
        lacks: Collection[str] = (),
        greets: bool = True,
        renames: bool = False,
        updates: bool = True,
        has_references: bool = True,
        is_strict: bool = True,
    ) -> None:
        self.url = ""
        self.requests: list[WebSocketRequest] = []
        self.seen: list[Event] = []
        """All that clients sent, but audio."""
        self.audio = bytearray()
        self.refuse: int | None = None
        """A status to refuse connections with."""
        self.is_mute = False
        """Whether responses begin and go no further."""
        self._dialect = dialect
        self._lacks = lacks
        self._greets, self._renames, self._updates = greets, renames, updates
        self._has_references, self._is_strict = has_references, is_strict and dialect == "ga"
        self._names = 0
        self._connection: WebSocketConnection | None = None
        self._scope = trio.CancelScope()

    # For tests

    async def send(self, kind: str, **fields: Any) -> None:
        """Send an event, as its dialect has it."""
        event = {"type": kind, "event_id": self.name("event"), **fields}
        if self._is_strict:
            _SERVER.validate_python(event)
        if self._dialect == "beta":
            event["type"] = _BETA.get(kind, kind)
        assert self._connection is not None
        with suppress(ConnectionClosed):
            await self._connection.send_message(json.dumps(event))

    def cut(self) -> None:
        self._scope.cancel()

    def name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}_{self._names}"

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.seen]

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.seen if event["type"] == kind]

    async def wait(self, kind: str, count: int = 1) -> Event:
        """Wait until a client has sent so many events of a kind."""
        while len(self.of(kind)) < count:
            await trio.sleep(0.01)
        return self.of(kind)[count - 1]

    # The script

    async def handle(self, request: WebSocketRequest) -> None:
        self.requests.append(request)
        if self.refuse is not None:
            await request.reject(self.refuse)
            return
        chosen = request.proposed_subprotocols[0] if request.proposed_subprotocols else None
        self._connection = await request.accept(subprotocol=chosen)
        if self._greets:
            await self.send("session.created", session=self._session({}))
        with suppress(ConnectionClosed):
            while True:
                await self._handle(json.loads(await self._connection.get_message()))

    async def _handle(self, event: Event) -> None:
        kind = event["type"]
        if kind == "input_audio_buffer.append":
            self.audio += base64.b64decode(event["audio"], validate=True)
            return
        if self._is_strict:
            _CLIENT.validate_python(event)
        self.seen.append(event)
        if kind in self._lacks:
            await self._complain(event)
            return
        match kind:
            case "session.update" if self._updates:
                await self.send("session.updated", session=self._session(event["session"]))
            case "conversation.item.create":
                await self._create(event)
            case "conversation.item.truncate":
                named = {key: event[key] for key in ("item_id", "content_index", "audio_end_ms")}
                await self.send("conversation.item.truncated", **named)
            case "response.create":
                await self.respond()
            case "response.cancel":
                await self._complain(event, "no active response", code="response_cancel_not_active")
            case "input_audio_buffer.clear":
                await self.send("input_audio_buffer.cleared")
            case _:
                pass

    async def _complain(self, event: Event, what: str = "unknown event", code: str = "unknown_event") -> None:
        error = {"type": "invalid_request_error", "code": code, "message": f"{what}: {event['type']}"}
        if self._has_references:
            error["event_id"] = event["event_id"]
        await self.send("error", error=error)

    async def _create(self, event: Event) -> None:
        item = {"status": "completed", "id": self.name("item"), **event["item"]}
        if self._renames:
            item["id"] = self.name("item")
        await self.send("conversation.item.added", item=item, previous_item_id=None)
        if self._dialect == "ga":
            await self.send("conversation.item.done", item=item, previous_item_id=None)

    async def respond(self) -> None:
        response_id, item_id = self.name("resp"), self.name("item")
        place = {"response_id": response_id, "item_id": item_id, "output_index": 0, "content_index": 0}
        response = {"id": response_id, "object": "realtime.response", "status": "in_progress", "output": []}
        await self.send("response.created", response=response)
        if self.is_mute:
            return
        audio = "output_audio" if self._dialect == "ga" else "audio"
        item: Event = {"id": item_id, "type": "message", "role": "assistant", "content": []}
        indexed = {"response_id": response_id, "output_index": 0}
        await self.send("response.output_item.added", **indexed, item={**item, "status": "in_progress"})
        await self.send("conversation.item.added", item=item, previous_item_id=None)
        await self.send("response.content_part.added", **place, part={"type": "audio", "transcript": ""})
        await self.send("response.output_audio_transcript.delta", **place, delta=WORDS)
        for start in range(0, len(ANSWER), 9600):
            delta = base64.b64encode(ANSWER[start : start + 9600]).decode()
            await self.send("response.output_audio.delta", **place, delta=delta)
        await self.send("response.output_audio.done", **place)
        await self.send("response.output_audio_transcript.done", **place, transcript=WORDS)
        item |= {"status": "completed", "content": [{"type": audio, "transcript": WORDS}]}
        await self.send("response.output_item.done", **indexed, item=item)
        done = {**response, "status": "completed", "output": [item]}
        await self.send("response.done", response=done)

    def _session(self, wanted: Event) -> Event:
        if self._dialect == "ga":
            return {"type": "realtime", "object": "realtime.session", "id": "sess_x", **wanted}
        beta = {"modalities": ["audio", "text"], "input_audio_format": "pcm16", "voice": "alloy"}
        return {"id": "sess_x", "object": "realtime.session", **beta, **wanted}


@asynccontextmanager
async def serve(server: ScriptedServer) -> AsyncIterator[ScriptedServer]:
    """Serve around the block."""

    async def handle(stream: trio.SocketStream) -> None:
        with trio.CancelScope() as server._scope:
            try:
                async with trio.open_nursery() as nursery:
                    request = await wrap_server_stream(nursery, stream, max_message_size=1 << 24)
                    await server.handle(request)
                    nursery.cancel_scope.cancel()
            finally:
                await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        server.url = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1/realtime"
        yield server
        nursery.cancel_scope.cancel()
