"""WHIP (RFC 9725): calls for clients that know nothing but HTTP and SDP, such as encoders and GStreamer.

An offer posted to ``/v1/whip`` makes a call; its URL takes candidates and ICE restarts (PATCH) until it is
deleted. The call is like any other: its agent hears the client, and where the offer lets us send, answers;
a sideband may be attached to it (``GET /v1/realtime?call_id=``).

What a PATCH is compared with, the entity tag, is taken from the ufrag of our side, which names the ICE
session and is new with each restart. Candidates are read, as strictly as all else, and not needed: we are
ICE-lite. Whoever gets a call of another process is led to it (`Api.forward`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response

from voicegate.errors import WireError
from voicegate.ice import Credentials
from voicegate.sdp import IceCredentials, IceFragment, SessionDescription
from voicegate.signalling.api import Access, Api, Endpoint, client_address, unknown_call
from voicegate.signalling.fault import RequestRefused
from voicegate.signalling.offer import read_offer
from voicegate.signalling.service import OfferRefused

if TYPE_CHECKING:
    from voicegate.transceiver.task import ActiveCall

__all__ = ["routes"]

_CALLS: Final = "/v1/whip"
_SDP: Final = "application/sdp"
_FRAGMENT: Final = "application/trickle-ice-sdpfrag"

_TAG_LENGTH: Final = 16
"""Characters of the ufrag: 80 bits of what no two have in common (RFC 9110 §8.8.3: strong)."""

_TEXT: Final = {"type": "string"}


def routes(api: Api) -> Sequence[Endpoint]:
    """List the routes."""
    whip = _Whip(api)
    call = _CALLS + "/{call_id}"
    return [
        Endpoint(
            _CALLS,
            whip.create,
            method="POST",
            summary="Make a call by WHIP",
            body={_SDP: _TEXT},
            query={"model": _TEXT, "region": _TEXT},
            answers={201: {_SDP: _TEXT}},
            errors=(400, 406, 413, 415, 422, 429, 503, 504),
            headers={
                "Location": "The call, for PATCH and DELETE",
                "ETag": "Which ICE session it is in",
                "Link": "STUN and TURN servers, if there are any",
                "Accept-Patch": _FRAGMENT,
            },
        ),
        Endpoint(
            _CALLS,
            whip.describe_collection,
            method="OPTIONS",
            summary="Say what WHIP takes",
            access=Access.OPEN,
            answers={200: {}},
            headers={"Accept-Post": _SDP},
        ),
        Endpoint(
            call,
            whip.update,
            method="PATCH",
            summary="Add candidates to a call, or restart its ICE",
            body={_FRAGMENT: _TEXT},
            answers={200: {_FRAGMENT: _TEXT}, 204: {}},
            errors=(400, 404, 412, 413, 415, 428, 502, 504),
            headers={"ETag": "Which ICE session it is in since the restart"},
        ),
        Endpoint(
            call,
            whip.hang_up,
            method="DELETE",
            summary="Hang up a call made by WHIP",
            answers={200: {}},
            errors=(404, 502, 504),
        ),
        Endpoint(
            call,
            whip.describe_call,
            method="OPTIONS",
            summary="Say what a call made by WHIP takes",
            access=Access.OPEN,
            answers={200: {}},
            headers={"Accept-Patch": _FRAGMENT},
        ),
    ]


class _Whip:
    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, request: Request) -> Response:
        _check_content_type(request, _SDP)
        _check_accept(request, _SDP)
        offer = read_offer(_SDP, await self._api.read_body(request)).sdp
        _check_direction(offer)
        try:
            call = await self._api.service.create_call(
                offer,
                session=None,
                client=client_address(request),
                regions=self._api.regions(request),
                grant=await self._api.authorize(request),
                model=request.query_params.get("model", ""),
            )
        except OfferRefused as refused:
            if refused.code != "unsupported_offer":
                raise
            # What is sound and merely not for us has a status of its own (RFC 9725 §4.4.3).
            raise OfferRefused(refused.message, status=422, code=refused.code) from refused
        response = Response(call.answer, status_code=201, media_type=_SDP)
        response.headers["Location"] = self._api.location(_CALLS, call.id)
        response.headers["ETag"] = _entity_tag(_ufrag(call.answer))
        response.headers["Accept-Patch"] = _FRAGMENT
        for link in _links(self._api.ice_servers):
            response.headers.append("Link", link)
        return response

    async def update(self, request: Request) -> Response:
        call_id = request.path_params["call_id"]
        answer = await self._api.forward(request, call_id)
        if answer is not None:
            return answer
        _check_content_type(request, _FRAGMENT)
        fragment = _read_fragment(await self._api.read_body(request))
        call = self._api.service.local_call(call_id)
        if call is None:
            raise unknown_call()
        _check_tag(request, call)
        _, theirs = call.core.credentials
        said = fragment.credentials
        if said is None or said == (theirs.ufrag, theirs.pwd):
            return Response(status_code=204)
        remote = Credentials(ufrag=said.ufrag, pwd=said.pwd)
        ours, candidates = self._api.service.restart_ice(call, remote)
        renewed = IceFragment.of(IceCredentials(ours.ufrag, ours.pwd), candidates, like=fragment)
        return Response(
            renewed.encode(),
            headers={"ETag": _entity_tag(ours.ufrag), "Content-Type": _FRAGMENT},
        )

    async def hang_up(self, request: Request) -> Response:
        # No If-Match here, even if it is sent (RFC 9725 §4.3.1).
        if not await self._api.service.end_call(request.path_params["call_id"]):
            raise unknown_call()
        return Response(status_code=200)

    async def describe_collection(self, _request: Request) -> Response:
        return Response(headers={"Allow": "OPTIONS, POST", "Accept-Post": _SDP})

    async def describe_call(self, _request: Request) -> Response:
        return Response(headers={"Allow": "DELETE, OPTIONS, PATCH", "Accept-Patch": _FRAGMENT})


def _check_content_type(request: Request, wanted: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != wanted:
        raise RequestRefused(
            f"Content-Type {given or '(none)'!r} is not {wanted}.",
            status=415,
            code="unsupported_content_type",
            # RFC 9110 §15.5.16
            headers={"Accept-Patch" if wanted == _FRAGMENT else "Accept-Post": wanted},
        )


def _check_accept(request: Request, offered: str) -> None:
    """Refuse a client that would not read the answer (RFC 9110 §12.5.1); weights are not weighed."""
    accepted = request.headers.get("accept", "")
    ranges = {part.partition(";")[0].strip().lower() for part in accepted.split(",")}
    if accepted.strip() and ranges.isdisjoint({offered, "application/*", "*/*"}):
        raise RequestRefused(
            f"The answer is {offered}, which Accept leaves out.", status=406, code="not_acceptable"
        )


def _check_direction(sdp: str) -> None:
    """Refuse an offer that would send us nothing (RFC 9725 §4.2); what can't be read the service refuses."""
    try:
        offer = SessionDescription.decode(sdp)
    except WireError:
        return
    for section in offer.media:
        for name in ("recvonly", "inactive"):
            if section.kind == "audio" and section.port and section.attribute(name):
                message = f"a={name}: by WHIP a client sends its audio, sendonly or sendrecv."
                raise OfferRefused(message, status=422, code="unsupported_offer")


def _read_fragment(body: bytes) -> IceFragment:
    try:
        return IceFragment.decode(body.decode())
    except (WireError, UnicodeDecodeError) as error:
        raise RequestRefused(f"The fragment: {error}", status=400, code="invalid_fragment") from error


def _check_tag(request: Request, call: "ActiveCall") -> None:
    """See that the request is about the ICE session that the call is in (RFC 9110 §13.1.1).

    A restart says ``*``; candidates say the tag that they are for, of which late ones have an old one.
    """
    wanted = request.headers.getlist("if-match")
    if not wanted:
        message = "If-Match is wanted: the ETag of the call's ICE session, or * for an ICE restart."
        raise RequestRefused(message, status=428, code="precondition_required")  # RFC 6585 §3
    tags = {tag.strip() for tag in ",".join(wanted).split(",")}
    # In quotes by those who go by the example in RFC 9725 §4.3.3.
    if tags.isdisjoint({"*", '"*"', _entity_tag(call.core.credentials[0].ufrag)}):
        message = "The call is in another ICE session by now."
        raise RequestRefused(message, status=412, code="precondition_failed")


def _links(ice_servers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Write STUN and TURN servers as links (RFC 9725 §4.6), one for each URL."""
    for server in ice_servers:
        urls = server["urls"]
        values = [("rel", "ice-server")]
        values += [(name, str(server[name])) for name in ("username", "credential") if server.get(name)]
        values += [("credential-type", "password")] if server.get("credential") else []
        for url in [urls] if isinstance(urls, str) else urls:
            yield "; ".join((f"<{url}>", *(f"{name}={_quoted(value)}" for name, value in values)))


def _quoted(value: str) -> str:
    """Write a quoted-string (RFC 9110 §5.6.4)."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _entity_tag(ufrag: str) -> str:
    return f'"{ufrag[:_TAG_LENGTH]}"'


def _ufrag(answer: str) -> str:
    """Return our ufrag; an answer of ours has one wherever it has a port."""
    description = SessionDescription.decode(answer)
    return next(
        line.value or "" for media in description.media for line in media.attributes_named("ice-ufrag")
    )
