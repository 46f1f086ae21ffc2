"""The HTTP surface as an ASGI application: all routes, and one shape for everything that goes wrong.

A request goes one way: host and origin are checked, a preflight is answered, the route is found, the
caller's key is checked, the handler returns a response or raises `RequestRefused`, and common headers are
added. A WebSocket goes the same way until its handler answers it. Nothing here knows sockets, so that any
ASGI server that runs on Trio can carry it.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Final

import structlog
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from voicegate.access import Gate
from voicegate.signalling import client_secret, live, operation, page, private, realtime, whip
from voicegate.signalling.access import AccessPolicy
from voicegate.signalling.api import MAX_BODY, Access, Api, Endpoint, is_granted, set_client, set_grant
from voicegate.signalling.description import describe
from voicegate.signalling.fault import RequestRefused, fault_response
from voicegate.signalling.gatekeeper import Gatekeeper
from voicegate.signalling.locate import Locator
from voicegate.signalling.service import JSON, CallService
from voicegate.signalling.upgrade import AsgiHandshake

__all__ = ["SignallingApp"]

_log = structlog.get_logger(__name__)

_UNFINISHED: Final = "Something went wrong here."


class SignallingApp:
    """ASGI application over a `CallService`.

    Args:
        service: The owner of the calls.
        access: Which hosts and origins may ask.
        gate: Who may ask; by default, whoever can.
        max_body: Bytes of an offer.
        ice_servers: What clients are told of STUN and TURN servers, as an RTCPeerConnection takes them.
        locator: Tells where clients are, behind proxies and in the world.
        is_private: Whether other processes of this server ask, who have checked what came from outside.
    """

    def __init__(
        self,
        service: CallService,
        *,
        access: AccessPolicy,
        gate: Gate | None = None,
        max_body: int = MAX_BODY,
        ice_servers: Sequence[Mapping[str, JSON]] = (),
        locator: Locator | None = None,
        is_private: bool = False,
    ) -> None:
        # Without a gate there is nobody to recognise a secret by: it may as well be forgotten with us.
        gate = gate or Gate((), secrets=[os.urandom(32)], random=os.urandom)
        api = Api(service, max_body=max_body, ice_servers=ice_servers, locator=locator)
        self._access = access
        self._locator = locator
        self._gatekeeper = Gatekeeper(gate=gate)
        self.endpoints: Final[Sequence[Endpoint]] = (
            *page.routes(api),
            *realtime.routes(api),
            *client_secret.routes(api, gate=gate, default_model=service.agent_name),
            *whip.routes(api),
            *live.routes(api),
            *operation.routes(api),
            Endpoint(
                "/openapi.json",
                self._get_description,
                summary="This description.",
                access=Access.OPEN,
                answers={200: {"application/json": {"type": "object"}}},
            ),
            *(private.routes(api) if is_private else ()),
        )
        """All routes there are."""
        self.description: Final = describe(self.endpoints)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one socket, or the life of the server that carries us."""
        match scope["type"]:
            case "http":
                response = await self._respond(Request(scope, receive))
                if response is not None:
                    await response(scope, receive, send)
            case "websocket":
                await self._serve_socket(AsgiHandshake(scope, receive, send))
            case "lifespan":
                for step in ("startup", "shutdown"):
                    await receive()
                    await send({"type": f"lifespan.{step}.complete"})
            case _:
                pass

    async def _respond(self, request: Request) -> Response | None:
        """Answer a request whatever happens; None when there is nobody left to answer."""
        path, headers = request.scope["path"], request.headers
        try:
            self._access.check(path, headers)
            if self._access.is_preflight(request.method, path, headers):
                response = Response(status_code=204, headers=self._access.preflight_headers(headers))
            else:
                endpoint = self._find(request)
                self._admit(request, endpoint)
                response = await endpoint.endpoint(request)
        except RequestRefused as refused:
            response = fault_response(refused)
        except ClientDisconnect:
            return None
        except Exception:
            response = self._failed(request)
        return self._finish(request, response)

    async def _serve_socket(self, handshake: AsgiHandshake) -> None:
        request = handshake.request
        try:
            self._access.check(request.scope["path"], request.headers)
            endpoint = self._find(request)
            self._admit(request, endpoint)
            await endpoint.open_socket(handshake)
        except RequestRefused as refused:
            response: Response = fault_response(refused)
        except Exception:
            response = self._failed(request)
        else:
            await handshake.finish()
            return
        await handshake.fail(self._finish(request, response))

    def _find(self, request: HTTPConnection) -> Endpoint:
        # A WebSocket begins as a GET.
        scope = {"method": "GET", **request.scope, "type": "http"}
        allowed: set[str] = set()
        for endpoint in self.endpoints:
            match, child_scope = endpoint.matches(scope)
            if match is Match.FULL:
                request.scope.update(child_scope)
                return endpoint
            if match is Match.PARTIAL:
                allowed |= endpoint.methods or set()
        if not allowed:
            raise RequestRefused("There is nothing at this path.", status=404, code="not_found")
        raise RequestRefused(
            f"{scope['method']} is not possible here.",
            status=405,
            code="method_not_allowed",
            headers={"Allow": ", ".join(sorted(allowed))},
        )

    def _admit(self, request: HTTPConnection, endpoint: Endpoint) -> None:
        if self._locator is not None:
            set_client(request, self._locator.client(request))
        if not is_granted(request):
            set_grant(request, self._gatekeeper.admit(request, endpoint.access))

    def _failed(self, request: HTTPConnection) -> Response:
        _log.exception("request_failed", path=request.scope["path"])
        return fault_response(RequestRefused(_UNFINISHED, status=500, code="internal_error"))

    def _finish(self, request: HTTPConnection, response: Response) -> Response:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers.update(self._access.response_headers(request.scope["path"], request.headers))
        return response

    async def _get_description(self, _request: Request) -> Response:
        return JSONResponse(self.description)
