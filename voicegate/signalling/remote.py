"""The calls of another process of the same server, asked for over its private socket.

What carries the questions is the HTTP surface itself, one connection each: `serve_privately` at the other
end. A process that is gone has no calls, nothing to count, and takes none.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import h11
import trio

from voicegate.signalling.fault import RequestRefused
from voicegate.signalling.service import JSON, CreatedCall, OfferRefused

__all__ = ["RemoteCalls"]

ANSWER_SECONDS: Final = 5.0
"""Local processes take milliseconds, and clients do not wait much longer."""
MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of an answer: some ten thousand calls described."""
_RECEIVE_SIZE: Final = 64 * 1024
_CALLS: Final = "/v1/realtime/calls"
_OK: Final = 200
_CREATED: Final = 201


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

    async def create_call(
        self,
        offer: str,
        *,
        session: Mapping[str, JSON] | None,
        client: str,
        data_channel_id: int | None = None,
    ) -> CreatedCall:
        """Have it make a call of an offer that came to us."""
        body = json.dumps({"sdp": offer, "session": session}, ensure_ascii=False).encode()
        query = "" if data_channel_id is None else f"?dcid={data_channel_id}"
        headers = {"Content-Type": "application/json", "X-Forwarded-For": client}
        answer = await self._ask("POST", _CALLS + query, headers=headers, body=body)
        if answer is None:
            raise OfferRefused("A worker has just ended.", status=503, code="no_capacity", param=None)
        if answer.status != _CREATED:
            raise _refusal(answer)
        call_id = answer.headers[b"location"].decode("ascii").rpartition("/")[2]
        return CreatedCall(id=call_id, answer=answer.body.decode())

    async def end_call(self, call_id: str) -> bool:
        """Hang up for the client; False when no such call is alive."""
        answer = await self._ask("DELETE", f"{_CALLS}/{quote(call_id, safe='')}")
        return answer is not None and answer.status == _OK

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
        """Make one request; None when nobody is there to answer it.

        Errors: RequestRefused, 504, when it takes too long.
        """
        request = h11.Request(
            method=method,
            target=target,
            headers=[
                ("Host", "localhost"),
                ("Connection", "close"),
                ("Content-Length", str(len(body))),
                *(headers or {}).items(),
            ],
        )
        with trio.move_on_after(self._patience):
            try:
                async with await trio.open_unix_socket(str(self._path)) as stream:
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
    return OfferRefused(fault["message"], status=answer.status, code=fault["code"], param=fault["param"])
