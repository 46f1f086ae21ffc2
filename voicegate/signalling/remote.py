"""The calls of another process of the same server, asked for over its private socket.

What carries the questions is the HTTP surface itself, one connection each: `serve_privately` at the other
end. A process that is gone has no calls, nothing to count, and takes none.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Unpack
from urllib.parse import quote

import h11
import trio
from starlette.requests import Request
from starlette.responses import Response

from voicegate.access.grant import Grant
from voicegate.errors import UsageError
from voicegate.signalling.fault import RequestRefused
from voicegate.signalling.service import JSON, CallTerms, CreatedCall, Handshake, OfferRefused

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
        path: The other process's socket.
        agent_name: What answers its calls.
        patience: Seconds for an answer to be there whole.
    """

    def __init__(self, path: Path, *, agent_name: str, patience: float = ANSWER_SECONDS) -> None:
        self.agent_name: Final = agent_name
        self._path = path
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
            raise _refusal(answer)
        return CreatedCall(**json.loads(answer.body))

    async def end_call(self, call_id: str) -> bool:
        """Hang up for the client; False when no such call is alive."""
        answer = await self._ask("DELETE", f"{_CALLS}/{quote(call_id, safe='')}")
        return answer is not None and answer.status == _OK

    async def attach(self, call_id: str, handshake: Handshake, *, grant: Grant) -> None:  # noqa: ARG002 - the handshake says it
        """Let it accept a sideband."""
        await handshake.tunnel(self._path, grant=grant)

    async def run_session(self, handshake: Handshake, *, model: str, grant: Grant) -> None:  # noqa: ARG002
        """Let it accept a session."""
        await handshake.tunnel(self._path, grant=grant)

    def owner(self, call_id: str) -> Path | None:  # noqa: ARG002 - all are there
        """Return where its calls are."""
        return self._path

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
        """Describe one call; None when it is unknown."""
        body = await self._get(f"/v1/sessions/{quote(call_id, safe='')}")
        described: dict[str, Any] | None = json.loads(body) if body else None
        return described

    async def metrics(self) -> bytes:
        """Everything that is counted there."""
        return await self._get("/metrics")

    async def is_ready(self) -> bool:
        """Whether a call made there now would work."""
        return bool(await self._get("/readyz"))

    # Internals

    async def _get(self, target: str) -> bytes:
        """Return what is there; nothing when it isn't."""
        answer = await self._ask("GET", target)
        return answer.body if answer is not None and answer.status == _OK else b""

    async def _ask(
        self, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> _Answer | None:
        """Make one request, with the rights of the server itself; None when nobody is there to answer it.

        Errors: RequestRefused, 504, when it takes too long.
        """
        given = {GRANT_HEADER: encode_grant(Grant()), **(headers or {})}
        encoded = [(name.encode(), value.encode()) for name, value in given.items()]
        return await _ask(self._path, method, target, encoded, body, patience=self._patience)


async def forward_request(
    path: Path, request: Request, body: bytes, *, grant: Grant, client: str
) -> Response:
    """Have the process that listens on ``path`` answer a request that was read here.

    Errors: RequestRefused, 404 when it is gone and its calls with it, 504 when it takes too long.
    """
    target = request.scope["raw_path"].decode("ascii")
    if query := request.scope["query_string"].decode("ascii"):
        target += f"?{query}"
    headers = [(name, value) for name, value in request.scope["headers"] if name in _END_TO_END]
    headers += [
        (CLIENT_HEADER.encode(), client.encode()),
        (GRANT_HEADER.encode(), encode_grant(grant).encode()),
    ]
    answer = await _ask(path, request.method, target, headers, body, patience=ANSWER_SECONDS)
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
    path: Path,
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
            async with await trio.open_unix_socket(str(path)) as stream:
                return await _exchange(stream, request, body)
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError):
            return None
    raise RequestRefused("A worker of this server does not answer.", status=504, code="worker_timeout")


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


def _refusal(answer: _Answer) -> OfferRefused:
    """Say again what was said to us."""
    fault = json.loads(answer.body)["error"]
    retry_after = answer.headers.get(b"retry-after")
    return OfferRefused(
        fault["message"],
        status=answer.status,
        code=fault["code"],
        param=fault["param"],
        headers=None if retry_after is None else {"Retry-After": retry_after.decode("ascii")},
    )
