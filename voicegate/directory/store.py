"""Redis as the directory uses it: scripts, reads of many keys, and a channel; by coredis.

Whoever waits for an answer waits for no longer than the deadlines given here, and then the connection is
gone: what coredis has to send is in a queue without a limit, so nothing is sent to a server that is silent.
"""

import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from hashlib import sha1
from typing import Any, Final
from zlib import crc32

import trio
from coredis import PureToken, Redis, RedisCluster, Sentinel
from coredis.connection import TCPLocation
from coredis.exceptions import NoScriptError
from coredis.retry import NoRetryPolicy

from voicegate.directory.script import WRITE_FLOWS
from voicegate.directory.url import DirectoryUrl, Kind
from voicegate.observability import Histogram

__all__ = ["FLOW_BUCKETS", "Store", "open_store"]

FLOW_BUCKETS: Final = 64
"""Hash tags that spread flow rows over a cluster, in batches that are still worth their while."""

_CONNECTIONS: Final = 8
"""Of one process, to each node: answers come in order, and a long one should not hold up all others."""

_LAST_RESORT: Final = 2.0
"""Times the patience, after which we interrupt coredis if it has not given up by itself."""


class Store:
    """An open way to Redis.

    Args:
        client: Of coredis, entered.
        latency: Where answers are timed.
        patience: Seconds that an answer may take.
    """

    def __init__(
        self, client: Redis[bytes] | RedisCluster[bytes], *, latency: Histogram, patience: float
    ) -> None:
        self._client = client
        self._latency = latency
        self._patience = patience

    async def run(self, script: str, keys: Sequence[bytes], arguments: Sequence[bytes | int]) -> object:
        """Run a script whose keys are in one slot."""
        with self._timed():
            try:
                return await self._client.evalsha(_digest(script), keys, arguments)
            except NoScriptError:
                return await self._client.eval(script, keys, arguments)

    async def claim(self, key: bytes, row: bytes, *, life_ms: int) -> bool:
        """Write a row where there is none; returns whether there was none."""
        with self._timed():
            return bool(await self._client.set(key, row, px=life_ms, condition=PureToken.NX))

    async def list_sorted(self, key: bytes) -> list[bytes]:
        """Return all members of a sorted set."""
        with self._timed():
            return [bytes(member) for member in await self._client.zrange(key, 0, -1)]

    async def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Read the rows of keys in one slot."""
        with self._timed():
            return list(await self._client.mget(keys))

    async def write_flows(self, rows: Mapping[bytes, bytes], *, life_ms: int) -> int:
        """Write flow rows, by their keys as `flow_key` makes them; nothing in one deletes it.

        Returns how many were written: some nodes of a cluster may be away.
        """
        if isinstance(self._client, Redis):
            await self.run(WRITE_FLOWS, list(rows), [life_ms, *rows.values()])
            return len(rows)
        batches: list[tuple[list[bytes], list[bytes | int]]] = [
            (keys, [life_ms, *(rows[key] for key in keys)]) for keys in _by_bucket(rows)
        ]
        with self._timed():
            async with self._client.pipeline(raise_on_error=False) as pipeline:
                answers = [pipeline.evalsha(_digest(WRITE_FLOWS), keys, said) for keys, said in batches]
        written = 0
        for answer, (keys, said) in zip(answers, batches, strict=True):
            try:
                await answer
            except NoScriptError:
                await self.run(WRITE_FLOWS, keys, said)
            except Exception:  # noqa: S112 - of this node alone; counted by what is returned
                continue
            written += len(keys)
        return written

    async def read_flows(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Read those flow rows that are there."""
        if isinstance(self._client, Redis):
            return _found(keys, await self.read(list(keys)))
        batches = _by_bucket(keys)
        with self._timed():
            async with self._client.pipeline(raise_on_error=False) as pipeline:
                answers = [pipeline.mget(batch) for batch in batches]
        found: dict[bytes, bytes] = {}
        for batch, answer in zip(batches, answers, strict=True):
            with suppress(Exception):  # of this node alone
                found.update(_found(batch, await answer))
        return found

    def flow_key(self, client: bytes) -> bytes:
        """Return the key of a client's flow row."""
        if isinstance(self._client, Redis):
            return b"voicegate:f:" + client
        return b"voicegate:f:{%02x}:%b" % (crc32(client) % FLOW_BUCKETS, client)

    @asynccontextmanager
    async def subscribe(self, channel: bytes) -> AsyncIterator[AsyncIterator[object]]:
        """Listen to a channel; that it begins is a message, too."""
        async with self._client.pubsub(channels=[channel], retry_policy=NoRetryPolicy()) as messages:
            yield messages

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = trio.current_time()
        with trio.fail_after(_LAST_RESORT * self._patience):
            yield
        self._latency.observe(trio.current_time() - began)


def _digest(script: str) -> str:
    return sha1(script.encode(), usedforsecurity=False).hexdigest()


def _by_bucket(keys: Collection[bytes]) -> list[list[bytes]]:
    buckets: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for key in keys:
        buckets[key[: len("voicegate:f:{00}")]].append(key)
    return list(buckets.values())


def _found(keys: Collection[bytes], rows: Sequence[bytes | None]) -> dict[bytes, bytes]:
    return {key: row for key, row in zip(keys, rows, strict=True) if row is not None}


@asynccontextmanager
async def open_store(
    url: DirectoryUrl, context: ssl.SSLContext | None, *, latency: Histogram, patience: float
) -> AsyncIterator[Store]:
    """Open a way to Redis.

    Errors: any; what coredis raises comes in groups.

    Args:
        url: Where it is.
        context: How to speak TLS.
        latency: Where answers are timed.
        patience: Seconds that connecting, and then each answer, may take.
    """
    common: dict[str, Any] = {
        "connect_timeout": patience,
        "stream_timeout": patience,
        "max_connections": _CONNECTIONS,
    }
    access: dict[str, Any] = {"username": url.user, "password": url.password}
    name: dict[str, Any] = {"client_name": "voicegate"}
    quiet: dict[str, Any] = {"retry_policy": NoRetryPolicy()}
    nodes = [TCPLocation(host, port) for host, port in url.hosts]
    async with AsyncExitStack() as stack:
        client: Redis[bytes] | RedisCluster[bytes]
        match url.kind:
            case Kind.SERVER:
                host, port = url.hosts[0]
                client = Redis(
                    host,
                    port,
                    **{**common, **access, **name, **quiet},
                    db=url.database,
                    ssl_context=context,
                )
            case Kind.SENTINEL:
                tls: dict[str, Any] = {} if context is None else {"ssl_context": context}
                sentinel = await stack.enter_async_context(
                    Sentinel(
                        nodes,
                        sentinel_kwargs={**common, **tls},
                        **{**common, **access, **name, **tls, **quiet},
                    )
                )
                client = sentinel.primary_for(url.primary, db=url.database)
            case Kind.CLUSTER:
                client = RedisCluster(
                    startup_nodes=nodes,
                    ssl_context=context,
                    max_connections_per_node=True,
                    **{**common, **access, **quiet},
                )
        await stack.enter_async_context(client)
        yield Store(client, latency=latency, patience=patience)
