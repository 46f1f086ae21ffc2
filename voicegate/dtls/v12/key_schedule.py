"""The pseudorandom function and all that is made with it (RFC 5246 §5, §6.3, §7.4.9, §8.1)."""

import hmac
from typing import Final, Self

import attrs

from voicegate.dtls.v12.cipher import CipherSuite

__all__ = ["MasterSecret", "KeyBlock", "prf"]

_MASTER_SECRET_LENGTH: Final = 48
_VERIFY_DATA_LENGTH: Final = 12
_FIXED_IV_LENGTH: Final = 4  # RFC 5288 §3


@attrs.frozen(repr=False)
class KeyBlock:
    """Traffic keys; there are no MAC keys with GCM."""

    client_key: bytes
    server_key: bytes
    client_iv: bytes
    server_iv: bytes


@attrs.frozen(kw_only=True)
class MasterSecret:
    """The secret of one handshake and what is derived from it."""

    hash_name: str
    secret: bytes = attrs.field(repr=False)
    client_random: bytes
    server_random: bytes

    @classmethod
    def derive(
        cls,
        suite: CipherSuite,
        premaster_secret: bytes,
        *,
        session_hash: bytes,
        client_random: bytes,
        server_random: bytes,
    ) -> Self:
        """Make the extended master secret (RFC 7627 §4); the session hash ends with ClientKeyExchange."""
        secret = prf(
            suite.hash_name, premaster_secret, b"extended master secret", session_hash, _MASTER_SECRET_LENGTH
        )
        return cls(
            hash_name=suite.hash_name, secret=secret, client_random=client_random, server_random=server_random
        )

    def key_block(self, suite: CipherSuite) -> KeyBlock:
        """Make the traffic keys."""
        lengths = (suite.key_length, suite.key_length, _FIXED_IV_LENGTH, _FIXED_IV_LENGTH)
        seed = self.server_random + self.client_random
        block = prf(self.hash_name, self.secret, b"key expansion", seed, sum(lengths))
        parts = []
        for length in lengths:
            parts.append(block[:length])
            block = block[length:]
        return KeyBlock(*parts)

    def verify_data(self, label: bytes, transcript_hash: bytes) -> bytes:
        """Make the content of a Finished message; ``label`` is ``client finished`` or ``server finished``."""
        return prf(self.hash_name, self.secret, label, transcript_hash, _VERIFY_DATA_LENGTH)

    def export(self, label: bytes, length: int, context: bytes | None) -> bytes:
        """Export keying material (RFC 5705 §4); an empty context is not the same as none."""
        seed = self.client_random + self.server_random
        if context is not None:
            seed += len(context).to_bytes(2, "big") + context
        return prf(self.hash_name, self.secret, label, seed, length)


def prf(hash_name: str, secret: bytes, label: bytes, seed: bytes, length: int) -> bytes:
    """Expand a secret to ``length`` bytes (RFC 5246 §5)."""
    seed = label + seed
    block = seed
    output = b""
    while len(output) < length:
        block = hmac.digest(secret, block, hash_name)
        output += hmac.digest(secret, block + seed, hash_name)
    return output[:length]
