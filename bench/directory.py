"""What a directory on Redis costs: CPU of the process that asks, and of Redis, for each thing it does."""

import ipaddress
import os
import time
from collections.abc import Awaitable, Callable

import trio

from voicegate.directory import TransceiverLease
from voicegate.directory.announcer import Announcer
from voicegate.directory.flow_queue import BATCH_LIMIT
from voicegate.directory.ledger import Ledger, Member
from voicegate.directory.redis import PREFIX
from voicegate.directory.row import Seal
from voicegate.directory.script import ANNOUNCE, POLL
from voicegate.directory.store import Store, open_store
from voicegate.directory.url import DirectoryUrl
from voicegate.observability import Histogram
from voicegate.testing.redis import RedisServer, open_redis

SECRET = b"the secret of the cluster"
KEYS = [PREFIX + name for name in (b"state", b"changes", b"leases")]
NETWORKS = [ipaddress.ip_network("10.0.0.0/8")]
TRANSCEIVERS = 10_000
ROUNDS = 200


class Bench:
    """A member of a cluster whose moves are made by hand, to be counted."""

    def __init__(self, server: RedisServer, store: Store) -> None:
        self.server = server
        self.store = store
        self.seal = Seal([SECRET])
        self.figures: dict[str, dict[str, float]] = {}

    def announcer(self) -> Announcer:
        return Announcer(seal=self.seal, owner=os.urandom(8), prefix=PREFIX)

    async def announce(self, announcer: Announcer) -> None:
        while rows := announcer.poll_rows(limit=100, wall_time=time.time()):
            arguments: list[bytes | int] = [600_000, 60_000, b"voicegate:news"]
            for row in rows:
                arguments += [row.member.encode(), row.data, row.mode.value.encode(), row.replaced]
            keys = [*KEYS, *(PREFIX + row.member.encode() for row in rows)]
            answers = await self.store.run(ANNOUNCE, keys, arguments)
            assert isinstance(answers, list)
            for row, found in zip(rows, answers, strict=True):
                announcer.handle_answer(row, found)

    async def measure(
        self, what: str, move: Callable[[], Awaitable[object]], *, each: int, rounds: int = ROUNDS
    ) -> None:
        """Make a move many times; print what one thing of the several that it does costs."""
        await move()
        redis_before, commands_before = await self.read_redis()
        began = time.process_time()
        for _ in range(rounds):
            await move()
        ours = time.process_time() - began
        redis_after, commands_after = await self.read_redis()
        count = each * rounds
        figures = {
            "us": 1e6 * ours / count,
            "redis_us": 1e6 * (redis_after - redis_before) / count,
            "commands": (commands_after - commands_before - 2) / count,
        }
        self.figures[what] = figures
        print(
            f"{what:44}{figures['us']:9.1f}{figures['redis_us']:9.1f}{figures['commands']:10.4f}", flush=True
        )

    async def read_redis(self) -> tuple[float, int]:
        told = await self.server.command("INFO", "everything")
        assert isinstance(told, bytes)
        table = dict(line.split(":", 1) for line in told.decode().splitlines() if ":" in line)
        cpu = float(table["used_cpu_user"]) + float(table["used_cpu_sys"])
        return cpu, int(table["total_commands_processed"])


async def measure_leases(bench: Bench) -> None:
    lease = TransceiverLease(hop=("10.0.0.1", 9000), peer=("10.0.0.1", 9443), region="eu", max_calls=600)
    for count in (1, 8, 100):
        announcer = bench.announcer()
        for number in range(count):
            announcer.register(Member.transceiver(number + 1000 * count), lease)

        async def renew(announcer: Announcer = announcer) -> None:
            announcer.renew()
            await bench.announce(announcer)

        await bench.measure(f"renewal of a lease, {count} at once", renew, each=count)
    announcer = bench.announcer()
    for number in range(TRANSCEIVERS):
        announcer.register(Member.transceiver((1 << 20) + number), lease)
    await bench.announce(announcer)

    async def poll() -> None:
        await bench.store.run(POLL, KEYS, [b"epoch", 1 << 40, 500])

    await bench.measure(f"poll without changes, among {TRANSCEIVERS}", poll, each=1)
    members = [Member.transceiver((1 << 20) + number) for number in range(TRANSCEIVERS)]
    chunks = [members[start : start + 500] for start in range(0, TRANSCEIVERS, 500)]

    async def read_all() -> None:
        ledger = Ledger(seal=bench.seal, owner=bytes(8), prefix=PREFIX, hop_networks=NETWORKS)
        for chunk in chunks:
            rows = await bench.store.read([PREFIX + member.encode() for member in chunk])
            ledger.handle_rows(dict(zip(chunk, rows, strict=True)), now=0.0, server_time=time.time())
        assert len(ledger.snapshot().transceivers) == TRANSCEIVERS

    await bench.measure("reading a lease that changed, or of all", read_all, each=TRANSCEIVERS, rounds=3)


async def measure_flows(bench: Bench) -> None:
    for count in (1, BATCH_LIMIT):
        clients = [number.to_bytes(19, "big") for number in range(count)]
        keys = {bench.store.flow_key(client): client for client in clients}

        async def write(keys: dict[bytes, bytes] = keys) -> None:
            rows = {key: bench.seal.encode_flow(key, 7) for key in keys}
            await bench.store.write_flows(rows, life_ms=60_000)

        async def find(keys: dict[bytes, bytes] = keys) -> None:
            found = await bench.store.read_flows(keys)
            assert {bench.seal.decode_flow(key, row) for key, row in found.items()} == {7}

        await bench.measure(f"writing a flow row, {count} at once", write, each=count)
        await bench.measure(f"finding a flow, {count} at once", find, each=count)


async def measure() -> dict[str, dict[str, float]]:
    print(f"{'what, each':44}{'us':>9}{'Redis us':>9}{'commands':>10}")
    async with open_redis() as server:
        url = DirectoryUrl.parse(server.url())
        async with open_store(url, None, latency=Histogram([1.0]), patience=10.0) as store:
            bench = Bench(server, store)
            await measure_leases(bench)
            await measure_flows(bench)
    memory = await measure_memory()
    print(f"Redis keeps {memory['lease']:.0f} bytes for a lease, {memory['flow']:.0f} for a flow row")
    return {**bench.figures, "memory": memory}


async def measure_memory() -> dict[str, float]:
    memory: dict[str, float] = {}
    for what in ("lease", "flow"):
        async with (
            open_redis() as server,
            open_store(
                DirectoryUrl.parse(server.url()), None, latency=Histogram([1.0]), patience=10.0
            ) as store,
        ):
            bench = Bench(server, store)
            before = await used_memory(server)
            if what == "lease":
                announcer = bench.announcer()
                for number in range(TRANSCEIVERS):
                    lease = TransceiverLease(hop=("10.0.0.1", 9000), region="eu", max_calls=600)
                    announcer.register(Member.transceiver(number), lease)
                await bench.announce(announcer)
            else:
                for start in range(0, TRANSCEIVERS, 500):
                    keys = [store.flow_key((start + n).to_bytes(19, "big")) for n in range(500)]
                    rows = {key: bench.seal.encode_flow(key, 7) for key in keys}
                    await store.write_flows(rows, life_ms=600_000)
            memory[what] = (await used_memory(server) - before) / TRANSCEIVERS
    return memory


async def used_memory(server: RedisServer) -> int:
    told = await server.command("INFO", "memory")
    assert isinstance(told, bytes)
    return int(told.split(b"used_memory:")[1].split()[0])


def main() -> dict[str, dict[str, float]]:
    return trio.run(measure)


if __name__ == "__main__":
    main()
