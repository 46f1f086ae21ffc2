"""What a DTLS handshake costs: processor time of both ends, and of the server alone, beside pyOpenSSL.

pyOpenSSL (which has no DTLS 1.3) is used as aiortc uses it: a context per connection, memory BIOs, the
peer's fingerprint checked, SRTP's keys exported. All ends share this process; contenders take turns, so
that whatever else the machine does is shared as well.
"""

import datetime
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from OpenSSL import SSL, crypto
from rich.console import Console
from rich.table import Table

from voicegate.dtls import Certificate, DtlsConnection, Fingerprint, Group, ProtocolVersion, Role

__all__ = ["main"]

LABEL: Final = "EXTRACTOR-dtls_srtp"
KEYING_LENGTH: Final = 88
REFERENCE: Final = "pyOpenSSL, DTLS 1.2"
ROUND: Final = 10
"""Handshakes that a contender does before the next has its turn."""

CLASSIC: Final = (Group.X25519, Group.SECP256R1)


class Cost(NamedTuple):
    """Seconds of processor time of one handshake."""

    server: float
    both: float


class Watch:
    """Adds up processor time between `start` and `stop`."""

    def __init__(self) -> None:
        self.total = 0.0
        self._started = 0.0

    def start(self) -> None:
        self._started = time.process_time()

    def stop(self) -> None:
        self.total += time.process_time() - self._started


def shake_hands(
    certificates: dict[Role, Certificate], versions: tuple[ProtocolVersion, ...], groups: tuple[Group, ...]
) -> Cost:
    """Do one handshake of ours, without loss."""
    watches = {role: Watch() for role in Role}
    ends: dict[Role, DtlsConnection] = {}
    for role, other in ((Role.CLIENT, Role.SERVER), (Role.SERVER, Role.CLIENT)):
        watches[role].start()
        ends[role] = DtlsConnection(
            role=role,
            certificate=certificates[role],
            remote_fingerprints=[certificates[other].fingerprint],
            random=os.urandom,
            now=0.0,
            versions=versions,
            groups=groups,
        )
        watches[role].stop()
    watches[Role.CLIENT].start()
    ends[Role.CLIENT].start(now=0.0)
    arriving = list(iter(ends[Role.CLIENT].poll_transmit, None))
    watches[Role.CLIENT].stop()
    role = Role.SERVER
    while arriving:
        end = ends[role]
        watches[role].start()
        for datagram in arriving:
            end.handle_datagram(datagram, now=0.0)
        arriving = list(iter(end.poll_transmit, None))
        while end.poll_event() is not None:
            pass
        watches[role].stop()
        role = Role.CLIENT if role is Role.SERVER else Role.SERVER
    exported = set()
    for role, end in ends.items():
        watches[role].start()
        exported.add(end.export_keying_material(LABEL, KEYING_LENGTH))
        watches[role].stop()
    assert len(exported) == 1
    server = watches[Role.SERVER].total
    return Cost(server, server + watches[Role.CLIENT].total)


def shake_hands_with_openssl(certificates: dict[Role, Certificate]) -> Cost:
    """Do one handshake of pyOpenSSL's, without loss."""
    watches = {role: Watch() for role in Role}
    ends: dict[Role, SSL.Connection] = {}
    for role, certificate in certificates.items():
        watches[role].start()
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_options(SSL.OP_NO_TICKET)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        context.use_certificate(crypto.load_certificate(crypto.FILETYPE_ASN1, certificate.der))
        context.use_privatekey(crypto.PKey.from_cryptography_key(certificate.private_key))
        context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
        context.set_tlsext_use_srtp(b"SRTP_AEAD_AES_256_GCM:SRTP_AES128_CM_SHA1_80")
        end = ends[role] = SSL.Connection(context)
        if role is Role.SERVER:
            end.set_accept_state()
        else:
            end.set_connect_state()
        watches[role].stop()
    role, arriving, done = Role.CLIENT, list[bytes](), set[Role]()
    while len(done) < len(ends):
        end = ends[role]
        watches[role].start()
        for datagram in arriving:
            end.bio_write(datagram)
        try:
            end.do_handshake()
        except SSL.WantReadError:
            pass
        else:
            done.add(role)
        arriving = []
        while True:
            try:
                arriving.append(end.bio_read(1500))
            except SSL.WantReadError:
                break
        watches[role].stop()
        role = Role.CLIENT if role is Role.SERVER else Role.SERVER
    exported = set()
    for role, end in ends.items():
        watches[role].start()
        peer = end.get_peer_certificate()
        assert peer is not None
        other = certificates[Role.CLIENT if role is Role.SERVER else Role.SERVER]
        der = crypto.dump_certificate(crypto.FILETYPE_ASN1, peer)
        assert Fingerprint.compute(der) == other.fingerprint
        exported.add(end.export_keying_material(LABEL.encode(), KEYING_LENGTH))
        watches[role].stop()
    assert len(exported) == 1
    server = watches[Role.SERVER].total
    return Cost(server, server + watches[Role.CLIENT].total)


def measure(count: int) -> dict[str, Cost]:
    """Return the median cost of each contender's handshakes."""
    made_at = datetime.datetime.now(datetime.UTC)
    certificates = {role: Certificate.generate(not_before=made_at) for role in Role}
    old, new = (ProtocolVersion.DTLS_1_2,), (ProtocolVersion.DTLS_1_3, ProtocolVersion.DTLS_1_2)
    contenders: dict[str, Callable[[], Cost]] = {
        REFERENCE: lambda: shake_hands_with_openssl(certificates),
        "DTLS 1.2": lambda: shake_hands(certificates, old, CLASSIC),
        "DTLS 1.3, X25519": lambda: shake_hands(certificates, new, CLASSIC),
        "DTLS 1.3, X25519MLKEM768": lambda: shake_hands(certificates, new, tuple(Group)),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in range(-(-count // ROUND) + 1):
        for name, contender in contenders.items():
            costs[name] += [contender() for _ in range(ROUND)]
    # The first round warms up.
    return {
        name: Cost(*(statistics.median(column) for column in zip(*of_one[ROUND:], strict=True)))
        for name, of_one in costs.items()
    }


def main(count: int = 300) -> dict[str, Any]:
    """Measure, print a table, and return the figures."""
    costs = measure(count)
    reference = costs[REFERENCE]
    table = Table(title=f"DTLS handshakes per second and core, medians of {count}")
    for heading in ("", "server alone", "of pyOpenSSL's", "both ends", "of pyOpenSSL's"):
        table.add_column(heading, justify="right" if heading else "left")
    figures: dict[str, Any] = {}
    for name, cost in costs.items():
        figures[name] = {
            "server_per_second": 1 / cost.server,
            "server_ratio": reference.server / cost.server,
            "both_per_second": 1 / cost.both,
            "both_ratio": reference.both / cost.both,
        }
        values = figures[name]
        table.add_row(
            name,
            f"{values['server_per_second']:.0f}",
            f"{values['server_ratio']:.2f}",
            f"{values['both_per_second']:.0f}",
            f"{values['both_ratio']:.2f}",
        )
    Console().print(table)
    return figures


if __name__ == "__main__":
    main()
