"""One Redis for all tests of a process, empty at the beginning of each."""

import datetime
import ipaddress
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from voicegate.directory import Directory, RelayLease, Snapshot, TransceiverLease
from voicegate.directory.redis import Pace, RedisDirectory, open_redis_directory
from voicegate.observability import Metrics
from voicegate.testing.redis import RedisServer, RedisTls, free_port

SECRET: Final = b"the secret of the cluster"
LOOPBACK: Final = ipaddress.ip_address("127.0.0.1")
NETWORKS: Final = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "10.0.0.0/8", "fc00::/7")))

QUICK: Final = Pace(
    lease=3.0,
    renewal=0.2,
    poll=0.05,
    reread=30.0,
    grace=0.5,
    first_pause=0.02,
    last_pause=0.1,
    flows=0.005,
    answer=5.0,
    lookup=5.0,
    farewell=5.0,
)
"""A directory that does everything often, and waits for a machine that stalls."""

PATIENT: Final = attrs.evolve(QUICK, grace=60.0)
"""The same, where nothing may be forgotten, however long the machine takes to write it again."""


@attrs.frozen
class Redis:
    """A server, and directories on it."""

    server: RedisServer

    def open(
        self,
        *,
        secrets: Sequence[bytes] = (SECRET,),
        pace: Pace = QUICK,
        wall_clock: Callable[[], float] | None = None,
        url: str | None = None,
    ) -> AbstractAsyncContextManager[RedisDirectory]:
        """Open a directory on it."""
        clock = {} if wall_clock is None else {"wall_clock": wall_clock}
        return open_redis_directory(
            url or self.server.url(), secrets=secrets, hop_networks=NETWORKS, pace=pace, **clock
        )


class Pair(Directory):
    """Two directories as one: what one says, as the other hears it."""

    def __init__(self, *, writer: Directory, reader: Directory) -> None:
        self._writer = writer
        self._reader = reader

    async def claim(self, cluster: int) -> int:
        return await self._writer.claim(cluster)

    def register(self, transceiver_id: int, lease: TransceiverLease) -> None:
        self._writer.register(transceiver_id, lease)

    def unregister(self, transceiver_id: int) -> None:
        self._writer.unregister(transceiver_id)

    def register_relay(self, name: str, lease: RelayLease) -> None:
        self._writer.register_relay(name, lease)

    def unregister_relay(self, name: str) -> None:
        self._writer.unregister_relay(name)

    def snapshot(self) -> Snapshot:
        return self._reader.snapshot()

    def watch(self) -> trio.abc.ReceiveChannel[Snapshot]:
        return self._reader.watch()

    @property
    def conflicts(self) -> frozenset[int]:
        return self._writer.conflicts

    def write_flows(self, rows: Mapping[bytes, int | None]) -> None:
        self._writer.write_flows(rows)

    async def find_flows(self, keys: Collection[bytes]) -> Mapping[bytes, int]:
        return await self._reader.find_flows(keys)

    def report(self, metrics: Metrics) -> None:
        self._reader.report(metrics)


def pytest_configure(config: pytest.Config) -> None:
    # coredis leaves the queues of a connection unclosed that it could not make; they are collected anywhere.
    config.addinivalue_line("filterwarnings", "ignore:Unclosed <MemoryObject:ResourceWarning")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with ExitStack() as stack:
        # A path that a socket can have.
        folder = Path(tmp_path_factory.mktemp("redis"))
        server = RedisServer(folder, port=free_port(), options={})
        stack.callback(server.kill)
        trio.run(server.start)
        yield server


@pytest.fixture
def tls(tmp_path: Path) -> RedisTls:
    """A certificate that is its own authority, for both sides."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(LOOPBACK)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    files = RedisTls(ca=tmp_path / "ca.pem", cert=tmp_path / "ca.pem", key=tmp_path / "key.pem")
    files.ca.write_bytes(certificate.public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def scrape(directory: Directory) -> dict[str, float]:
    """What a directory reports, by name and labels."""
    metrics = Metrics()
    directory.report(metrics)
    lines = [line for line in metrics.render().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.fixture
async def redis(server: RedisServer) -> Redis:
    """The server, empty; it runs again if the test before left it dead."""
    if not server.is_running:
        await server.start()
    await server.flush()
    return Redis(server)
