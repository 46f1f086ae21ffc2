"""Routes for those who run a server: its calls, its health, what it counts, and its going away."""

from collections.abc import Sequence
from typing import Final

import attrs
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from voicegate.errors import WireError
from voicegate.signalling.api import Access, Api, Endpoint, unknown_call
from voicegate.signalling.fault import RequestRefused
from voicegate.signalling.service import JSON, CallService
from voicegate.wire.json_value import decode_object

__all__ = ["routes"]

DRAIN_SECONDS: Final = 60.0
"""For calls to come to an end, if it is not said how long they may take."""

MAX_DRAIN_SECONDS: Final = 7 * 86_400
"""No call is longer, and who mistypes a number is told so."""

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
_SECONDS: Final[JSON] = {"type": "number", "minimum": 0, "maximum": MAX_DRAIN_SECONDS}
_WANTED: Final[JSON] = {"type": "object", "properties": {"seconds": _SECONDS}}
_DRAIN: Final[JSON] = {
    "type": "object",
    "properties": {
        "is_draining": {"type": "boolean"},
        "seconds_left": {"type": ["number", "null"]},
        "calls": {"type": "integer"},
    },
    "required": ["is_draining", "seconds_left", "calls"],
}


def routes(api: Api) -> Sequence[Endpoint]:
    """List the routes."""
    operation = _Operation(api)
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
            errors=(404, 502, 504),
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
        *_drain_routes(operation),
    ]


def _drain_routes(operation: "_Operation") -> Sequence[Endpoint]:
    return [
        Endpoint(
            "/v1/drain",
            operation.get_drain,
            summary="Say whether new calls are taken, and how many go on.",
            access=Access.OPERATOR,
            answers={200: {"application/json": _DRAIN}},
            errors=(504,),
        ),
        Endpoint(
            "/v1/drain",
            operation.begin_drain,
            method="POST",
            summary="Take no new calls, tell those that go on, and end them after a while.",
            access=Access.OPERATOR,
            body={"application/json": _WANTED},
            answers={200: {"application/json": _DRAIN}},
            errors=(400, 408, 413, 504),
        ),
        Endpoint(
            "/v1/drain",
            operation.end_drain,
            method="DELETE",
            summary="Take calls again.",
            access=Access.OPERATOR,
            answers={200: {"application/json": _DRAIN}},
            errors=(504,),
        ),
    ]


class _Operation:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._service: CallService = api.service

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
        if (await self._service.drain_state()).is_draining:
            raise RequestRefused("No new calls are taken: the server goes away.", status=503, code="draining")
        if not await self._service.is_ready():
            raise RequestRefused("Calls can not be made now.", status=503, code="not_ready")
        return JSONResponse({"status": "ready"})

    async def get_drain(self, _request: Request) -> Response:
        return JSONResponse(attrs.asdict(await self._service.drain_state()))

    async def begin_drain(self, request: Request) -> Response:
        await self._service.begin_drain(seconds=_read_seconds(await self._api.read_body(request)))
        return await self.get_drain(request)

    async def end_drain(self, request: Request) -> Response:
        await self._service.end_drain()
        return await self.get_drain(request)

    async def get_metrics(self, _request: Request) -> Response:
        return Response(await self._service.metrics(), headers={"Content-Type": _METRICS_TYPE})


def _read_seconds(body: bytes) -> float:
    """Return how long calls may go on."""
    if not body:
        return DRAIN_SECONDS
    try:
        seconds = decode_object(body.decode()).get("seconds", DRAIN_SECONDS)
    except (UnicodeDecodeError, WireError) as error:
        raise RequestRefused("The body is no JSON object.", status=400, code="invalid_json") from error
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, int | float)
        or not 0 <= seconds <= MAX_DRAIN_SECONDS
    ):
        message = f"seconds is a number from 0 to {MAX_DRAIN_SECONDS}."
        raise RequestRefused(message, status=400, code="invalid_parameter", param="seconds")
    return float(seconds)
