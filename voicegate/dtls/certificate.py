"""Self-signed certificates and the fingerprints that vouch for them (RFC 8122, RFC 8827 §6.5)."""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, Self

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from voicegate.dtls.alert import AlertDescription
from voicegate.dtls.failure import DtlsError, FailureCause
from voicegate.errors import WireError

__all__ = [
    "Certificate",
    "Fingerprint",
    "PublicKey",
    "accept_certificate",
    "check_fingerprint",
    "load_public_key",
]

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_HASHES: Final = {"sha-256": "sha256", "sha-384": "sha384", "sha-512": "sha512"}
"""Names in the SDP (RFC 8122 §5) and in hashlib. SHA-1 and MD5 vouch for nothing any more."""

_LIFETIME: Final = timedelta(days=30)
_CLOCK_SKEW: Final = timedelta(days=1)
_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 8192  # above, one verification costs a busy server noticeable time


@attrs.frozen
class Fingerprint:
    """The hash of a certificate, as SDP's ``a=fingerprint`` gives it."""

    algorithm: str
    """Lower-case SDP name, such as ``sha-256``."""
    value: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``sha-256 AB:CD:...``; the case of letters does not matter.

        Errors: WireError, also for a hash function that is not accepted.
        """
        algorithm, _, digits = text.strip().partition(" ")
        algorithm = algorithm.lower()
        name = _HASHES.get(algorithm)
        if name is None:
            raise WireError(f"fingerprint of unaccepted kind {algorithm[:20]!r}")
        pairs = digits.strip().split(":")
        try:
            value = bytes.fromhex("".join(pairs))
        except ValueError as error:
            raise WireError("a fingerprint that is not hexadecimal") from error
        if len(value) != hashlib.new(name).digest_size or any(len(pair) != 2 for pair in pairs):
            raise WireError(f"a {algorithm} fingerprint of the wrong form")
        return cls(algorithm, value)

    @classmethod
    def compute(cls, certificate_der: bytes, algorithm: str = "sha-256") -> Self:
        """Hash a certificate."""
        return cls(algorithm, hashlib.new(_HASHES[algorithm], certificate_der).digest())

    def matches(self, certificate_der: bytes) -> bool:
        """Tell, in constant time, whether this is the hash of a certificate."""
        name = _HASHES.get(self.algorithm)
        return name is not None and hmac.compare_digest(
            self.value, hashlib.new(name, certificate_der).digest()
        )

    def __str__(self) -> str:
        return f"{self.algorithm} {self.value.hex(':').upper()}"


@attrs.frozen
class Certificate:
    """Our own certificate and its key; may serve any number of connections."""

    der: bytes
    private_key: ec.EllipticCurvePrivateKey = attrs.field(repr=False)

    @classmethod
    def generate(cls, *, not_before: datetime) -> Self:
        """Make a self-signed ECDSA P-256 certificate.

        ``not_before`` is the wall clock now, with its time zone. It is valid for thirty days, and
        from a day earlier since clocks differ, though WebRTC peers do not look (RFC 8827 §6.5).
        """
        private_key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "voicegate")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before - _CLOCK_SKEW)
            .not_valid_after(not_before + _LIFETIME)
            .sign(private_key, hashes.SHA256())
        )
        return cls(certificate.public_bytes(serialization.Encoding.DER), private_key)

    @property
    def fingerprint(self) -> Fingerprint:
        """The SHA-256 fingerprint for our SDP."""
        return Fingerprint.compute(self.der)


def accept_certificate(chain: Sequence[bytes], fingerprints: Iterable[Fingerprint]) -> PublicKey:
    """Take the peer's key out of its chain, if it is the certificate that its SDP announced.

    Errors: DtlsError.
    """
    if not chain:
        raise DtlsError(
            "the peer sent no certificate",
            alert=AlertDescription.HANDSHAKE_FAILURE,
            cause=FailureCause.BAD_CERTIFICATE,
        )
    # First the fingerprint: only what the SDP vouches for is worth parsing.
    check_fingerprint(chain[0], fingerprints)
    return load_public_key(chain[0])


def check_fingerprint(certificate_der: bytes, fingerprints: Iterable[Fingerprint]) -> None:
    """Refuse a certificate of which no fingerprint was announced.

    Errors: DtlsError.
    """
    if not any(fingerprint.matches(certificate_der) for fingerprint in fingerprints):
        raise DtlsError(
            f"the peer's certificate is {Fingerprint.compute(certificate_der)}, not what its SDP announced",
            alert=AlertDescription.BAD_CERTIFICATE,
            cause=FailureCause.FINGERPRINT_MISMATCH,
        )


def load_public_key(certificate_der: bytes) -> PublicKey:
    """Take the key out of a peer's certificate, if we can verify its signatures.

    Neither dates nor the signature on the certificate are looked at: the fingerprint is what vouches for it
    (RFC 8827 §6.5).

    Errors: DtlsError.
    """
    try:
        key = x509.load_der_x509_certificate(certificate_der).public_key()
    # Where warnings are errors, cryptography's remark on a negative serial number is one.
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion, Warning) as error:
        raise DtlsError(
            "the peer's certificate cannot be read",
            alert=AlertDescription.BAD_CERTIFICATE,
            cause=FailureCause.BAD_CERTIFICATE,
        ) from error
    match key:
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            return key
        case rsa.RSAPublicKey() if _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
            return key
    raise DtlsError(
        "the peer's certificate holds a key of a kind or size that is not accepted",
        alert=AlertDescription.UNSUPPORTED_CERTIFICATE,
        cause=FailureCause.BAD_CERTIFICATE,
    )
