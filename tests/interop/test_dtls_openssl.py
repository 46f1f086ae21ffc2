"""DTLS 1.2 against the ``openssl`` command, both ways, over real sockets."""

import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.dtls.peer import NOT_BEFORE, Identity, make_identity
from voicegate.dtls import (
    ApplicationData,
    Certificate,
    Closed,
    DtlsConnection,
    Event,
    Fingerprint,
    HandshakeCompleted,
    HandshakeFailed,
    HandshakeStarted,
    KeysReady,
    ProtocolVersion,
    Role,
    SrtpProfile,
)

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(240)]

_LIMIT: Final = 60.0
_LABEL: Final = "EXTRACTOR-dtls_srtp"
_LENGTH: Final = 88
_EXPORT: Final = ["-keymatexport", _LABEL, "-keymatexportlen", str(_LENGTH)]
_SRTP: Final = ["-use_srtp", "SRTP_AEAD_AES_256_GCM:SRTP_AES128_CM_SHA1_80"]
_ONLY_1_2: Final = [ProtocolVersion.DTLS_1_2]


_PROFILES: Final = {
    SrtpProfile.AES128_CM_SHA1_80: "SRTP_AES128_CM_SHA1_80",
    SrtpProfile.AEAD_AES_128_GCM: "SRTP_AEAD_AES_128_GCM",
    SrtpProfile.AEAD_AES_256_GCM: "SRTP_AEAD_AES_256_GCM",
}
_SUITES: Final = {
    0xC02B: b"ECDHE-ECDSA-AES128-GCM-SHA256",
    0xC02C: b"ECDHE-ECDSA-AES256-GCM-SHA384",
    0xC02F: b"ECDHE-RSA-AES128-GCM-SHA256",
    0xC030: b"ECDHE-RSA-AES256-GCM-SHA384",
}


class Process:
    """An openssl child whose output is gathered as it comes."""

    def __init__(self, *arguments: str) -> None:
        self._child = subprocess.Popen(
            ["openssl", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        self.output = b""

    def fileno(self) -> int:
        assert self._child.stdout is not None
        return self._child.stdout.fileno()

    def read(self) -> None:
        self.output += os.read(self.fileno(), 65536)

    def type(self, text: bytes) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(text)

    def end_input(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()

    def wait_for(self, text: bytes) -> None:
        deadline = time.monotonic() + _LIMIT
        while text not in self.output:
            assert time.monotonic() < deadline, self.output.decode(errors="replace")
            if select.select([self], [], [], 0.1)[0]:
                self.read()

    def stop(self) -> None:
        self._child.kill()
        self._child.wait()
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.stdout.close()

    @property
    def keying_material(self) -> bytes:
        return bytes.fromhex(self.output.partition(b"Keying material: ")[2].split(b"\n")[0].decode())


class Endpoint:
    """Our side: a connection on a UDP socket, pumped until something is true."""

    def __init__(self, connection: DtlsConnection, remote: tuple[str, int] | None = None) -> None:
        self.connection = connection
        self.events: list[Event] = []
        self.largest_datagram = 0
        self.datagrams_received = 0
        self.lost_in = self.lost_out = 0
        """How many more datagrams get lost."""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self._remote = remote

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def pump(self, process: Process, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _LIMIT
        while True:
            self._drain()
            if until():
                return
            now = time.monotonic()
            assert now < deadline, (self.events, process.output.decode(errors="replace"))
            wanted = self.connection.poll_timeout()
            wait = 0.1 if wanted is None else min(max(wanted - now, 0.0), 0.1)
            ends: list[socket.socket | Process] = [self.socket, process]
            for ready in select.select(ends, [], [], wait)[0]:
                if ready is process:
                    process.read()
                else:
                    self._receive()
            self.connection.handle_timeout(now=time.monotonic())

    def _receive(self) -> None:
        try:
            data, self._remote = self.socket.recvfrom(65536)
        except ConnectionRefusedError:
            return
        if self.lost_in:
            self.lost_in -= 1
            return
        self.datagrams_received += 1
        self.largest_datagram = max(self.largest_datagram, len(data))
        self.connection.handle_datagram(data, now=time.monotonic())

    def _drain(self) -> None:
        while (datagram := self.connection.poll_transmit()) is not None:
            assert self._remote is not None
            if self.lost_out:
                self.lost_out -= 1
            else:
                self.socket.sendto(datagram, self._remote)
        while (event := self.connection.poll_event()) is not None:
            self.events.append(event)

    def has(self, kind: type[Event]) -> bool:
        return any(isinstance(event, kind) for event in self.events)

    @property
    def received(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, ApplicationData))


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return Certificate.generate(not_before=NOT_BEFORE)


@pytest.fixture(scope="module")
def rsa_identity() -> Identity:
    return make_identity("rsa2048")


@pytest.fixture(scope="module", params=["p256", "p384", "rsa2048"])
def identity(request: pytest.FixtureRequest) -> Identity:
    return make_identity(request.param)


def make_endpoint(
    role: Role,
    certificate: Certificate,
    fingerprint: Fingerprint,
    *,
    remote: tuple[str, int] | None = None,
    mtu: int = 1200,
    versions: Sequence[ProtocolVersion] = (ProtocolVersion.DTLS_1_3, ProtocolVersion.DTLS_1_2),
    profiles: Sequence[SrtpProfile] = tuple(SrtpProfile)[::-1],
) -> Endpoint:
    connection = DtlsConnection(
        role=role,
        certificate=certificate,
        remote_fingerprints=[fingerprint],
        random=os.urandom,
        now=time.monotonic(),
        mtu=mtu,
        versions=versions,
        srtp_profiles=profiles,
    )
    return Endpoint(connection, remote)


@contextmanager
def s_client(
    port: int, identity: Identity, folder: Path, *extra: str, version: str = "-dtls1_2"
) -> Iterator[Process]:
    pem = folder / "peer.pem"
    pem.write_bytes(identity.pem)
    address = f"127.0.0.1:{port}"
    arguments = [version, "-connect", address, "-cert", str(pem), *_SRTP, *_EXPORT, *extra]
    process = Process("s_client", *arguments)
    try:
        yield process
    finally:
        process.stop()


@contextmanager
def s_server(identity: Identity, folder: Path, *extra: str) -> Iterator[tuple[Process, tuple[str, int]]]:
    pem = folder / "peer.pem"
    pem.write_bytes(identity.pem)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        host, port = probe.getsockname()
    arguments = ["-dtls1_2", "-accept", f"{host}:{port}", "-cert", str(pem), "-Verify", "1", *_SRTP, *_EXPORT]
    process = Process("s_server", *arguments, *extra)
    try:
        process.wait_for(b"ACCEPT\n")
        yield process, (host, port)
    finally:
        process.stop()


def check_conversation(endpoint: Endpoint, process: Process) -> None:
    """Complete the handshake, then data both ways and the same keying material at both ends."""
    endpoint.pump(
        process, lambda: endpoint.has(HandshakeCompleted) and b"Keying material: " in process.output
    )
    check_agreement(endpoint, process)
    exported = endpoint.connection.export_keying_material(_LABEL, _LENGTH)
    assert process.keying_material == exported
    process.type(b"spoken by openssl\n")
    endpoint.pump(process, lambda: endpoint.received == b"spoken by openssl\n")
    endpoint.connection.send(b"spoken by voicegate\n", now=time.monotonic())
    endpoint.pump(process, lambda: b"spoken by voicegate\n" in process.output)


def check_agreement(endpoint: Endpoint, process: Process) -> None:
    """See that both ends name the same version, suite and SRTP profile, and that ours told them in order."""
    connection = endpoint.connection
    facts = [event for event in endpoint.events if not isinstance(event, ApplicationData)]
    assert connection.version == ProtocolVersion.DTLS_1_2
    assert connection.cipher_suite is not None
    assert connection.srtp_profile is not None
    agreed = (connection.version, connection.cipher_suite, connection.srtp_profile)
    started, keys, completed = facts
    assert isinstance(started, HandshakeStarted)
    assert isinstance(keys, KeysReady)
    assert isinstance(completed, HandshakeCompleted)
    assert (keys.version, keys.cipher_suite, keys.srtp_profile) == agreed
    assert f"profile={_PROFILES[connection.srtp_profile]}".encode() in process.output
    assert _SUITES[connection.cipher_suite] in process.output


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"])
@pytest.mark.parametrize("group", ["X25519", "P-256"])
def test_openssl_as_client_completes_talks_and_closes(
    suite: str, group: str, certificate: Certificate, identity: Identity, tmp_path: Path
) -> None:
    endpoint = make_endpoint(Role.SERVER, certificate, identity.fingerprint)
    groups = f"{group}:P-384" if group == "P-256" else f"{group}:P-256:P-384"
    with (
        endpoint.socket,
        s_client(endpoint.port, identity, tmp_path, "-cipher", suite, "-groups", groups) as process,
    ):
        check_conversation(endpoint, process)
        process.end_input()
        endpoint.pump(process, lambda: endpoint.has(Closed))
    assert endpoint.events[-1] == Closed(alert=0, is_remote=True)
    assert endpoint.connection.peer_certificate == identity.der


@pytest.mark.parametrize("scheme", ["RSA-PSS+SHA256", "RSA-PSS+SHA512", "RSA+SHA256", "RSA+SHA384"])
def test_every_rsa_signature_of_a_client_is_verified(
    scheme: str, certificate: Certificate, rsa_identity: Identity, tmp_path: Path
) -> None:
    endpoint = make_endpoint(Role.SERVER, certificate, rsa_identity.fingerprint)
    schemes = f"ECDSA+SHA256:{scheme}"
    with endpoint.socket, s_client(endpoint.port, rsa_identity, tmp_path, "-sigalgs", schemes) as process:
        check_conversation(endpoint, process)


def test_small_fragments_of_a_client_and_of_ours_come_together(
    certificate: Certificate, tmp_path: Path
) -> None:
    identity = make_identity("rsa4096")
    endpoint = make_endpoint(Role.SERVER, certificate, identity.fingerprint, mtu=300)
    with endpoint.socket, s_client(endpoint.port, identity, tmp_path, "-mtu", "328") as process:
        check_conversation(endpoint, process)
    assert endpoint.largest_datagram <= 300


def test_a_client_with_another_certificate_is_refused(certificate: Certificate, tmp_path: Path) -> None:
    endpoint = make_endpoint(Role.SERVER, certificate, make_identity("p256").fingerprint)
    with endpoint.socket, s_client(endpoint.port, make_identity("p256"), tmp_path) as process:
        endpoint.pump(process, lambda: endpoint.has(HandshakeFailed) and b"bad certificate" in process.output)


def test_openssl_notices_that_we_close(certificate: Certificate, tmp_path: Path) -> None:
    identity = make_identity("p256")
    endpoint = make_endpoint(Role.SERVER, certificate, identity.fingerprint)
    with endpoint.socket, s_client(endpoint.port, identity, tmp_path) as process:
        check_conversation(endpoint, process)
        endpoint.connection.close(now=time.monotonic())
        endpoint.pump(process, lambda: b"closed" in process.output)
    assert endpoint.events[-1] == Closed(alert=0, is_remote=False)


@pytest.mark.parametrize("listen", [[], ["-listen"]], ids=["plain", "listen"])
@pytest.mark.parametrize("hash_name", ["AES128-GCM-SHA256", "AES256-GCM-SHA384"])
@pytest.mark.parametrize("kind", ["p256", "rsa2048"])
def test_openssl_as_server_completes_and_talks(
    kind: str, hash_name: str, listen: list[str], certificate: Certificate, tmp_path: Path
) -> None:
    identity = make_identity(kind)
    suite = f"ECDHE-{'RSA' if kind.startswith('rsa') else 'ECDSA'}-{hash_name}"
    with s_server(identity, tmp_path, "-cipher", suite, *listen) as (process, remote):
        endpoint = make_endpoint(Role.CLIENT, certificate, identity.fingerprint, remote=remote)
        with endpoint.socket:
            endpoint.connection.start(now=time.monotonic())
            check_conversation(endpoint, process)


# openssl wants the curve of our certificate among the groups.
@pytest.mark.parametrize("groups", ["X25519:P-256", "P-256"])
@pytest.mark.parametrize("scheme", ["RSA-PSS+SHA384", "RSA+SHA512"])
def test_groups_and_signatures_of_a_server_are_ours_to_check(
    groups: str, scheme: str, certificate: Certificate, rsa_identity: Identity, tmp_path: Path
) -> None:
    extra = ["-groups", groups, "-sigalgs", f"{scheme}:ECDSA+SHA256"]
    with s_server(rsa_identity, tmp_path, *extra) as (process, remote):
        endpoint = make_endpoint(Role.CLIENT, certificate, rsa_identity.fingerprint, remote=remote)
        with endpoint.socket:
            endpoint.connection.start(now=time.monotonic())
            check_conversation(endpoint, process)


def test_small_fragments_of_a_server_come_together(
    certificate: Certificate, rsa_identity: Identity, tmp_path: Path
) -> None:
    with s_server(rsa_identity, tmp_path, "-mtu", "328") as (process, remote):
        endpoint = make_endpoint(Role.CLIENT, certificate, rsa_identity.fingerprint, remote=remote, mtu=200)
        with endpoint.socket:
            endpoint.connection.start(now=time.monotonic())
            check_conversation(endpoint, process)
    assert endpoint.largest_datagram <= 300


@pytest.mark.parametrize("profile", SrtpProfile)
def test_a_client_gets_the_srtp_profile_that_we_prefer(
    profile: SrtpProfile, certificate: Certificate, tmp_path: Path
) -> None:
    identity = make_identity("p256")
    endpoint = make_endpoint(
        Role.SERVER,
        certificate,
        identity.fingerprint,
        profiles=[profile, *(other for other in SrtpProfile if other is not profile)],
    )
    offered = ["-use_srtp", ":".join(_PROFILES.values())]
    with endpoint.socket, s_client(endpoint.port, identity, tmp_path, *offered) as process:
        check_conversation(endpoint, process)
    assert endpoint.connection.srtp_profile is profile


@pytest.mark.parametrize("profile", SrtpProfile)
def test_a_server_chooses_the_srtp_profile(
    profile: SrtpProfile, certificate: Certificate, tmp_path: Path
) -> None:
    identity = make_identity("p256")
    chosen = ["-use_srtp", _PROFILES[profile]]
    with s_server(identity, tmp_path, *chosen) as (process, remote):
        endpoint = make_endpoint(Role.CLIENT, certificate, identity.fingerprint, remote=remote)
        with endpoint.socket:
            endpoint.connection.start(now=time.monotonic())
            check_conversation(endpoint, process)
    assert endpoint.connection.srtp_profile is profile


def test_held_back_to_dtls_1_2_we_serve_openssl(certificate: Certificate, tmp_path: Path) -> None:
    identity = make_identity("p256")
    endpoint = make_endpoint(Role.SERVER, certificate, identity.fingerprint, versions=_ONLY_1_2)
    with endpoint.socket, s_client(endpoint.port, identity, tmp_path) as process:
        check_conversation(endpoint, process)


def test_held_back_to_dtls_1_2_we_call_openssl(certificate: Certificate, tmp_path: Path) -> None:
    identity = make_identity("p256")
    with s_server(identity, tmp_path) as (process, remote):
        endpoint = make_endpoint(
            Role.CLIENT, certificate, identity.fingerprint, remote=remote, versions=_ONLY_1_2
        )
        with endpoint.socket:
            endpoint.connection.start(now=time.monotonic())
            check_conversation(endpoint, process)


@pytest.mark.parametrize(("lost_in", "lost_out"), [(1, 0), (0, 1), (0, 3)])
def test_flights_that_a_client_misses_are_sent_again(
    lost_in: int, lost_out: int, certificate: Certificate, tmp_path: Path
) -> None:
    identity = make_identity("p256")
    endpoint = make_endpoint(Role.SERVER, certificate, identity.fingerprint, mtu=600)
    endpoint.lost_in, endpoint.lost_out = lost_in, lost_out
    with endpoint.socket, s_client(endpoint.port, identity, tmp_path) as process:
        check_conversation(endpoint, process)
    assert endpoint.lost_in == endpoint.lost_out == 0


@pytest.mark.parametrize(("lost_in", "lost_out"), [(1, 0), (0, 1), (0, 2)])
def test_flights_that_a_server_misses_are_sent_again(
    lost_in: int, lost_out: int, certificate: Certificate, tmp_path: Path
) -> None:
    identity = make_identity("p256")
    with s_server(identity, tmp_path) as (process, remote):
        endpoint = make_endpoint(Role.CLIENT, certificate, identity.fingerprint, remote=remote)
        endpoint.lost_in, endpoint.lost_out = lost_in, lost_out
        with endpoint.socket:
            endpoint.connection.start(now=time.monotonic())
            check_conversation(endpoint, process)
    assert endpoint.lost_in == endpoint.lost_out == 0


def test_a_client_of_dtls_1_0_is_refused(certificate: Certificate, tmp_path: Path) -> None:
    identity = make_identity("p256")
    endpoint = make_endpoint(Role.SERVER, certificate, identity.fingerprint)
    old = ["-cipher", "DEFAULT@SECLEVEL=0"]
    with endpoint.socket, s_client(endpoint.port, identity, tmp_path, *old, version="-dtls1") as process:
        endpoint.pump(
            process, lambda: endpoint.has(HandshakeFailed) and b"alert protocol version" in process.output
        )
