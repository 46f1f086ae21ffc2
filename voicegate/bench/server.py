"""Servers in processes of their own, so that what one costs slows nothing but itself."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any, Final

import trio

from voicegate.bench.place import Place
from voicegate.errors import UsageError, VoicegateError

__all__ = ["BenchError", "Server", "open_aiortc", "open_voicegate"]


class BenchError(VoicegateError):
    """What was to be measured did not work."""


class Server:
    """A running server that takes offers; made by `open_voicegate` and `open_aiortc`."""

    def __init__(self, name: str, place: Place, port: int) -> None:
        self.name: Final = name
        self._place = place
        self._port = port
        self._heard: dict[str, float] = {}
        self._news = trio.Event()

    async def answer(self, offer: str, *, channel_id: int | None) -> str:
        """Have an offer answered.

        Errors: BenchError when it is refused.
        """
        path = "/v1/realtime/calls" if channel_id is None else f"/v1/realtime/calls?dcid={channel_id}"
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        body = offer.encode()
        async with await self._place.connect(self._port) as stream:
            typed = f"{head}content-type: application/sdp\r\ncontent-length: {len(body)}\r\n\r\n"
            await stream.send_all(typed.encode() + body)
            reply = b"".join([chunk async for chunk in stream]).decode()
        status, _, rest = reply.partition("\r\n")
        answer = rest.partition("\r\n\r\n")[2]
        if status.split()[1:2] != ["201"]:
            raise BenchError(f"{self.name} refused the offer: {status} {answer[:200]}")
        return answer

    async def wait_message(self, text: str) -> None:
        """Wait until a client has said this."""
        while text not in self._heard:
            await self._news.wait()

    def heard(self, text: str) -> float | None:
        """Return when a client said this, if one has."""
        return self._heard.get(text)

    def note(self, fact: Mapping[str, Any]) -> None:
        """Take a line that the process has printed."""
        self._heard[fact["message"]] = fact["at"]
        self._news.set()
        self._news = trio.Event()


@asynccontextmanager
async def open_voicegate(place: Place, set_up: Mapping[str, object]) -> AsyncIterator[Server]:
    """Run voicegate, with the short cuts of set-up that ``set_up`` says (`voicegate.config.SetUp`)."""
    async with _open("voicegate", place, json.dumps(dict(set_up))) as server:
        yield server


@asynccontextmanager
async def open_aiortc(place: Place) -> AsyncIterator[Server]:
    """Run the reference.

    Errors: UsageError, saying what to install, when aiortc is missing.
    """
    if find_spec("aiortc") is None:
        raise UsageError("aiortc is missing: pip install 'voicegate-server[bench]', or --no-reference")
    async with _open("aiortc", place) as server:
        yield server


@asynccontextmanager
async def _open(name: str, place: Place, *arguments: str) -> AsyncIterator[Server]:
    command = [sys.executable, "-m", f"voicegate.bench.{name}_server", place.address, *arguments]
    # Out of reach of the terminal's Ctrl-C: it is ended here, when nobody needs it any more.
    process = await trio.lowlevel.open_process(place.wrap(command), stdout=subprocess.PIPE, process_group=0)
    try:
        if process.stdout is None:
            raise BenchError("a process without its output")
        async with process.stdout, trio.open_nursery() as nursery:
            yield await nursery.start(_follow, name, place, process.stdout)
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            await process.wait()


async def _follow(
    name: str, place: Place, stream: trio.abc.ReceiveStream, *, task_status: trio.TaskStatus[Server]
) -> None:
    """Take what a process prints; it is ready with the first line."""
    server: Server | None = None
    rest = b""
    async for chunk in stream:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            fact = json.loads(line)
            if server is None:
                server = Server(name, place, fact["port"])
                task_status.started(server)
            else:
                server.note(fact)
    raise BenchError(f"{name} ended; what it said is above")
