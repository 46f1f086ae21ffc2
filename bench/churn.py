"""Ten thousand short calls in a row, and what is left of them in the server: memory, tasks, descriptors."""

import json
import os
import sys
from functools import partial
from pathlib import Path

import trio

import voicegate
import voicegate.testing.client
from bench.child import open_child
from tests.harness import make_client
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
    async with open_child("bench.churn") as server:
        url = (await server.read())["url"]
        failed = 0
        for look in range(LOOKS + 1):
            held = await server.ask() | {"calls": calls * look // LOOKS, "failed": failed}
            looks.append(held)
            megabytes = held["resident"] / 2**20
            line = f"{held['tasks']:7}{held['descriptors']:13}{held['entries']:9}"
            print(f"{held['calls']:8}{held['failed']:8}{megabytes:8.1f}{line}", flush=True)
            if look < LOOKS:
                failed += await call_many(url, calls // LOOKS)
    return looks


def main(calls: int = CALLS) -> list[dict[str, int]]:
    return trio.run(measure, calls)


if __name__ == "__main__":
    configure_logging(level="error")
    if sys.argv[1:] == ["serve"]:
        trio.run(serve)
    else:
        main(*map(int, sys.argv[1:]))
