"""Ephemeral Diffie-Hellman (RFC 8422 §5.10, §5.11)."""

from enum import IntEnum
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from voicegate.dtls.failure import DtlsError

__all__ = ["KeyShare", "NamedGroup"]

_P256_POINT_LENGTH: Final = 65
_UNCOMPRESSED: Final = 0x04


class NamedGroup(IntEnum):
    """Groups in our order of preference (IANA TLS Supported Groups)."""

    X25519 = 29
    SECP256R1 = 23


class KeyShare:
    """One side's fresh key pair, for one handshake."""

    def __init__(
        self, group: NamedGroup, private_key: x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey
    ) -> None:
        self.group = group
        self._private_key = private_key

    @classmethod
    def generate(cls, group: NamedGroup) -> Self:
        """Make a key pair."""
        if group is NamedGroup.X25519:
            return cls(group, x25519.X25519PrivateKey.generate())
        return cls(group, ec.generate_private_key(ec.SECP256R1()))

    @property
    def public(self) -> bytes:
        """The public key as it goes on the wire."""
        if isinstance(self._private_key, x25519.X25519PrivateKey):
            return self._private_key.public_key().public_bytes_raw()
        return self._private_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def exchange(self, peer_public: bytes) -> bytes:
        """Agree on the secret.

        Errors: DtlsError for a key that is malformed, not on the curve, or of small order (RFC 7748 §6.1), so
        that both sides always have their part in the secret.
        """
        try:
            if isinstance(self._private_key, x25519.X25519PrivateKey):
                return self._private_key.exchange(x25519.X25519PublicKey.from_public_bytes(peer_public))
            if len(peer_public) != _P256_POINT_LENGTH or peer_public[0] != _UNCOMPRESSED:
                raise DtlsError("a P-256 key that is not an uncompressed point")
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), peer_public)
            return self._private_key.exchange(ec.ECDH(), point)
        except ValueError as error:
            raise DtlsError(f"not a public key of {self.group.name}") from error
