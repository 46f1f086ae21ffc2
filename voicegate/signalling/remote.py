"""The calls of another process, of the same server or of its cluster, asked for through a door.

What carries the questions is the HTTP surface itself, one connection each: `serve_privately` or a peer
listener at the other end. A process of this machine that is gone has no calls, nothing to count, and takes
none; of one elsewhere nobody can say.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Unpack
from urllib.parse import quote

import h11
import trio
from starlette.requests import Request
from starlette.responses import Response

from voicegate.access.grant import Grant
from voicegate.errors import UsageError
from voicegate.signalling.door import Door
from voicegate.signalling.fault import RequestRefused
from voicegate.signalling.service import (
    JSON,
    CallTerms,
    CreatedCall,
    DrainState,
    Handshake,
    OfferRefused,
)

if TYPE_CHECKING:
    from voicegate.ice import Credentials
    from voicegate.sdp import Candidate
    from voicegate.transceiver.task import ActiveCall

__all__ = [
    "CLIENT_HEADER",
    "GRANT_HEADER",
    "PRIVATE_CALLS",
    "RemoteCalls",
    "decode_grant",
    "encode_grant",
    "forward_request",
    "no_worker",
    "refusal_of",
]

ANSWER_SECONDS: Final = 5.0
"""Local processes take milliseconds, and clients do not wait much longer."""
MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of an answer: some ten thousand calls described."""
CLIENT_HEADER: Final = "X-Forwarded-For"
"""On private sockets, the IP address of the client that a request came from."""
GRANT_HEADER: Final = "X-Voicegate-Grant"
"""On private sockets, what that client may do."""
PRIVATE_CALLS: Final = "/private/calls"
"""On private sockets, where calls are made, whichever API the client speaks."""

_RECEIVE_SIZE: Final = 64 * 1024
_CALLS: Final = "/v1/realtime/calls"
_OK: Final = 200
_CREATED: Final = 201
_UNREACHED: Final = (502, 504)
"""Of one who would have to ask the next."""
_END_TO_END: Final = (b"content-type", b"if-match", b"accept", b"idempotency-key")
"""Headers of a request that tell its handler something; access was checked where it came in."""
_HOP_BY_HOP: Final = (b"connection", b"date", b"content-length", b"transfer-encoding")
"""Headers of an answer that are made anew."""


class _Answer(NamedTuple):
    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


class RemoteCalls:
    """A `CallService` that is somewhere else.

    Args:
        door: The way there.
        agent_name: What answers its calls.
        patience: Seconds for an answer to be there whole.
    """

    def __init__(self, door: Door, *, agent_name: str, patience: float = ANSWER_SECONDS) -> None:
        self.agent_name: Final = agent_name
        self._door = door
        self._patience = patience

    async def create_call(self, offer: str, **terms: Unpack[CallTerms]) -> CreatedCall:
        """Have it make a call of an offer that came to us."""
        grant = terms.get("grant", Grant()).to_json()
        body = json.dumps({"offer": offer, **terms, "grant": grant}, ensure_ascii=False).encode()
        answer = await self._ask(
            "POST", PRIVATE_CALLS, headers={"Content-Type": "application/json"}, body=body
        )
        if answer is None:
            raise no_worker()
        if answer.status != _CREATED:
            raise refusal_of(*answer)
        return CreatedCall(**json.loads(answer.body))

    async def end_call(self, call_id: str) -> bool:
        """Hang up for the client; False when no such call is alive.

        Errors: RequestRefused, 502 or 504, when nobody can say.
        """
        answer = await self._ask_owner("DELETE", f"{_CALLS}/{quote(call_id, safe='')}")
        return answer is not None and answer.status == _OK

    async def attach(self, call_id: str, handshake: Handshake, *, grant: Grant) -> None:  # noqa: ARG002 - the handshake says it
        """Let it accept a sideband."""
        await handshake.tunnel(self._door, grant=grant)

    async def run_session(self, handshake: Handshake, *, model: str, grant: Grant) -> None:  # noqa: ARG002
        """Let it accept a session."""
        await handshake.tunnel(self._door, grant=grant)

    def owner(self, call_id: str) -> Door:  # noqa: ARG002 - all are there
        """Return the way to its calls."""
        return self._door

    def local_call(self, call_id: str) -> "ActiveCall | None":  # noqa: ARG002 - none is here
        """Return nothing."""
        return None

    def restart_ice(
        self,
        call: "ActiveCall",
        remote: "Credentials",  # noqa: ARG002
    ) -> "tuple[Credentials, Sequence[Candidate]]":
        """Refuse: a call that is here is none of ours."""
        raise UsageError(f"{call.id} is not a call of another process")

    async def sessions(self) -> Sequence[Mapping[str, JSON]]:
        """Each call, newest last."""
        body = await self._get("/v1/sessions")
        return json.loads(body)["sessions"] if body else []

    async def session(self, call_id: str) -> Mapping[str, JSON] | None:
        """Describe one call; None when it is unknown.

        Errors: RequestRefused, 502 or 504, when nobody can say.
        """
        answer = await self._ask_owner("GET", f"/v1/sessions/{quote(call_id, safe='')}")
        described: dict[str, Any] | None = None
        if answer is not None and answer.status == _OK:
            described = json.loads(answer.body)
        return described

    async def metrics(self) -> bytes:
        """Everything that is counted there."""
        return await self._get("/metrics")

    async def is_ready(self) -> bool:
        """Whether a call made there now would work."""
        return bool(await self._get("/readyz"))

    async def begin_drain(self, *, seconds: float) -> None:
        """Have it take no new calls, and end those that it has in a while."""
        body = json.dumps({"seconds": seconds}).encode()
        await self._ask("POST", "/v1/drain", headers={"Content-Type": "application/json"}, body=body)

    async def end_drain(self) -> None:
        """Have it take calls again."""
        await self._ask("DELETE", "/v1/drain")

    async def drain_state(self) -> DrainState:
        """Say how far it is with going away; one that is gone has no calls."""
        body = await self._get("/v1/drain")
        if not body:
            return DrainState(is_draining=True, seconds_left=None, calls=0)
        return DrainState(**json.loads(body))

    # Internals

    async def _ask_owner(self, method: str, target: str) -> _Answer | None:
        """Ask about one call."""
        answer = await self._ask(method, target)
        if answer is not None and answer.status in _UNREACHED:
            raise refusal_of(*answer)
        return answer

    async def _get(self, target: str) -> bytes:
        """Return what is there; nothing when it isn't."""
        answer = await self._ask("GET", target)
        return answer.body if answer is not None and answer.status == _OK else b""

    async def _ask(
        self, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> _Answer | None:
        """Make one request, with the rights of the server itself; None when nobody is there to answer it.

        Errors: RequestRefused, 504 when it takes too long, 502 when it is elsewhere and out of reach.
        """
        given = {GRANT_HEADER: encode_grant(Grant()), **(headers or {})}
        encoded = [(name.encode(), value.encode()) for name, value in given.items()]
        return await _ask(self._door, method, target, encoded, body, patience=self._patience)


async def forward_request(
    door: Door, request: Request, body: bytes, *, grant: Grant, client: str
) -> Response:
    """Have the process behind a door answer a request that was read here.

    Errors: RequestRefused, 404 when it is gone and its calls with it, 502 when that can't be known, 504 when
    it takes too long.
    """
    target = request.scope["raw_path"].decode("ascii")
    if query := request.scope["query_string"].decode("ascii"):
        target += f"?{query}"
    headers = [(name, value) for name, value in request.scope["headers"] if name in _END_TO_END]
    headers += [
        (CLIENT_HEADER.encode(), client.encode()),
        (GRANT_HEADER.encode(), encode_grant(grant).encode()),
    ]
    answer = await _ask(door, request.method, target, headers, body, patience=ANSWER_SECONDS)
    if answer is None:
        raise RequestRefused("No such call.", status=404, code="call_not_found", param="call_id")
    response = Response(answer.body, status_code=answer.status)
    for name, value in answer.headers.items():
        if name not in _HOP_BY_HOP:
            response.headers[name.decode("ascii")] = value.decode("latin-1")
    return response


def encode_grant(grant: Grant) -> str:
    """Write a grant as the value of a header."""
    return b64encode(json.dumps(grant.to_json()).encode()).decode()


def decode_grant(value: str) -> Grant:
    """Read what `encode_grant` wrote."""
    return Grant.from_json(json.loads(b64decode(value)))


def no_worker() -> OfferRefused:
    """Refuse what no process is there for."""
    return OfferRefused(
        "A worker has just ended.", status=503, code="no_capacity", param=None, headers={"Retry-After": "1"}
    )


async def _ask(
    door: Door,
    method: str,
    target: str,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
    *,
    patience: float,
) -> _Answer | None:
    request = h11.Request(
        method=method,
        target=target,
        headers=[
            (b"Host", b"localhost"),
            (b"Connection", b"close"),
            (b"Content-Length", str(len(body)).encode()),
            *headers,
        ],
    )
    with trio.move_on_after(patience):
        try:
            async with await door.connect() as stream:
                return await _exchange(stream, request, body)
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            if refused := door.absent():
                raise refused from error
            return None
    raise door.late()


async def _exchange(stream: trio.abc.Stream, request: h11.Request, body: bytes) -> _Answer:
    http = h11.Connection(h11.CLIENT)
    events: list[h11.Event] = [request, h11.Data(data=body), h11.EndOfMessage()]
    await stream.send_all(b"".join(http.send(event) or b"" for event in events))
    response: h11.Response | None = None
    received = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(_RECEIVE_SIZE)))
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            received += event.data
            if len(received) > MAX_ANSWER:
                raise trio.BrokenResourceError(f"an answer of more than {MAX_ANSWER} bytes")
        elif isinstance(event, h11.EndOfMessage) and response is not None:
            return _Answer(response.status_code, dict(response.headers), bytes(received))
        else:
            raise trio.BrokenResourceError("no answer")


def refusal_of(status: int, headers: Mapping[bytes, bytes], body: bytes) -> OfferRefused:
    """Say again what was said to us."""
    fault = json.loads(body)["error"]
    retry_after = headers.get(b"retry-after")
    return OfferRefused(
        fault["message"],
        status=status,
        code=fault["code"],
        param=fault["param"],
        headers=None if retry_after is None else {"Retry-After": retry_after.decode("ascii")},
    )
