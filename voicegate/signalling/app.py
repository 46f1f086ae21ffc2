"""The HTTP surface as an ASGI application: routes, and one shape for everything that goes wrong.

A request goes one way: host and origin are checked, a preflight is answered, the route is found, its
handler returns a response or raises `RequestRefused`, and common headers are added. Nothing here knows
sockets, so that any ASGI server that runs on Trio can carry it.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

import structlog
import trio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from voicegate.signalling.access import AccessPolicy
from voicegate.signalling.fault import RequestRefused, fault_response
from voicegate.signalling.offer import read_data_channel_id, read_offer
from voicegate.signalling.page import PageFiles
from voicegate.signalling.service import CallService

__all__ = ["MAX_BODY", "SignallingApp"]

MAX_BODY: Final = 64 * 1024
"""Bytes of an offer; the largest that a browser was seen to make is a tenth of it."""
BODY_SECONDS: Final = 10.0
"""For how long a body may take to come; an offer is one or two packets."""

_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_CALLS: Final = "/v1/realtime/calls"

_log = structlog.get_logger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


class SignallingApp:
    """ASGI application over a `CallService`.

    Args:
        service: The owner of the calls.
        access: Who may ask.
        max_body: Bytes of an offer.
    """

    def __init__(self, service: CallService, *, access: AccessPolicy, max_body: int = MAX_BODY) -> None:
        self._service = service
        self._access = access
        self._max_body = max_body
        self._page = PageFiles(agent_name=service.agent_name)
        self._routes = self._make_routes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the server that carries us."""
        match scope["type"]:
            case "http":
                response = await self._respond(Request(scope, receive))
                if response is not None:
                    await response(scope, receive, send)
            case "lifespan":
                for step in ("startup", "shutdown"):
                    await receive()
                    await send({"type": f"lifespan.{step}.complete"})
            case _:
                await send({"type": "websocket.close"})

    def _make_routes(self) -> Sequence[Route]:
        hang_up = self._hang_up
        return [
            Route("/", self._get_page),
            Route("/static/{name}", self._get_static),
            Route(_CALLS, self._create_call, methods=["POST"]),
            Route(_CALLS + "/{call_id}", hang_up, methods=["DELETE"]),
            Route(_CALLS + "/{call_id}/hangup", hang_up, methods=["POST"]),
            Route("/v1/sessions", self._list_sessions),
            Route("/v1/sessions/{call_id}", self._get_session),
            Route("/healthz", self._get_health),
            Route("/readyz", self._get_readiness),
            Route("/metrics", self._get_metrics),
        ]

    async def _respond(self, request: Request) -> Response | None:
        """Answer a request whatever happens; None when there is nobody left to answer."""
        path, headers = request.scope["path"], request.headers
        try:
            self._access.check(path, headers)
            if self._access.is_preflight(request.method, path, headers):
                response = Response(status_code=204, headers=self._access.preflight_headers(headers))
            else:
                response = await self._find_handler(request)(request)
        except RequestRefused as refused:
            response = fault_response(refused)
        except ClientDisconnect:
            return None
        except Exception:
            _log.exception("request_failed", method=request.method, path=path)
            response = fault_response(
                RequestRefused("Something went wrong here.", status=500, code="internal_error")
            )
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers.update(self._access.response_headers(path, headers))
        return response

    def _find_handler(self, request: Request) -> Handler:
        allowed: set[str] = set()
        for route in self._routes:
            match, child_scope = route.matches(request.scope)
            if match is Match.FULL:
                request.scope.update(child_scope)
                handler: Handler = route.endpoint
                return handler
            if match is Match.PARTIAL:
                allowed |= route.methods or set()
        if not allowed:
            raise RequestRefused("There is nothing at this path.", status=404, code="not_found")
        raise RequestRefused(
            f"{request.method} is not possible here.",
            status=405,
            code="method_not_allowed",
            headers={"Allow": ", ".join(sorted(allowed))},
        )

    async def _create_call(self, request: Request) -> Response:
        data_channel_id = read_data_channel_id(request.query_params.getlist("dcid"))
        body = await _read_body(request, self._max_body)
        offer = read_offer(request.headers.get("content-type", ""), body)
        client = request.client.host if request.client else ""
        call = await self._service.create_call(
            offer.sdp, session=offer.session, client=client, data_channel_id=data_channel_id
        )
        return Response(
            call.answer,
            status_code=201,
            media_type="application/sdp",
            headers={"Location": f"{_CALLS}/{call.id}"},
        )

    async def _hang_up(self, request: Request) -> Response:
        if not await self._service.end_call(request.path_params["call_id"]):
            raise _unknown_call()
        return Response(status_code=200)

    async def _list_sessions(self, _request: Request) -> Response:
        return JSONResponse({"sessions": await self._service.sessions()})

    async def _get_session(self, request: Request) -> Response:
        session = await self._service.session(request.path_params["call_id"])
        if session is None:
            raise _unknown_call()
        return JSONResponse(session)

    async def _get_health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _get_readiness(self, _request: Request) -> Response:
        if not await self._service.is_ready():
            raise RequestRefused("Calls can not be made now.", status=503, code="not_ready")
        return JSONResponse({"status": "ready"})

    async def _get_metrics(self, _request: Request) -> Response:
        return Response(await self._service.metrics(), headers={"Content-Type": _METRICS_TYPE})

    async def _get_page(self, _request: Request) -> Response:
        return self._page.index()

    async def _get_static(self, request: Request) -> Response:
        response = self._page.static(request.path_params["name"])
        if response is None:
            raise RequestRefused("There is nothing at this path.", status=404, code="not_found")
        return response


async def _read_body(request: Request, limit: int) -> bytes:
    """Read a whole body within ``limit`` bytes and `BODY_SECONDS`.

    Errors: RequestRefused, 413 (already for an announced length) or 408.
    """
    too_large = RequestRefused(f"The body is larger than {limit} bytes.", status=413, code="body_too_large")
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


def _unknown_call() -> RequestRefused:
    return RequestRefused("No such call.", status=404, code="call_not_found", param="call_id")
