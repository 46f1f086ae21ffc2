"""``voicegate drain``: ask a server to take no more calls, or to take them again."""

import json
from collections.abc import Awaitable, Callable
from math import ceil
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import urlsplit

import h11
import trio
from cyclopts import Parameter
from rich.console import Console

from voicegate.errors import UsageError, WireError
from voicegate.wire.json_value import decode_object

__all__ = ["Answer", "Operator", "drain", "follow_drain", "open_operator"]

ANSWER_SECONDS: Final = 10.0
MAX_ANSWER: Final = 64 * 1024
POLL_SECONDS: Final = 1.0
PATH: Final = "/v1/drain"

_OK: Final = 200
_RECEIVE_SIZE: Final = 16 * 1024
_REFUSALS: Final = {
    401: "it wants an API key: --key, or VOICEGATE_KEY in the environment",
    403: "this API key may not do that",
    404: "it cannot be drained this way: is it a voicegate?",
}


class Answer(NamedTuple):
    """What a server says of its drain."""

    is_draining: bool
    seconds_left: float | None
    left: int
    """Calls, or, of a relay, clients."""
    is_relay: bool = False

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to wait for; a relay ends nobody when its time is up."""
        return not (self.is_draining and self.left) or (self.is_relay and self.seconds_left == 0)

    def describe(self) -> str:
        """Say it in words."""
        thing = "client" if self.is_relay else "call"
        has = f"it has {self.left or 'no'} {thing}{'' if self.left == 1 else 's'}"
        if not self.is_draining:
            return f"takes {thing}s; {has}"
        left = "" if self.seconds_left is None or not self.left else f", for {ceil(self.seconds_left)} s more"
        return f"takes no new {thing}s; {has}{left}"


class Operator:
    """Asks a server, one connection for each question.

    Args:
        connect: Opens a connection to it.
        host: What it is called there.
        key: An API key.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[trio.abc.Stream]], *, host: str, key: str | None
    ) -> None:
        self.host: Final = host
        self._connect = connect
        self._key = key

    async def ask(self, method: str, body: dict[str, Any] | None = None) -> Answer:
        """Ask for the drain to begin (POST), to end (DELETE), or how it goes (GET).

        Errors: UsageError, saying what to do about it; ConnectionError when nobody answers.
        """
        try:
            with trio.fail_after(ANSWER_SECONDS):
                status, content = await self._exchange(method, json.dumps(body).encode() if body else b"")
        except trio.TooSlowError:
            raise ConnectionError(f"no answer in {ANSWER_SECONDS:g} seconds") from None
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            raise ConnectionError(str(error) or type(error).__name__) from error
        if status != _OK:
            raise UsageError(f"{self.host}: {_REFUSALS.get(status, _said(status, content))}")
        return _read_answer(self.host, content)

    async def _exchange(self, method: str, body: bytes) -> tuple[int, bytes]:
        headers = [("Host", self.host), ("Content-Length", str(len(body))), ("Connection", "close")]
        headers += [("Content-Type", "application/json")] if body else []
        headers += [("Authorization", f"Bearer {self._key}")] if self._key else []
        protocol = h11.Connection(h11.CLIENT)
        stream = await self._connect()
        async with stream:
            request = h11.Request(method=method, target=PATH, headers=headers)
            parts = (request, h11.Data(data=body), h11.EndOfMessage())
            await stream.send_all(b"".join(protocol.send(part) or b"" for part in parts))
            return await _receive(stream, protocol)


async def _receive(stream: trio.abc.Stream, protocol: h11.Connection) -> tuple[int, bytes]:
    status, content = 0, b""
    while True:
        match protocol.next_event():
            case h11.NEED_DATA:
                protocol.receive_data(bytes(await stream.receive_some(_RECEIVE_SIZE)))
            case h11.Response(status_code=status):
                pass
            case h11.Data(data=data):
                content += data
                if len(content) > MAX_ANSWER:
                    raise UsageError(f"more than {MAX_ANSWER} bytes came: is it a voicegate?")
            case h11.EndOfMessage() | h11.ConnectionClosed():
                return status, content
            case _:  # An answer that is not the last one yet.
                pass


def _said(status: int, content: bytes) -> str:
    try:
        message = json.loads(content)["error"]["message"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return f"it answers with {status}"
    return f"{status}, {str(message)[:200]!r}"


def _read_answer(host: str, content: bytes) -> Answer:
    try:
        answer = decode_object(content.decode())
        is_relay = "calls" not in answer
        seconds = answer["seconds_left"]
        return Answer(
            is_draining=bool(answer["is_draining"]),
            seconds_left=None if seconds is None else float(seconds),
            left=int(answer["flows" if is_relay else "calls"]),
            is_relay=is_relay,
        )
    except (WireError, ValueError, KeyError, TypeError, OverflowError):
        raise UsageError(f"{host}: what it answers is not about a drain: is it a voicegate?") from None


def open_operator(url: str, *, key: str | None) -> Operator:
    """Make who asks a server at an address.

    Errors: UsageError when it is none.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{url!r}: {error}") from None
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"{url!r}: an address such as http://127.0.0.1:8080 is wanted")
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError("the API key has characters that none has")

    async def connect() -> trio.abc.Stream:
        if parts.scheme == "https":
            return await trio.open_ssl_over_tcp_stream(host, port or 443, https_compatible=True)
        return await trio.open_tcp_stream(host, port or 80)

    return Operator(connect, host=parts.netloc.rpartition("@")[2], key=key)


def drain(
    *,
    undo: Annotated[bool, Parameter(negative="")] = False,
    seconds: float | None = None,
    url: str = "http://127.0.0.1:8080",
    key: Annotated[str | None, Parameter(env_var="VOICEGATE_KEY", show_env_var=True)] = None,
    wait: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Have a server take no new calls, so that it can be stopped when those that it has are over.

    Args:
        undo: Have it take calls again.
        seconds: How long its calls may go on [60; of a relay, its clients: without end].
        url: Where it is.
        key: An API key of its.
        wait: Return when it has no calls any more.
    """
    if seconds is not None and not 0 <= seconds < float("inf"):
        raise UsageError(f"--seconds: a number from 0 on is wanted, not {seconds:g}")
    operator = open_operator(url, key=key)
    trio.run(_drain, operator, undo, seconds, wait)


async def _drain(operator: Operator, undo: bool, seconds: float | None, wait: bool) -> None:
    console = Console(stderr=True, highlight=False)

    def say(answer: Answer) -> None:
        console.print(f"The server {answer.describe()}", soft_wrap=True)

    try:
        body = None if seconds is None or undo else {"seconds": seconds}
        answer = await operator.ask("DELETE" if undo else "POST", body)
    except ConnectionError as error:
        raise UsageError(f"{operator.host}: {error}") from error
    say(answer)
    if wait and not undo:
        await follow_drain(operator, answer, say)


async def follow_drain(operator: Operator, answer: Answer, say: Callable[[Answer], None]) -> None:
    """Wait until a server has no calls any more, or is gone."""
    while not answer.is_over:
        await trio.sleep(POLL_SECONDS)
        try:
            later = await operator.ask("GET")
        except ConnectionError:
            return
        if (later.is_draining, later.left) != (answer.is_draining, answer.left):
            say(later)
        answer = later
