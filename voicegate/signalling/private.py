"""Routes that only other processes of the same server can reach, who say on whose behalf they ask."""

import json
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from voicegate.access import Grant
from voicegate.signalling.api import Api, Endpoint
from voicegate.signalling.remote import PRIVATE_CALLS

__all__ = ["routes"]


def routes(api: Api) -> Sequence[Endpoint]:
    """List the routes."""

    async def create_call(request: Request) -> Response:
        # Who asks has read the offer, and checked what can be checked there.
        terms = json.loads(await api.read_body(request))
        offer, grant = terms.pop("offer"), Grant.from_json(terms.pop("grant"))
        call = await api.service.create_call(offer, grant=grant, **terms)
        return JSONResponse({"id": call.id, "answer": call.answer}, status_code=201)

    return [
        Endpoint(
            PRIVATE_CALLS,
            create_call,
            method="POST",
            summary="Make a call for a client of another process.",
            answers={201: {}},
        )
    ]
