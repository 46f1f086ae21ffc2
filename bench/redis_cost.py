"""What the directory costs Redis: processor time of its one core for each row, script and question.

    python -m bench.redis_cost

A Redis of its own is asked what machines ask, with the directory's own scripts and rows, as fast as it
answers; then Redis says how much processor time it has used. `voicegate plan` calculates with these figures.
"""

import os
from collections.abc import Awaitable, Callable
from hashlib import sha1
from typing import Final

import trio
from coredis import Redis
from rich.console import Console
from rich.table import Table

from voicegate.directory import TransceiverLease
from voicegate.directory.announcer import Announcer
from voicegate.directory.ledger import Member
from voicegate.directory.row import Seal
from voicegate.directory.script import ANNOUNCE, POLL, WRITE_FLOWS
from voicegate.testing.redis import open_redis

__all__ = ["main"]

BATCH: Final = 512
ROUNDS: Final = 400
PREFIX: Final = b"voicegate:{d}:"
SHARED: Final = [PREFIX + name for name in (b"state", b"changes", b"leases")]


class Bench:
    """Asks one server."""

    def __init__(self, redis: Redis[bytes]) -> None:
        self._redis = redis

    async def measure(self, ask: Callable[[int], Awaitable[object]], *, rounds: int = ROUNDS) -> float:
        """Return the microseconds of processor time that each of many questions took."""
        began = await self._used()
        for number in range(rounds):
            await ask(number)
        return (await self._used() - began) / rounds * 1e6

    async def run(self, script: str, keys: list[bytes], arguments: list[bytes | int]) -> object:
        digest = sha1(script.encode(), usedforsecurity=False).hexdigest()
        answer: object = await self._redis.evalsha(digest, keys, arguments)
        return answer

    async def memory(self) -> int:
        return int(str((await self._redis.info("memory"))["used_memory"]))

    async def _used(self) -> float:
        info = await self._redis.info("cpu")
        return float(str(info["used_cpu_user"])) + float(str(info["used_cpu_sys"]))


async def measure() -> dict[str, float]:
    """Measure all, by what it is."""
    async with open_redis() as server, Redis(host="127.0.0.1", port=server.port) as redis:
        bench = Bench(redis)
        for script in (WRITE_FLOWS, POLL, ANNOUNCE):
            await redis.script_load(script)
        batches = [[b"voicegate:f:" + os.urandom(19) for _ in range(BATCH)] for _ in range(ROUNDS)]
        rows: list[bytes | int] = [60_000, *[bytes(12)] * BATCH]
        empty = await bench.memory()
        figures = {
            "a flow row, new": await bench.measure(lambda n: bench.run(WRITE_FLOWS, batches[n], rows)) / BATCH
        }
        figures["bytes of a flow row"] = (await bench.memory() - empty) / (ROUNDS * BATCH)
        again = await bench.measure(lambda n: bench.run(WRITE_FLOWS, batches[n], rows))
        figures["a flow row, again"] = again / BATCH
        figures["a flow row, read"] = await bench.measure(lambda n: redis.mget(batches[n])) / BATCH
        one, fifteen = [await _announce(bench, leases) for leases in (1, 15)]
        figures["an announcement"] = one - (fifteen - one) / 14
        figures["a lease in it"] = (fifteen - one) / 14
        asked: list[bytes | int] = [b"epoch", 1 << 40, BATCH]
        figures["a poll without news"] = await bench.measure(
            lambda _: bench.run(POLL, SHARED, asked), rounds=3000
        )
        leases = [PREFIX + Member.transceiver(number % 15).encode() for number in range(128)]
        figures["a lease, read"] = await bench.measure(lambda _: redis.mget(leases)) / len(leases)
    return figures


async def _announce(bench: Bench, leases: int) -> float:
    announcer = Announcer(seal=Seal([bytes(32)]), owner=bytes(8), prefix=PREFIX)
    for number in range(leases):
        hop, peer = ("10.0.0.1", 9000 + number), ("10.0.0.1", 8443)
        lease = TransceiverLease(hop=hop, peer=peer, region="eu", calls=5, max_calls=256)
        announcer.register(Member.transceiver(number), lease)
    keys, arguments = list(SHARED), list[bytes | int]((15_000, 60_000, b"channel"))
    for row in announcer.poll_rows(limit=leases, wall_time=0.0):
        keys.append(PREFIX + row.member.encode())
        arguments += [row.member.encode(), row.data, row.mode.value.encode(), row.replaced]
    return await bench.measure(lambda _: bench.run(ANNOUNCE, keys, arguments), rounds=1000)


def main() -> dict[str, float]:
    """Measure, and show it."""
    figures = trio.run(measure)
    table = Table("Redis", "µs of its core")
    for name, value in figures.items():
        table.add_row(name, f"{value:.2f}")
    Console().print(table)
    return figures


if __name__ == "__main__":
    main()
