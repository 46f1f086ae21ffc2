"""A whole server in another process, with many live calls, to see what becomes of them in bad times."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from tests.harness import client_certificate
from voicegate.testing.crowd import Crowd, open_crowd
from voicegate.wire.path import Address


class Place:
    """A server in another process, and the crowd that talks to it."""

    def __init__(self, process: trio.Process, lines: "Lines", crowd: Crowd, *, udp: Address) -> None:
        self.crowd = crowd
        self.udp = udp
        """Where clients send to."""
        self._process = process
        self._lines = lines

    async def read(self) -> dict[str, Any]:
        """Ask the server whom it hears, and begin to measure anew."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(b"\n")
        answer: dict[str, Any] = await self._lines.read()
        return answer

    async def wait_heard(self, seconds: float) -> dict[str, Any]:
        """Let time pass, and see that everybody is heard on either side at its end."""
        while True:
            await trio.sleep(seconds)
            answer = await self.read()
            silences = answer["silences"].values()
            heard = [caller.last_heard or 0.0 for caller in self.crowd.callers]
            if len(silences) == len(heard) and max(silences) < 1.0 and trio.current_time() - min(heard) < 1.0:
                return answer


@asynccontextmanager
async def open_place(
    *, workers: int, calls: int, has_directory: bool = True, packet_ms: int | None = None
) -> AsyncIterator[Place]:
    """Run a server with so many relay workers, and so many calls to it, with so much audio in each packet."""
    alone = [] if has_directory else ["alone"]
    command = [sys.executable, "-m", "tests.relay.crowd_server", str(workers), *alone]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    lines = Lines(process.stdout)
    try:
        bound = await lines.read()
        url = f"http://127.0.0.1:{bound['port']}/"
        async with open_crowd(
            url, calls, certificate=client_certificate(), random=os.urandom, packet_ms=packet_ms
        ) as crowd:
            yield Place(process, lines, crowd, udp=("127.0.0.1", bound["udp"]))
    finally:
        with trio.CancelScope(shield=True):
            assert process.stdin is not None
            await process.stdin.aclose()
            with trio.move_on_after(30):
                await process.wait()
            process.kill()
            await process.wait()


class Lines:
    """JSON by lines from a process."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def read(self) -> Any:
        while (end := self._buffer.find(b"\n")) < 0:
            chunk = await self._stream.receive_some()
            assert chunk, "the server has ended"
            self._buffer += chunk
        line = self._buffer[:end]
        del self._buffer[: end + 1]
        return json.loads(line)
