"""Redis for tests, benches and examples: real servers as child processes, to be killed, stopped, restarted.

`open_redis` runs one server, `open_sentinel` a primary, a replica and three sentinels, `open_cluster` three
nodes. Each has folders of its own, and keeps nothing on disk unless it was told to.
"""

import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import attrs
import trio

from voicegate.errors import VoicegateError

__all__ = [
    "RedisCluster",
    "RedisError",
    "RedisServer",
    "RedisTls",
    "SentinelSet",
    "free_port",
    "open_cluster",
    "open_redis",
    "open_sentinel",
]

_READY_SECONDS: Final = 60.0
"""On a busy machine a server is ready within one; one that isn't by then never will be."""

_STEP: Final = 0.01
"""Between two looks at whether it is."""

_SLOTS: Final = 16384

_PORTS: Final = range(12_000, 22_000)
"""Those of a cluster's buses included, below what Linux gives to whoever asks for any (32 768 and up)."""

_BUS: Final = 10_000
"""A cluster's nodes talk to each other at a port that is so much higher."""


class RedisError(VoicegateError):
    """A server could not be started, or answered with an error."""


@attrs.frozen(kw_only=True)
class RedisTls:
    """PEM files for a server that speaks TLS alone, and takes only clients with a certificate."""

    ca: Path
    cert: Path
    key: Path


class RedisServer:
    """A server, running or not.

    Args:
        folder: Where it works and writes.
        port: On loopback; it stays the same for life.
        options: Settings, by name.
        tls: Files, for TLS.
        user: Name and password, for `command`.
        mode: Arguments of the program besides the settings.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        options: Mapping[str, str | Sequence[str]],
        tls: RedisTls | None = None,
        user: tuple[str, str] | None = None,
        mode: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self.port = port
        self._options = options
        self._tls = tls
        self._user = user
        self._mode = mode
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started, and not killed."""
        return self._process is not None

    async def start(self) -> None:
        """Start it, and wait until it answers.

        Errors: RedisError.
        """
        program = shutil.which("redis-server")
        if program is None:
            raise RedisError("redis-server is not installed (apt-get install redis-server)")
        configuration = self._folder / "redis.conf"
        if not configuration.exists():
            configuration.write_text("\n".join(self._settings()) + "\n")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - of our making; a millisecond
                [program, str(configuration), *self._mode], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        with trio.move_on_after(_READY_SECONDS):
            while self._process.poll() is None:
                with suppress(OSError, RedisError, trio.BrokenResourceError):
                    await self.command("PING")
                    return
                await trio.sleep(_STEP)
        raise RedisError(f"redis-server did not start: {(self._folder / 'log').read_text()[-2000:]}")

    def kill(self) -> None:
        """Kill it at once; what it knew is gone."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait()

    async def restart(self) -> None:
        """Kill it, and start it again at the same port."""
        self.kill()
        await self.start()

    def stop(self) -> None:
        """Stop it: it keeps its connections, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    async def command(self, *words: str | bytes | int) -> object:
        """Run one command over a connection of its own; returns a bytes, int, None or a list of these.

        Errors: RedisError for an error that it answers with; OSError without it.
        """
        stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        if self._tls is not None:
            context = ssl.create_default_context(cafile=self._tls.ca)
            context.load_cert_chain(self._tls.cert, self._tls.key)
            stream = trio.SSLStream(stream, context, server_hostname="127.0.0.1", https_compatible=True)
        async with stream:
            if self._user is not None:
                await _ask(stream, ("AUTH", *self._user))
            return await _ask(stream, words)

    async def flush(self) -> None:
        """Let it forget everything."""
        await self.command("FLUSHALL")

    def url(self, *, user: str = "", password: str = "") -> str:
        """Return its URL, as `voicegate.Config.directory` takes it; what is special is encoded already."""
        access = f"{user}:{password}@" if user or password else ""
        if self._tls is None:
            return f"redis://{access}127.0.0.1:{self.port}"
        files = f"?ca={self._tls.ca}&cert={self._tls.cert}&key={self._tls.key}"
        return f"rediss://{access}127.0.0.1:{self.port}{files}"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RedisError("it does not run")
        self._process.send_signal(number)

    def _settings(self) -> list[str]:
        settings: dict[str, str | Sequence[str]] = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self._folder),
            "save": '""',
            "appendonly": "no",
            "daemonize": "no",
            **self._options,
        }
        if self._tls is not None:
            settings |= {
                "port": "0",
                "tls-port": str(self.port),
                "tls-ca-cert-file": str(self._tls.ca),
                "tls-cert-file": str(self._tls.cert),
                "tls-key-file": str(self._tls.key),
            }
        return [
            f"{name} {value}"
            for name, values in settings.items()
            for value in ([values] if isinstance(values, str) else values)
        ]


@attrs.frozen(kw_only=True)
class SentinelSet:
    """A primary called ``voicegate``, a replica, and three sentinels that let the replica take over."""

    primary: RedisServer
    replica: RedisServer
    sentinels: tuple[RedisServer, ...]

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{each.port}' for each in self.sentinels)}/voicegate"


@attrs.frozen(kw_only=True)
class RedisCluster:
    """Three nodes that share the keys."""

    nodes: tuple[RedisServer, ...]

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{each.port}' for each in self.nodes)}"


@asynccontextmanager
async def open_redis(
    *,
    port: int | None = None,
    tls: RedisTls | None = None,
    user: tuple[str, str] | None = None,
    options: Mapping[str, str | Sequence[str]] | None = None,
    mode: Sequence[str] = (),
) -> AsyncIterator[RedisServer]:
    """Run one server; leaving kills it.

    Errors: RedisError.

    Args:
        port: On loopback; a free one without.
        tls: Files, for TLS.
        user: Name and password of one that ``options`` make, for `RedisServer.command`.
        options: More settings, by name; a list for one that may be there several times.
        mode: Arguments of the program besides its settings.
    """
    with tempfile.TemporaryDirectory(prefix="voicegate-redis-") as folder:
        server = RedisServer(
            Path(folder),
            port=port or free_port(),
            options=options or {},
            tls=tls,
            user=user,
            mode=mode,
        )
        try:
            await server.start()
            yield server
        finally:
            server.kill()


@asynccontextmanager
async def open_sentinel() -> AsyncIterator[SentinelSet]:
    """Run a primary, a replica and three sentinels, which take half a second to notice that it is gone."""
    async with AsyncExitStack() as stack:
        primary = await stack.enter_async_context(open_redis())
        following = {"replicaof": f"127.0.0.1 {primary.port}", "repl-diskless-sync-delay": "0"}
        replica = await stack.enter_async_context(open_redis(options=following))
        watching = {
            "sentinel": [
                f"monitor voicegate 127.0.0.1 {primary.port} 2",
                "down-after-milliseconds voicegate 500",
                "failover-timeout voicegate 3000",
            ]
        }
        sentinels = [
            await stack.enter_async_context(open_redis(options=watching, mode=["--sentinel"]))
            for _ in range(3)
        ]
        sentinel_set = SentinelSet(primary=primary, replica=replica, sentinels=tuple(sentinels))
        for sentinel in sentinels:
            await _wait_for(sentinel, _is_complete)
        yield sentinel_set


@asynccontextmanager
async def open_cluster() -> AsyncIterator[RedisCluster]:
    """Run three nodes of a cluster, without replicas."""
    async with AsyncExitStack() as stack:
        options = {"cluster-enabled": "yes", "cluster-node-timeout": "2000"}
        nodes = [await stack.enter_async_context(open_redis(options={**options})) for _ in range(3)]
        share = _SLOTS // len(nodes)
        for index, node in enumerate(nodes):
            last = _SLOTS - 1 if node is nodes[-1] else (index + 1) * share - 1
            await node.command("CLUSTER", "ADDSLOTSRANGE", index * share, last)
            await node.command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for node in nodes[1:]:
            await nodes[0].command("CLUSTER", "MEET", "127.0.0.1", node.port)
        for node in nodes:
            await _wait_for(node, _is_joined)
        yield RedisCluster(nodes=tuple(nodes))


async def _wait_for(server: RedisServer, condition: Callable[[RedisServer], Awaitable[bool]]) -> None:
    with trio.fail_after(_READY_SECONDS):
        while not await condition(server):  # noqa: ASYNC110 - another process, which calls nobody
            await trio.sleep(_STEP)


async def _is_complete(sentinel: RedisServer) -> bool:
    match await sentinel.command("SENTINEL", "MASTER", "voicegate"):
        case list(state):
            told = dict(zip(state[::2], state[1::2], strict=True))
            return (told[b"num-slaves"], told[b"num-other-sentinels"]) == (b"1", b"2")
        case _:
            return False


async def _is_joined(node: RedisServer) -> bool:
    match await node.command("CLUSTER", "INFO"):
        case bytes(state):
            return b"cluster_state:ok" in state and b"cluster_size:3" in state
        case _:
            return False


def free_port() -> int:
    """Return a port of loopback that nobody listens at, nor will by chance while its server is dead."""
    while True:
        port = secrets.choice(_PORTS)
        with suppress(OSError), socket.socket() as probe, socket.socket() as bus:
            probe.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + _BUS))
            return port


async def _ask(stream: trio.abc.Stream, words: Sequence[str | bytes | int]) -> object:
    encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    lines = [b"*%d\r\n" % len(encoded), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)]
    await stream.send_all(b"".join(lines))
    return await _Answer(stream).read()


class _Answer:
    """Reads one answer of the protocol (RESP2)."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._data = bytearray()

    async def read(self) -> object:
        line = bytes(await self._take(await self._find_end()))
        kind, rest = line[:1], line[1:-2]
        match kind:
            case b"+":
                return rest
            case b"-":
                raise RedisError(rest.decode(errors="replace"))
            case b":":
                return int(rest)
            case b"$":
                return None if rest == b"-1" else bytes((await self._take(int(rest) + 2))[:-2])
            case b"*":
                return None if rest == b"-1" else [await self.read() for _ in range(int(rest))]
            case _:
                raise RedisError("no answer of Redis")

    async def _find_end(self) -> int:
        while (end := self._data.find(b"\r\n")) < 0:
            await self._receive()
        return end + 2

    async def _take(self, length: int) -> bytearray:
        while len(self._data) < length:
            await self._receive()
        taken = self._data[:length]
        del self._data[:length]
        return taken

    async def _receive(self) -> None:
        data = await self._stream.receive_some()
        if not data:
            raise trio.BrokenResourceError
        self._data += data
