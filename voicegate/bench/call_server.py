"""The server under test of `voicegate bench calls`: voicegate with one of its ready agents.

    python -m voicegate.bench.call_server echo

It prints one JSON object when it takes calls, and ends with its standard input: ``port`` of HTTP, ``relay``,
the process ids of the relay's workers, and ``hop``, the transceiver's port of the hop.
"""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio

from voicegate.config import Address, Config
from voicegate.observability import configure_logging
from voicegate.server import Server, serve

__all__ = ["find_hop"]

_CALLS = 4096


def find_hop(server: Server) -> int:
    """Find the transceiver's port of the hop: that of our UDP sockets which isn't the relay's."""
    relays = {address[1] for address in (*server.relay.public, *server.relay.hops)}
    return next(port for port in _udp_ports() if port not in relays)


def _udp_ports() -> Iterator[int]:
    for name in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            copied = os.dup(int(name.name))
            try:
                sock = socket.socket(fileno=copied)
            except OSError:
                os.close(copied)
                continue
            with sock:
                if sock.type == socket.SOCK_DGRAM and sock.family in {socket.AF_INET, socket.AF_INET6}:
                    yield sock.getsockname()[1]


async def _serve(agent: str) -> None:
    config = Config(
        http=Address("127.0.0.1", 0),
        udp=Address("127.0.0.1", 0),
        agent=agent,
        max_calls=_CALLS,
        max_pending_calls=_CALLS,
        max_pending_calls_per_client=_CALLS,
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, None, config, owns_process=True))
        facts = {"port": server.http.port, "relay": server.relay.pids, "hop": find_hop(server)}
        print(json.dumps(facts), flush=True)  # noqa: T201 - the protocol of `voicegate.bench.program`
        async with trio.lowlevel.FdStream(os.dup(0)) as lines:
            async for _ in lines:
                pass
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    configure_logging(level="error")
    trio.run(_serve, sys.argv[1])
