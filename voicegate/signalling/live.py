"""The OpenAI Live API: sessions over WebRTC, made by an application's server, and sidebands to them.

The offer comes as JSON with the session, which is strict: what is unknown is refused. A session is a call
under another name, ``live_`` where the call has ``rtc_``; what is said in it is
`voicegate.realtime.live.LiveSession`'s. Left out: sessions over WebSocket alone, forks, content, SIP.
"""

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from voicegate.errors import WireError
from voicegate.realtime.fault import EventRefused
from voicegate.realtime.field import Fields
from voicegate.realtime.live_config import LiveConfig, refuse_unknown
from voicegate.signalling.api import Api, Endpoint, SocketEndpoint, client_address, unknown_call
from voicegate.signalling.fault import RequestRefused
from voicegate.signalling.offer import MAX_CHANNEL_ID
from voicegate.signalling.service import JSON, Handshake
from voicegate.transceiver.call_id import call_id_of_live, live_id_of
from voicegate.wire.json_value import decode_object

__all__ = ["routes"]

MAX_BODY: Final = 384 * 1024
"""Bytes: an offer, 16 384 tokens of instructions, 8192 of history, and tools; as JSON for another worker it
still fits."""

_SESSIONS: Final = "/v1/live/sessions"

_TEXT: Final[JSON] = {"type": "string"}
_REQUEST: Final[JSON] = {
    "type": "object",
    "required": ["session", "transport"],
    "additionalProperties": False,
    "properties": {
        "session": {"type": "object", "required": ["model"], "properties": {"model": _TEXT}},
        "transport": {
            "type": "object",
            "required": ["type", "sdp"],
            "additionalProperties": False,
            "properties": {
                "type": {"enum": ["webrtc"]},
                "sdp": _TEXT,
                "dcid": {"type": "integer", "minimum": 0, "maximum": MAX_CHANNEL_ID},
            },
        },
    },
}
_ANSWER: Final[JSON] = {
    "type": "object",
    "required": ["session", "transport"],
    "properties": {
        "session": {"type": "object", "required": ["id"], "properties": {"id": _TEXT}},
        "transport": {
            "type": "object",
            "required": ["type", "sdp"],
            "properties": {"type": {"enum": ["webrtc"]}, "sdp": _TEXT},
        },
    },
}


def routes(api: Api) -> Sequence[Endpoint]:
    """List the routes."""
    live = _Live(api)
    session = _SESSIONS + "/{session_id}"
    return [
        Endpoint(
            _SESSIONS,
            live.create,
            method="POST",
            summary="Make a Live session of an SDP offer.",
            body={"application/json": _REQUEST},
            query={"region": _TEXT},
            answers={201: {"application/json": _ANSWER}},
            errors=(400, 403, 408, 413, 415, 429, 503, 504),
            headers={"Location": "The session, relative to this host"},
        ),
        Endpoint(
            session + "/hangup",
            live.hang_up,
            method="POST",
            summary="Hang up.",
            answers={200: {}},
            errors=(404, 502, 504),
        ),
        SocketEndpoint(
            session + "/attach",
            live.attach,
            summary="Events of a Live session, for its application.",
            query={"graceful_close": {"type": "boolean"}},
            errors=(404, 502, 503, 504),
        ),
    ]


class _Live:
    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, request: Request) -> Response:
        grant = await self._api.authorize(request)
        if grant.is_ephemeral:
            message = "Live sessions are made with an API key, not with a client secret of the Realtime API."
            raise RequestRefused(message, status=403, code="client_secret_not_allowed")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            message = "Content-Type is not application/json."
            raise RequestRefused(message, status=415, code="unsupported_content_type")
        body = await self._api.read_body(request, MAX_BODY)
        try:
            fields = Fields(decode_object(body.decode()))
            refuse_unknown(fields, ("session", "transport"))
            fields.require("session")
            config = LiveConfig.read(fields.value["session"])
            sdp, data_channel_id = _read_transport(fields)
        except EventRefused as refused:
            raise RequestRefused(
                refused.message, status=400, code=refused.code, param=refused.param
            ) from refused
        except (WireError, UnicodeDecodeError) as error:
            raise RequestRefused(
                f"The JSON is not valid: {error}.", status=400, code="invalid_json"
            ) from error
        call = await self._api.service.create_call(
            sdp,
            session=fields.value["session"],
            client=client_address(request),
            regions=self._api.regions(request),
            data_channel_id=data_channel_id,
            grant=grant,
            api="live",
            model=config.model,
        )
        session_id = live_id_of(call.id)
        return JSONResponse(
            {"session": {"id": session_id}, "transport": {"type": "webrtc", "sdp": call.answer}},
            status_code=201,
            headers={"Location": self._api.location(_SESSIONS, session_id)},
        )

    async def hang_up(self, request: Request) -> Response:
        if not await self._api.service.end_call(_call_id(request.path_params["session_id"])):
            raise unknown_call()
        return Response(status_code=200)

    async def attach(self, handshake: Handshake) -> None:
        request = handshake.request
        call_id = _call_id(request.path_params["session_id"])
        await self._api.service.attach(call_id, handshake, grant=await self._api.authorize(request))


def _read_transport(fields: Fields) -> tuple[str, int | None]:
    """Return the offer, and the id of a channel that both sides know of."""
    fields.require("transport")
    transport = Fields(fields.value["transport"], "transport")
    refuse_unknown(transport, ("type", "sdp", "dcid"))
    transport.require("type")
    transport.choice("type", ("webrtc",))
    sdp = transport.required_text("sdp")
    if not sdp.startswith("v=0"):
        raise transport.refusal("sdp", "a session description")
    return sdp, transport.integer("dcid", 0, MAX_CHANNEL_ID)


def _call_id(session_id: str) -> str:
    """Return the call that a session is.

    Errors: RequestRefused for what is no id of a session.
    """
    call_id = call_id_of_live(session_id)
    if call_id is None:
        raise unknown_call()
    return call_id
