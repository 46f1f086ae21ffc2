"""Certificates of kinds that we do not make ourselves, for peers that are real DTLS stacks."""

from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from voicegate.dtls import Fingerprint

__all__ = ["NOT_BEFORE", "Identity", "make_identity"]

NOT_BEFORE: Final = datetime(2026, 11, 1, tzinfo=UTC)


class Identity:
    """A self-signed certificate and its key."""

    def __init__(
        self, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, *, serial_number: int = 1
    ) -> None:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "peer")])
        self.key = key
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(serial_number)
            # Long expired: nobody is to look.
            .not_valid_before(NOT_BEFORE - timedelta(days=365))
            .not_valid_after(NOT_BEFORE - timedelta(days=300))
            .sign(key, hashes.SHA256())
        )

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint.compute(self.der)

    @property
    def pem(self) -> bytes:
        """Key and certificate in one file."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ) + self.certificate.public_bytes(serialization.Encoding.PEM)


def make_identity(kind: str) -> Identity:
    """Make a ``p256``, ``p384``, ``p521`` or ``rsa<bits>`` identity."""
    if kind.startswith("rsa"):
        return Identity(rsa.generate_private_key(65537, int(kind[3:])))
    curve = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[kind]
    return Identity(ec.generate_private_key(curve))
