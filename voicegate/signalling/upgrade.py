"""A WebSocket handshake and what becomes of it, in the words of ASGI."""

from typing import Final

import trio
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from voicegate.access import Grant
from voicegate.event_socket import EventSocket
from voicegate.signalling.api import client_address
from voicegate.signalling.door import Door
from voicegate.signalling.remote import CLIENT_HEADER, GRANT_HEADER, encode_grant

__all__ = ["TUNNEL", "AsgiHandshake"]

TUNNEL: Final = "voicegate.tunnel"
"""An ASGI extension, and the type of its one message: a ``door``, and ``headers`` to put into the handshake,
which goes there; once it is accepted, bytes go both ways until either end closes."""

PROTOCOL: Final = "realtime"
"""The subprotocol of the API; browsers that name a key among theirs expect another one to be chosen."""

_DONE: Final = 1000
_NO_TEXT: Final = 1003
_FAILED: Final = 1011
_MAX_REASON: Final = 123
"""Bytes: a control frame has 125, of which the code takes two (RFC 6455 §5.5)."""


class AsgiHandshake:
    """A `Handshake` over ASGI."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.request: Final = HTTPConnection(scope)
        self._receive = receive
        self._send = send
        self._socket: _AsgiSocket | None = None
        self._is_tunnelled = False

    async def accept(self) -> EventSocket:
        """Open it."""
        await self._receive()  # websocket.connect
        offered = self.request.scope["subprotocols"]
        await self._send(
            {"type": "websocket.accept", "subprotocol": PROTOCOL if PROTOCOL in offered else None}
        )
        self._socket = _AsgiSocket(self._receive, self._send)
        return self._socket

    async def tunnel(self, door: Door, *, grant: Grant) -> None:
        """Have another process accept it."""
        headers = [
            (CLIENT_HEADER.lower().encode(), client_address(self.request).encode()),
            (GRANT_HEADER.lower().encode(), encode_grant(grant).encode()),
        ]
        await self._send({"type": TUNNEL, "door": door, "headers": headers})
        self._is_tunnelled = True

    async def finish(self) -> None:
        """Close what is still open after the handler."""
        if self._socket is not None:
            await self._socket.close(_DONE, "")

    async def fail(self, response: Response) -> None:
        """Answer in HTTP, or, when it is too late for that, close."""
        if self._socket is not None:
            await self._socket.close(_FAILED, "internal error")
        elif not self._is_tunnelled:
            start: Message = {
                "type": "websocket.http.response.start",
                "status": response.status_code,
                "headers": response.raw_headers,
            }
            await self._send(start)
            await self._send({"type": "websocket.http.response.body", "body": bytes(response.body)})


class _AsgiSocket:
    """An `EventSocket` over ASGI."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._is_closed = False

    async def receive(self) -> str | None:
        if self._is_closed:
            return None
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._is_closed = True
            return None
        text: str | None = message.get("text")
        if text is None:
            await self.close(_NO_TEXT, "events are text")
        return text

    async def send(self, text: str) -> None:
        if self._is_closed:
            raise trio.BrokenResourceError("the socket is closed")
        try:
            await self._send({"type": "websocket.send", "text": text})
        except OSError as error:
            # What ASGI says of a client that is gone.
            self._is_closed = True
            raise trio.BrokenResourceError("the client is gone") from error

    async def close(self, code: int, reason: str) -> None:
        if not self._is_closed:
            self._is_closed = True
            short = reason.encode()[:_MAX_REASON].decode(errors="ignore")
            await self._send({"type": "websocket.close", "code": code, "reason": short})
