"""Ten thousand short calls in a row, and what is left of them in the server: memory, tasks, descriptors."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

import voicegate
import voicegate.testing.client
from tests.harness import make_client
from tests.relay.place import Lines
from voicegate.observability import configure_logging
from voicegate.testing.phone import open_phone

CALLS = 10_000
AT_ONCE = 8
LOOKS = 10
"""How often the server is looked at."""

HEARD_SECONDS = 0.1
"""What a caller hears of its echo before it hangs up."""

LATE_SECONDS = 20.0
"""A call that has not come about by then counts as failed: the machine may stall."""


class Server:
    """The server in its own process."""

    def __init__(self, process: trio.Process, lines: Lines, url: str) -> None:
        self.url = url
        self._process = process
        self._lines = lines

    async def look(self) -> dict[str, int]:
        """Return what the server holds once no call is left."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(b"\n")
        held: dict[str, int] = await self._lines.read()
        return held


@asynccontextmanager
async def open_server() -> AsyncIterator[Server]:
    command = [sys.executable, "-m", "bench.churn", "serve"]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    lines = Lines(process.stdout)
    try:
        yield Server(process, lines, (await lines.read())["url"])
    finally:
        with trio.CancelScope(shield=True):
            await process.stdin.aclose()
            await process.wait()


async def serve() -> None:
    """Serve echoes; for each line on stdin, wait until no call is left and say what the process holds."""
    config = voicegate.Config(http="127.0.0.1:0", udp="127.0.0.1:0", max_pending_calls_per_client=512)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(voicegate.serve, voicegate.agents.echo, config))
        print(json.dumps({"url": server.url}), flush=True)
        stdin = trio.lowlevel.FdStream(os.dup(0))
        while await stdin.receive_some():
            while server.transceiver.call_count:
                await trio.sleep(0.05)
            print(json.dumps(holdings(server)), flush=True)
        nursery.cancel_scope.cancel()


def holdings(server: voicegate.Server) -> dict[str, int]:
    """Tell what this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "resident": pages * os.sysconf("SC_PAGESIZE"),
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "entries": sum(server.transceiver.engine.footprint.values()),
    }


async def call_many(url: str, count: int) -> int:
    """Make so many short calls; return how many did not come about."""
    failed = 0

    async def one_by_one(share: int) -> None:
        nonlocal failed
        for _ in range(share):
            with trio.move_on_after(LATE_SECONDS) as patience:
                async with open_phone(url, make_client()) as phone:
                    heard = partial(_has_heard, phone.core)
                    await phone.wait_until(heard)
            failed += patience.cancelled_caught

    async with trio.open_nursery() as nursery:
        for index in range(AT_ONCE):
            nursery.start_soon(one_by_one, (count + index) // AT_ONCE)
    return failed


def _has_heard(core: voicegate.testing.client.ClientCore) -> bool:
    return len(core.heard) >= HEARD_SECONDS * 2 * 48_000


async def measure(calls: int) -> list[dict[str, int]]:
    looks: list[dict[str, int]] = []
    print(f"{'calls':>8}{'failed':>8}{'MB':>8}{'tasks':>7}{'descriptors':>13}{'entries':>9}")
    async with open_server() as server:
        failed = 0
        for look in range(LOOKS + 1):
            held = await server.look() | {"calls": calls * look // LOOKS, "failed": failed}
            looks.append(held)
            megabytes = held["resident"] / 2**20
            line = f"{held['tasks']:7}{held['descriptors']:13}{held['entries']:9}"
            print(f"{held['calls']:8}{held['failed']:8}{megabytes:8.1f}{line}", flush=True)
            if look < LOOKS:
                failed += await call_many(server.url, calls // LOOKS)
    return looks


def main(calls: int = CALLS) -> list[dict[str, int]]:
    return trio.run(measure, calls)


if __name__ == "__main__":
    configure_logging(level="error")
    if sys.argv[1:] == ["serve"]:
        trio.run(serve)
    else:
        main(*map(int, sys.argv[1:]))
