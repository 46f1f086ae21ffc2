"""The OpenAI Realtime API: calls over WebRTC, their sidebands, sessions over WebSocket, ICE servers."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from voicegate.access import Grant
from voicegate.realtime.fault import EventRefused
from voicegate.realtime.session_config import new_session
from voicegate.signalling.api import Access, Api, Endpoint, SocketEndpoint, client_address, unknown_call
from voicegate.signalling.fault import RequestRefused
from voicegate.signalling.offer import read_data_channel_id, read_offer
from voicegate.signalling.service import JSON, Handshake

__all__ = ["fill_session", "merge_session", "refuse_session_type", "routes"]

_ROOT: Final = "/v1/realtime"
_CALLS: Final = _ROOT + "/calls"
_TEXT: Final[JSON] = {"type": "string"}
_SESSION: Final[JSON] = {"type": "object"}
_OFFER: Final[JSON] = {
    "type": "object",
    "properties": {"sdp": _TEXT, "session": {"anyOf": [_SESSION, {"type": "null"}]}},
    "required": ["sdp"],
}
_FORM: Final[JSON] = {"type": "object", "properties": {"sdp": _TEXT, "session": _TEXT}, "required": ["sdp"]}
_ICE_SERVERS: Final[JSON] = {
    "type": "object",
    "properties": {"ice_servers": {"type": "array", "items": {"type": "object", "required": ["urls"]}}},
    "required": ["ice_servers"],
}


def routes(api: Api) -> Sequence[Endpoint]:
    """List the routes."""
    realtime = _Realtime(api)
    call = _CALLS + "/{call_id}"
    offers: dict[str, Any] = {
        "method": "POST",
        "body": {"application/sdp": _TEXT, "multipart/form-data": _FORM, "application/json": _OFFER},
        "answers": {201: {"application/sdp": _TEXT}},
        "errors": (400, 408, 413, 415, 429, 503, 504),
        "query": {
            "model": _TEXT,
            "dcid": {"type": "integer", "minimum": 0, "maximum": 1023},
            "region": _TEXT,
        },
        "headers": {"Location": "The call, relative to this host; its last segment is the call's id"},
    }
    for_sip: dict[str, Any] = {"method": "POST", "answers": {}, "errors": (404,)}
    hang_up: dict[str, Any] = {
        # Whoever knows the id, which cannot be guessed, may: a page that is closed cannot send a key along.
        "access": Access.OPEN,
        "answers": {200: {}},
        "errors": (404, 502, 504),
    }
    return [
        Endpoint(_CALLS, realtime.create, summary="Make a call of an SDP offer.", **offers),
        Endpoint(_ROOT, realtime.create, summary="The same, at the path of the beta.", **offers),
        Endpoint(call, realtime.hang_up, method="DELETE", summary="Hang up.", **hang_up),
        Endpoint(call + "/hangup", realtime.hang_up, method="POST", summary="Hang up.", **hang_up),
        *(
            Endpoint(
                f"{call}/{verb}", realtime.refuse_sip, summary=f"For calls over SIP only: {verb}.", **for_sip
            )
            for verb in ("accept", "reject", "refer")
        ),
        Endpoint(
            _ROOT + "/ice-servers",
            realtime.list_ice_servers,
            summary="List STUN and TURN servers for an RTCPeerConnection; most clients need none.",
            answers={200: {"application/json": _ICE_SERVERS}},
        ),
        SocketEndpoint(
            _ROOT,
            realtime.open_socket,
            summary="Events of a call, by `call_id`; or a session whose audio is in events, by `model`.",
            query={"call_id": _TEXT, "model": _TEXT, "intent": {"enum": ["realtime"]}},
            errors=(400, 404, 429, 502, 503, 504),
        ),
    ]


class _Realtime:
    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, request: Request) -> Response:
        grant = await self._api.authorize(request)
        data_channel_id = read_data_channel_id(request.query_params.getlist("dcid"))
        offer = read_offer(request.headers.get("content-type", ""), await self._api.read_body(request))
        session = merge_session(grant, offer.session)
        call = await self._api.service.create_call(
            offer.sdp,
            session=session,
            client=client_address(request),
            regions=self._api.regions(request),
            data_channel_id=data_channel_id,
            grant=grant,
            model=_model(session, request.query_params.get("model", "")),
        )
        return Response(
            call.answer,
            status_code=201,
            media_type="application/sdp",
            headers={"Location": self._api.location(_CALLS, call.id)},
        )

    async def hang_up(self, request: Request) -> Response:
        if not await self._api.service.end_call(request.path_params["call_id"]):
            raise unknown_call()
        return Response(status_code=200)

    async def refuse_sip(self, _request: Request) -> Response:
        raise RequestRefused(
            "No such SIP call: this server's calls come over WebRTC, and are answered when they are made.",
            status=404,
            code="sip_call_not_found",
            param="call_id",
        )

    async def list_ice_servers(self, _request: Request) -> Response:
        return JSONResponse({"ice_servers": self._api.ice_servers})

    async def open_socket(self, handshake: Handshake) -> None:
        query = handshake.request.query_params
        grant = await self._api.authorize(handshake.request)
        if query.get("intent", "realtime") != "realtime":
            raise refuse_session_type(query["intent"], param="intent")
        if call_id := query.get("call_id"):
            await self._api.service.attach(call_id, handshake, grant=grant)
        else:
            model = _model(merge_session(grant, None), query.get("model", ""))
            await self._api.service.run_session(handshake, model=model, grant=grant)


def merge_session(grant: Grant, session: Mapping[str, JSON] | None) -> Mapping[str, JSON] | None:
    """Return the session that a client asks for: what its client secret says wins.

    Errors: RequestRefused, for what a session cannot be.
    """
    merged = session if grant.session is None else {**(session or {}), **grant.session}
    if merged is not None:
        fill_session(merged)
    return merged


def fill_session(session: Mapping[str, JSON], *, session_id: str = "", model: str = "") -> dict[str, Any]:
    """Return a session as it begins: what a client asks for, and all else as it is by default.

    Errors: RequestRefused, for what a session cannot be.
    """
    if session.get("type", "realtime") != "realtime":
        raise refuse_session_type(session["type"], param="session.type")
    try:
        return new_session(session, session_id=session_id, model=model, expires_at=0)
    except EventRefused as refused:
        raise RequestRefused(refused.message, status=400, code=refused.code, param=refused.param) from refused


def refuse_session_type(found: object, *, param: str | None) -> RequestRefused:
    """Refuse sessions that only transcribe, or translate."""
    return RequestRefused(
        f"Sessions of type {str(found)[:64]!r} are not supported, only 'realtime'.",
        status=400,
        code="unsupported_session_type",
        param=param,
    )


def _model(session: Mapping[str, JSON] | None, in_query: str) -> str:
    model = (session or {}).get("model")
    return model if isinstance(model, str) and model else in_query
