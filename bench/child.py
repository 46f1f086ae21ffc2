"""A bench's server in a process of its own, so that figures are of one or the other."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

import voicegate
from tests.relay.place import Lines


class Child:
    """A module of this folder, run as ``python -m MODULE serve``: it says things in lines of JSON."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin = process.stdin
        self._lines = Lines(process.stdout)

    async def read(self) -> dict[str, Any]:
        """Return what it says next."""
        said: dict[str, Any] = await self._lines.read()
        return said

    async def ask(self) -> dict[str, Any]:
        """Send an empty line, and return what it says then."""
        await self._stdin.send_all(b"\n")
        return await self.read()


@asynccontextmanager
async def open_child(module: str) -> AsyncIterator[Child]:
    """Run a module; it ends with its standard input."""
    command = [sys.executable, "-m", module, "serve"]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Child(process)
    finally:
        with trio.CancelScope(shield=True):
            assert process.stdin is not None
            await process.stdin.aclose()
            await process.wait()


async def serve_calls(function: voicegate.Agent | None = None, *, agent: str = "parrot") -> None:
    """Serve calls on loopback, in the child; say the address, and go on until standard input ends."""
    config = voicegate.Config(http="127.0.0.1:0", udp="127.0.0.1:0", agent=agent, cors_origins=["*"])
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(voicegate.serve, function, config, owns_process=True))
        print(json.dumps({"url": server.url}), flush=True)
        stdin = trio.lowlevel.FdStream(os.dup(0))
        while await stdin.receive_some():
            pass
        nursery.cancel_scope.cancel()
