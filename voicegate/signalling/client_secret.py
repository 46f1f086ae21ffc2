"""Client secrets: an application's server asks for one with its key, and gives it to a browser."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from voicegate.access import ClientSecret, Gate, SecretTooLargeError
from voicegate.access.secret import DEFAULT_SECONDS, MAX_SECONDS, MIN_SECONDS
from voicegate.signalling.api import Access, Api, Endpoint
from voicegate.signalling.fault import RequestRefused
from voicegate.signalling.gatekeeper import unix_time
from voicegate.signalling.offer import read_json_object
from voicegate.signalling.realtime import fill_session, refuse_session_type
from voicegate.signalling.service import JSON

__all__ = ["routes"]

_ROOT: Final = "/v1/realtime"
_SESSION: Final[JSON] = {"type": "object"}
_EXPIRES_AFTER: Final[JSON] = {
    "type": "object",
    "properties": {
        "anchor": {"enum": ["created_at"]},
        "seconds": {"type": "integer", "minimum": MIN_SECONDS, "maximum": MAX_SECONDS},
    },
}
_WANTED: Final[JSON] = {
    "type": "object",
    "properties": {"expires_after": _EXPIRES_AFTER, "session": _SESSION},
}
_VALUE: Final = {"value": {"type": "string"}, "expires_at": {"type": "integer"}}
_SECRET: Final[JSON] = {
    "type": "object",
    "properties": {**_VALUE, "session": _SESSION},
    "required": ["value", "expires_at", "session"],
}
_LEGACY: Final[JSON] = {
    "type": "object",
    "properties": {"client_secret": {"type": "object", "properties": _VALUE, "required": list(_VALUE)}},
    "required": ["client_secret"],
}


def routes(
    api: Api, *, gate: Gate, default_model: str, clock: Callable[[], float] = unix_time
) -> Sequence[Endpoint]:
    """List the routes."""
    secrets = _Secrets(api, gate=gate, default_model=default_model, clock=clock)
    shared: dict[str, Any] = {
        "method": "POST",
        # One secret cannot make another that lives longer.
        "access": Access.OPERATOR,
        "errors": (400, 408, 413, 415),
    }
    unsupported: dict[str, Any] = {
        "method": "POST",
        "access": Access.OPERATOR,
        "answers": {},
        "errors": (400,),
    }
    return [
        Endpoint(
            _ROOT + "/client_secrets",
            secrets.create,
            summary="Make a client secret, which lets a browser make calls for a while.",
            body={"application/json": _WANTED},
            answers={200: {"application/json": _SECRET}},
            **shared,
        ),
        Endpoint(
            _ROOT + "/sessions",
            secrets.create_legacy,
            summary="The same, in the shape of the beta.",
            body={"application/json": _SESSION},
            answers={200: {"application/json": _LEGACY}},
            **shared,
        ),
        *(
            Endpoint(f"{_ROOT}/{path}", secrets.refuse, summary="Not supported; says so.", **unsupported)
            for path in ("transcription_sessions", "translations/client_secrets")
        ),
    ]


class _Secrets:
    def __init__(self, api: Api, *, gate: Gate, default_model: str, clock: Callable[[], float]) -> None:
        self._api = api
        self._gate = gate
        self._default_model = default_model
        self._clock = clock

    async def create(self, request: Request) -> Response:
        wanted = await self._read(request)
        session = wanted.get("session")
        if session is None:
            session = {"type": "realtime"}
        elif not isinstance(session, Mapping):
            raise _invalid("session is not a JSON object.", "session")
        seconds = _seconds(wanted.get("expires_after"))
        value, secret, filled = await self._make(request, session, seconds)
        return JSONResponse({"value": value, "expires_at": secret.expires_at, "session": filled})

    async def create_legacy(self, request: Request) -> Response:
        value, secret, filled = await self._make(request, await self._read(request), DEFAULT_SECONDS)
        return JSONResponse({**filled, "client_secret": {"value": value, "expires_at": secret.expires_at}})

    async def refuse(self, request: Request) -> Response:
        raise refuse_session_type(
            "transcription" if "transcription" in request.url.path else "translation", param=None
        )

    async def _read(self, request: Request) -> Mapping[str, Any]:
        body = await self._api.read_body(request)
        if not body:
            return {}
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise RequestRefused(
                f"Content-Type {content_type or '(none)'!r} is not application/json.",
                status=415,
                code="unsupported_content_type",
            )
        return read_json_object(body)

    async def _make(
        self, request: Request, session: Mapping[str, Any], seconds: int
    ) -> tuple[str, ClientSecret, Mapping[str, Any]]:
        grant = await self._api.authorize(request)
        filled = fill_session(session, model=session.get("model") or self._default_model)
        try:
            value, secret = self._gate.make_secret(grant, session, expires_at=int(self._clock()) + seconds)
        except SecretTooLargeError as error:
            raise RequestRefused(str(error), status=400, code="session_too_large", param="session") from error
        return value, secret, {**filled, "id": secret.session_id}


def _seconds(expires_after: object) -> int:
    if expires_after is None:
        return DEFAULT_SECONDS
    if not isinstance(expires_after, Mapping):
        raise _invalid("expires_after is not a JSON object.", "expires_after")
    if expires_after.get("anchor", "created_at") != "created_at":
        raise _invalid("expires_after.anchor can only be 'created_at'.", "expires_after.anchor")
    seconds = expires_after.get("seconds", DEFAULT_SECONDS)
    is_number = isinstance(seconds, int) and not isinstance(seconds, bool)
    if not is_number or not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise _invalid(
            f"expires_after.seconds is not a number from {MIN_SECONDS} to {MAX_SECONDS}.",
            "expires_after.seconds",
        )
    return int(seconds)


def _invalid(message: str, param: str) -> RequestRefused:
    return RequestRefused(message, status=400, code="invalid_parameter", param=param)
