"""What it costs to have a call taken elsewhere: over a private socket, and by another machine, in mutual TLS.

    python -m bench.forwarding

Both ends are in this process, so the processor time is that of both together; the call itself costs nothing
here. What the network between two machines adds are three round trips: TCP, TLS, and the question.
"""

import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import trio
from rich.console import Console
from rich.table import Table

from voicegate.fleet import PeerDoor, run_peer_listener
from voicegate.fleet.tls import PeerTls
from voicegate.signalling import CallService, CreatedCall, Door, RemoteCalls, UnixDoor, serve_privately

__all__ = ["main"]

CALLS: Final = 300
OFFER: Final = "v=0\r\n" + "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n" * 100
"""As long as a browser's."""


class Taker:
    """Takes every call for nothing."""

    agent_name = "taker"

    async def create_call(self, offer: str, **_terms: object) -> CreatedCall:
        return CreatedCall(id="rtc_0", answer=offer)


async def measure() -> dict[str, tuple[float, float]]:
    """Return the milliseconds of processor time, and of waiting, for each way."""
    secrets = [os.urandom(32)]
    taker: CallService = Taker()  # type: ignore[assignment]
    with TemporaryDirectory() as folder:
        async with trio.open_nursery() as nursery:
            path = Path(folder) / "socket"
            await nursery.start(serve_privately, taker, path)
            address = await nursery.start(run_peer_listener, taker, ("127.0.0.1", 0), secrets)
            peer = PeerDoor(address, PeerTls(secrets))
            measured = {
                "a call over a private socket": await _measure(partial(_call, UnixDoor(path))),
                "a call by another machine": await _measure(partial(_call, peer)),
                "of that, the connection": await _measure(partial(_connect, peer)),
            }
            nursery.cancel_scope.cancel()
    return measured


async def _call(door: Door) -> None:
    await RemoteCalls(door, agent_name="taker").create_call(OFFER, session=None, client="192.0.2.1")


async def _connect(door: Door) -> None:
    await (await door.connect()).aclose()


async def _measure(act: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    waits = []
    used = time.process_time()
    for _ in range(CALLS):
        began = time.perf_counter()
        await act()
        waits.append(time.perf_counter() - began)
    return (time.process_time() - used) / CALLS * 1e3, median(waits) * 1e3


def main() -> dict[str, dict[str, float]]:
    """Measure, and show it."""
    measured = trio.run(measure)
    table = Table(title="A call taken elsewhere, both ends in one process")
    for column in ("", "processor time, ms", "median wait, ms"):
        table.add_column(column)
    for name, (used, wait) in measured.items():
        table.add_row(name, f"{used:.2f}", f"{wait:.2f}")
    Console().print(table)
    return {name: {"cpu_ms": used, "wait_ms": wait} for name, (used, wait) in measured.items()}


if __name__ == "__main__":
    main()
