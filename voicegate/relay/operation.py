"""What a relay that runs alone tells over HTTP, as an ASGI application: health, figures, and its drain.

Neither health nor readiness depends on a directory: a relay that has lost it forwards as before. Nothing here
knows sockets; whoever has an HTTP server carries it.
"""

import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from voicegate.errors import WireError
from voicegate.observability import Metrics
from voicegate.relay.supervisor import Relay

__all__ = ["OperationApp"]

_MAX_BODY: Final = 4096
"""Bytes of a request: it says one number."""
_MAX_SECONDS: Final = 86_400.0
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_log = structlog.get_logger(__name__)


class OperationApp:
    """ASGI application over a relay.

    Args:
        relay: The relay.
        admit: Returns None for who may see figures and drain, or else the response that refuses.
        report: Adds what else there is to say to a scrape, such as a directory's figures.
    """

    def __init__(
        self,
        relay: Relay,
        *,
        admit: Callable[[Request], Response | None],
        report: Callable[[Metrics], None] | None = None,
    ) -> None:
        self._relay = relay
        self._admit = admit
        self._report = report
        self._open: Final = {"/healthz", "/readyz"}
        self._routes: Final[dict[str, dict[str, Callable[[Request], Awaitable[Response]]]]] = {
            "/healthz": {"GET": self._get_health},
            "/readyz": {"GET": self._get_readiness},
            "/metrics": {"GET": self._get_metrics},
            "/v1/drain": {"GET": self._get_drain, "POST": self._begin_drain, "DELETE": self._end_drain},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the server that carries us; no socket."""
        match scope["type"]:
            case "http":
                response = await self._respond(Request(scope, receive))
                if response is not None:
                    response.headers.update(_HEADERS)
                    await response(scope, receive, send)
            case "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1000})
            case "lifespan":
                for step in ("startup", "shutdown"):
                    await receive()
                    await send({"type": f"lifespan.{step}.complete"})
            case _:
                pass

    async def _respond(self, request: Request) -> Response | None:
        """Answer a request whatever happens; None when there is nobody left to answer."""
        path = request.scope["path"]
        endpoints = self._routes.get(path)
        if endpoints is None:
            return _fault(404, "not_found", "There is nothing at this path.")
        endpoint = endpoints.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            message = f"{request.method} is not possible here."
            return _fault(405, "method_not_allowed", message, {"Allow": ", ".join(endpoints)})
        try:
            refusal = None if path in self._open else self._admit(request)
            return refusal or await endpoint(request)
        except ClientDisconnect:
            return None
        except Exception:
            _log.exception("request_failed", path=path)
            return _fault(500, "internal_error", "Something went wrong here.")

    async def _get_health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _get_readiness(self, _request: Request) -> Response:
        if self._relay.is_draining:
            return _fault(503, "draining", "This relay is about to go.")
        if not self._relay.pids:
            return _fault(503, "not_ready", "No worker is there.")
        return JSONResponse({"status": "ready"})

    async def _get_metrics(self, _request: Request) -> Response:
        metrics = Metrics()
        self._relay.report(metrics)
        if self._report is not None:
            self._report(metrics)
        return Response(metrics.render(), headers={"Content-Type": _METRICS_TYPE})

    async def _get_drain(self, _request: Request) -> Response:
        return self._drain_state()

    async def _begin_drain(self, request: Request) -> Response:
        try:
            seconds = _seconds(await _read(request))
        except WireError as error:
            return _fault(400, "bad_request", str(error))
        if seconds is None:
            self._relay.begin_drain()
        else:
            self._relay.begin_drain(seconds=seconds)
        return self._drain_state()

    async def _end_drain(self, _request: Request) -> Response:
        self._relay.end_drain()
        return self._drain_state()

    def _drain_state(self) -> Response:
        relay = self._relay
        return JSONResponse(
            {
                "is_draining": relay.is_draining,
                "seconds_left": relay.drain_seconds_left,
                "flows": relay.flow_count,
            }
        )


async def _read(request: Request) -> bytes:
    body = bytearray()
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > _MAX_BODY:
                raise WireError(f"The body is longer than {_MAX_BODY} bytes.")
    return bytes(body)


def _seconds(body: bytes) -> float | None:
    """Read how long a drain may take; None when it isn't said."""
    if not body.strip():
        return None
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WireError("The body is not JSON.") from error
    seconds = value.get("seconds") if isinstance(value, dict) else "nonsense"
    if isinstance(value, dict) and seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _MAX_SECONDS:
        raise WireError(f'The body is not {{"seconds": N}} with N from 0 to {_MAX_SECONDS:g}.')
    return float(seconds)


def _fault(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Lay out an error as all of this program's HTTP does."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"type": kind, "code": code, "message": message, "param": None}
    return JSONResponse({"error": error}, status_code=status, headers=headers)
