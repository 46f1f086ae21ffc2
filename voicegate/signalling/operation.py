"""Routes for those who run a server: its calls, its health, what it counts, and its own description."""

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from voicegate.signalling.api import Access, Api, Endpoint, unknown_call
from voicegate.signalling.fault import RequestRefused
from voicegate.signalling.service import JSON, CallService

__all__ = ["routes"]

_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SESSION: Final[JSON] = {"type": "object", "required": ["id", "state", "cause", "phases"]}
_SESSIONS: Final[JSON] = {
    "type": "object",
    "properties": {"sessions": {"type": "array", "items": _SESSION}},
    "required": ["sessions"],
}
_STATUS: Final[JSON] = {
    "type": "object",
    "properties": {"status": {"type": "string"}},
    "required": ["status"],
}


def routes(api: Api) -> Sequence[Endpoint]:
    """List the routes."""
    operation = _Operation(api.service)
    return [
        Endpoint(
            "/v1/sessions",
            operation.list_sessions,
            summary="List the calls that go on or ended lately.",
            access=Access.OPERATOR,
            answers={200: {"application/json": _SESSIONS}},
        ),
        Endpoint(
            "/v1/sessions/{call_id}",
            operation.get_session,
            summary="Describe a call.",
            answers={200: {"application/json": _SESSION}},
            errors=(404, 504),
        ),
        Endpoint(
            "/healthz",
            operation.get_health,
            summary="Say that the server is alive.",
            access=Access.OPEN,
            answers={200: {"application/json": _STATUS}},
        ),
        Endpoint(
            "/readyz",
            operation.get_readiness,
            summary="Say whether a call made now would work.",
            access=Access.OPEN,
            answers={200: {"application/json": _STATUS}},
            errors=(503, 504),
        ),
        Endpoint(
            "/metrics",
            operation.get_metrics,
            summary="Everything that is counted, for Prometheus.",
            access=Access.OPERATOR,
            answers={200: {"text/plain": {"type": "string"}}},
            errors=(504,),
        ),
    ]


class _Operation:
    def __init__(self, service: CallService) -> None:
        self._service = service

    async def list_sessions(self, _request: Request) -> Response:
        return JSONResponse({"sessions": await self._service.sessions()})

    async def get_session(self, request: Request) -> Response:
        session = await self._service.session(request.path_params["call_id"])
        if session is None:
            raise unknown_call()
        return JSONResponse(session)

    async def get_health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def get_readiness(self, _request: Request) -> Response:
        if not await self._service.is_ready():
            raise RequestRefused("Calls can not be made now.", status=503, code="not_ready")
        return JSONResponse({"status": "ready"})

    async def get_metrics(self, _request: Request) -> Response:
        return Response(await self._service.metrics(), headers={"Content-Type": _METRICS_TYPE})
