"""One client's HTTP/1.1 connection: h11 on one side, an ASGI application on the other.

Strictly one thing after the other, in one task: read a head, let the application read the body and answer,
start again. So nothing is read ahead of what is asked for, and no queue can fill up. A head that asks for a
WebSocket is the last one: `SocketCarrier` takes over. Left out: HTTP/2, and noticing that a client went away
while its request, already whole, is being answered (no answer here takes long enough to care).

Threat notes. Attack: heads or bodies that trickle, answers that are never taken, endless bodies to a path
that reads none. Wanted: bounded time and memory for each, and never a task left behind. Construction: a
deadline on each wait for the network, h11's bound on a head, at most `MAX_DISCARD` bytes read for
politeness.
"""

from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

import h11
import trio
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message

from voicegate.signalling.fault import RequestRefused, fault_body, fault_response
from voicegate.signalling.upgrade import TUNNEL
from voicegate.signalling.websocket import SocketCarrier, check_handshake, is_handshake, subprotocols

__all__ = ["HttpConnection"]

HEAD_SECONDS: Final = 10.0
"""For a whole head to come, from the end of the previous answer: so also how long a connection may idle."""
SEND_SECONDS: Final = 10.0
"""For the client to take one piece of an answer."""
DISCARD_SECONDS: Final = 1.0
"""For reading on when an answer is ready before the body is over."""
MAX_HEAD: Final = 16 * 1024
"""Bytes of a request line with its headers; browsers send about one thousand."""
MAX_DISCARD: Final = 1024 * 1024
"""Bytes of an unwanted body still read, so that its sender reads why it is unwanted instead of a reset."""
_RECEIVE_SIZE: Final = 16 * 1024

_UNREADABLE: Final = "The request is not readable as HTTP/1.1."


class HttpConnection:
    """Serves the requests of one connection.

    Args:
        app: The ASGI application.
        stream: The connection. Whoever opened it closes it.
        client: The peer's address and port.
        server: Our own.
        max_head: Bytes of a request line with its headers.
    """

    def __init__(
        self,
        app: ASGIApp,
        stream: trio.abc.Stream,
        *,
        client: tuple[str, int],
        server: tuple[str, int],
        max_head: int = MAX_HEAD,
    ) -> None:
        self._app = app
        self._stream = stream
        self._client = client
        self._server = server
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=max_head)
        self._idle = trio.CancelScope()
        self._is_draining = False
        self._outgoing: list[bytes] = []
        self._is_head_request = False

    def drain(self) -> None:
        """Take no further request: close now if none is being served, otherwise after the one that is."""
        self._is_draining = True
        self._idle.cancel()

    async def run(self) -> None:
        """Serve until the client goes, breaks the protocol, is too slow, or `drain` was called.

        Errors: OSError and trio.BrokenResourceError when the network fails; the application's own.
        """
        while not self._is_draining:
            request = await self._read_request()
            if request is None:
                return
            if is_handshake(request):
                await self._serve_socket(request)
                return
            self._is_head_request = request.method == b"HEAD"
            await self._app(self._make_scope(request), self._receive, self._send)
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _serve_socket(self, request: h11.Request) -> None:
        """Serve the WebSocket that a client asks for, or tell it in HTTP why not."""
        try:
            check_handshake(request)
        except RequestRefused as refused:
            await self._refuse_with(fault_response(refused))
            return
        await self._next_event()  # the end of the head
        scope = self._make_scope(request) | {
            "type": "websocket",
            "scheme": "ws",
            "subprotocols": subprotocols(request),
            "extensions": {"websocket.http.response": {}, TUNNEL: {}},
        }
        del scope["method"]
        async with trio.open_nursery() as nursery:
            carrier = SocketCarrier(
                self._stream, request, bytes(self._http.trailing_data[0]), nursery=nursery
            )

            async def send(message: Message) -> None:
                match message["type"]:
                    case "websocket.accept":
                        await carrier.accept(message.get("subprotocol"))
                    case "websocket.send":
                        await carrier.send(message["text"])
                    case "websocket.close":
                        await carrier.close(message.get("code", 1000), message.get("reason", ""))
                    case "voicegate.tunnel":
                        await carrier.tunnel(message["door"], message["headers"])
                    case _:
                        # websocket.http.response.*: a refusal.
                        await self._send({**message, "type": message["type"].removeprefix("websocket.")})

            await self._app(scope, carrier.receive, send)
            nursery.cancel_scope.cancel()

    async def _read_request(self) -> h11.Request | None:
        """Wait for the next head; None when there will be none that can be served."""
        event: h11.Event | None = None
        with trio.CancelScope(deadline=trio.current_time() + HEAD_SECONDS) as self._idle:
            try:
                event = await self._next_event()
            except h11.RemoteProtocolError as error:
                await self._refuse(error.error_status_hint, code="bad_request", message=_UNREADABLE)
                return None
        if isinstance(event, h11.Request):
            if event.http_version in {b"1.0", b"1.1"}:
                return event
            await self._refuse(505, code="bad_request", message=_UNREADABLE)
        elif self._idle.cancelled_caught and not self._is_draining and self._http.trailing_data[0]:
            await self._refuse(408, code="head_timeout", message="The request head did not arrive in time.")
        return None

    async def _next_event(self) -> h11.Event:
        while True:
            event = self._http.next_event()
            if not isinstance(event, type):
                return event
            if self._http.they_are_waiting_for_100_continue:
                self._write(h11.InformationalResponse(status_code=100, headers=[]))
                await self._flush()
            self._http.receive_data(bytes(await self._stream.receive_some(_RECEIVE_SIZE)))

    def _make_scope(self, request: h11.Request) -> dict[str, Any]:
        raw_path, _, query = request.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.http_version.decode("ascii"),
            "method": request.method.decode("ascii"),
            "scheme": "http",
            "path": unquote(raw_path.decode("ascii")),
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": list(request.headers),
            "client": self._client,
            "server": self._server,
        }

    async def _receive(self) -> Message:
        """ASGI: the next piece of the body."""
        if self._http.their_state is not h11.SEND_BODY:
            return {"type": "http.disconnect"}
        try:
            event = await self._next_event()
        except (h11.RemoteProtocolError, OSError, trio.BrokenResourceError):
            return {"type": "http.disconnect"}
        if isinstance(event, h11.Data):
            return {"type": "http.request", "body": bytes(event.data), "more_body": True}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: Message) -> None:
        """ASGI: a piece of the answer."""
        if message["type"] == "http.response.start":
            await self._discard_body()
            headers = [*message["headers"], (b"date", formatdate(usegmt=True).encode("ascii"))]
            if self._is_draining or self._http.their_state is not h11.DONE:
                headers.append((b"connection", b"close"))
            self._write_head(message["status"], headers)
            return
        if message.get("body") and not self._is_head_request:
            self._write(h11.Data(data=message["body"]))
        if not message.get("more_body", False):
            self._write(h11.EndOfMessage())
        await self._flush()

    async def _discard_body(self) -> None:
        discarded = 0
        with trio.move_on_after(DISCARD_SECONDS):
            while self._http.their_state is h11.SEND_BODY and discarded < MAX_DISCARD:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    return
                discarded += len(message["body"])

    async def _refuse(self, status: int, *, code: str, message: str) -> None:
        """Answer what never became a request."""
        await self._refuse_with(
            JSONResponse(fault_body(status=status, code=code, message=message), status_code=status)
        )

    async def _refuse_with(self, response: Response) -> None:
        self._write_head(response.status_code, [*response.raw_headers, (b"connection", b"close")])
        self._write(h11.Data(data=bytes(response.body)))
        self._write(h11.EndOfMessage())
        await self._flush()

    def _write_head(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        reason = HTTPStatus(status).phrase.encode("ascii")
        self._write(h11.Response(status_code=status, reason=reason, headers=list(headers)))

    def _write(self, event: h11.Event) -> None:
        self._outgoing.append(self._http.send(event) or b"")

    async def _flush(self) -> None:
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        with trio.move_on_after(SEND_SECONDS) as scope:
            await self._stream.send_all(data)
        if scope.cancelled_caught:
            raise trio.BrokenResourceError("the client does not read")
