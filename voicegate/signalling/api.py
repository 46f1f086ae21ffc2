"""What the families of routes share: who may ask, bodies, where a call is, and how a route is described.

A family is a module with ``def routes(api: Api) -> Sequence[Endpoint | SocketEndpoint]``, which
`SignallingApp` lists. An `Endpoint` is one method of one path, together with its piece of the OpenAPI
description, so that none can be without. Callers are checked before a handler runs, by the endpoint's
`Access`: a handler that forgets to ask is closed, not open.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from enum import Enum
from typing import Final
from urllib.parse import quote

import trio
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route

from voicegate.access.grant import Grant
from voicegate.signalling.fault import RequestRefused
from voicegate.signalling.locate import Locator
from voicegate.signalling.remote import forward_request
from voicegate.signalling.service import JSON, CallService, Handshake

__all__ = [
    "BODY_SECONDS",
    "MAX_BODY",
    "Access",
    "Api",
    "Endpoint",
    "Handler",
    "SocketEndpoint",
    "SocketHandler",
    "client_address",
    "is_granted",
    "set_client",
    "set_grant",
    "unknown_call",
]

MAX_BODY: Final = 64 * 1024
"""Bytes of an offer; the largest that a browser was seen to make is a tenth of it."""
BODY_SECONDS: Final = 10.0
"""For how long a body may take to come; an offer is one or two packets."""

_GRANT: Final = "voicegate.grant"
_CLIENT: Final = "voicegate.client"
"""Keys in a request's scope; requests have no means to write there."""

Handler = Callable[[Request], Awaitable[Response]]
SocketHandler = Callable[[Handshake], Awaitable[None]]


class Access(Enum):
    """Who may ask."""

    OPEN = "open"
    """Anybody."""
    CLIENT = "client"
    """Whoever has a key or a client secret."""
    OPERATOR = "operator"
    """Whoever has a key."""


class Endpoint(Route):
    """One method of one path.

    Args:
        path: As Starlette has it, such as ``/v1/realtime/calls/{call_id}``.
        handler: Returns the answer, or raises `RequestRefused`.
        method: GET (which serves HEAD, too), POST, PATCH, DELETE...
        summary: What it does, in a line.
        access: Who may ask.
        body: Of the request, by content type: a JSON schema each.
        answers: By status, what the answer has by content type; an empty mapping for none.
        errors: Statuses that it refuses with, besides those that every route may.
        query: Parameters, by name: a JSON schema each. None is required.
        headers: Of the successful answer: a line on each.
    """

    def __init__(
        self,
        path: str,
        handler: Handler,
        *,
        summary: str,
        method: str = "GET",
        access: Access = Access.CLIENT,
        body: Mapping[str, JSON] | None = None,
        answers: Mapping[int, Mapping[str, JSON]],
        errors: Sequence[int] = (),
        query: Mapping[str, JSON] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(path, handler, methods=[method])
        self.method: Final = method
        self.summary: Final = summary
        self.access: Final = access
        self.body: Final = body
        self.answers: Final = answers
        self.errors: Final = tuple(errors)
        self.query: Final = query or {}
        self.headers: Final = headers or {}

    async def open_socket(self, handshake: Handshake) -> None:
        """Take a WebSocket.

        Errors: RequestRefused, for whatever its client should read.
        """
        raise RequestRefused(
            f"{handshake.request.scope['path']} is no WebSocket.", status=400, code="no_websocket"
        )


class SocketEndpoint(Endpoint):
    """A path that a WebSocket connects to, by GET."""

    def __init__(
        self,
        path: str,
        handler: SocketHandler,
        *,
        summary: str,
        access: Access = Access.CLIENT,
        query: Mapping[str, JSON] | None = None,
        errors: Sequence[int] = (),
    ) -> None:
        super().__init__(
            path,
            _want_upgrade,
            summary=summary,
            access=access,
            answers={101: {}},
            errors=(426, *errors),
            query=query,
        )
        self._open_socket = handler

    async def open_socket(self, handshake: Handshake) -> None:
        """Take a WebSocket."""
        await self._open_socket(handshake)


async def _want_upgrade(_request: Request) -> Response:
    raise RequestRefused(
        "This is a WebSocket: connect with wss:// or ws://.",
        status=426,
        code="upgrade_required",
        headers={"Upgrade": "websocket", "Connection": "Upgrade"},
    )


class Api:
    """What handlers have in common.

    Args:
        service: The owner of the calls.
        max_body: Bytes of a body, unless a handler has another limit.
        ice_servers: What clients are told of STUN and TURN servers, as an RTCPeerConnection takes them.
        locator: Tells where in the world clients are; by default, nobody does.
    """

    def __init__(
        self,
        service: CallService,
        *,
        max_body: int = MAX_BODY,
        ice_servers: Sequence[Mapping[str, JSON]] = (),
        locator: Locator | None = None,
    ) -> None:
        self.service: Final = service
        self.ice_servers: Final = ice_servers
        self._max_body = max_body
        self._locator = locator

    async def authorize(self, request: HTTPConnection) -> Grant:
        """Return what the caller may do; it was checked when the request came."""
        grant: Grant = request.scope[_GRANT]
        return grant

    def regions(self, request: HTTPConnection) -> tuple[str, ...]:
        """Return all regions, the one nearest to the client first; none when nobody can say."""
        if self._locator is None:
            return ()
        return self._locator.locate(request, client=client_address(request))

    async def read_body(self, request: Request, limit: int | None = None) -> bytes:
        """Read a whole body within ``limit`` bytes and `BODY_SECONDS`.

        Errors: RequestRefused, 413 (already for an announced length) or 408.
        """
        limit = self._max_body if limit is None else limit
        too_large = RequestRefused(
            f"The body is larger than {limit} bytes.", status=413, code="body_too_large"
        )
        # Ten digits tell enough, and int() refuses thousands of them.
        announced = request.headers.get("content-length", "0")[:10]
        if announced.isdecimal() and int(announced) > limit:
            raise too_large
        body = bytearray()
        with trio.move_on_after(BODY_SECONDS) as scope:
            async with aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > limit:
                        raise too_large
        if scope.cancelled_caught:
            raise RequestRefused(
                f"The body did not arrive within {BODY_SECONDS:g} seconds.", status=408, code="body_timeout"
            )
        return bytes(body)

    async def forward(self, request: Request, call_id: str) -> Response | None:
        """Have the process that owns a call answer a request about it; None when that is this one.

        So a handler of ``/.../{call_id}`` begins with this, before it reads the body, and needs to think only
        of calls that `CallService.local_call` returns.
        """
        owner = self.service.owner(call_id)
        if owner is None:
            return None
        body = await self.read_body(request)
        return await forward_request(
            owner, request, body, grant=await self.authorize(request), client=client_address(request)
        )

    @staticmethod
    def location(collection: str, call_id: str) -> str:
        """Return the URL of a call below ``collection``, relative to our host."""
        return f"{collection}/{quote(call_id, safe='')}"


def client_address(request: HTTPConnection) -> str:
    """Return the IP address that a request came from; empty when that is not known."""
    known: str | None = request.scope.get(_CLIENT)
    if known is not None:
        return known
    return request.client.host if request.client else ""


def set_client(request: HTTPConnection, address: str) -> None:
    """Note the IP address that a request came from, if that is not who connected to us."""
    request.scope[_CLIENT] = address


def is_granted(request: HTTPConnection) -> bool:
    """Return whether it was said already what the caller of a request may do."""
    return _GRANT in request.scope


def set_grant(request: HTTPConnection, grant: Grant) -> None:
    """Note what the caller of a request may do, for `Api.authorize`."""
    request.scope[_GRANT] = grant


def unknown_call() -> RequestRefused:
    """Refuse what names a call that isn't there."""
    return RequestRefused("No such call.", status=404, code="call_not_found", param="call_id")
