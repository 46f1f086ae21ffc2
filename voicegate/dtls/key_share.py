"""Key agreement of DTLS 1.3: the client offers a share, the server answers it (RFC 8446 §4.2.8).

X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem) is ML-KEM-768 and X25519 side by side, secret while either holds:
what is recorded today cannot be read by a quantum computer later. The client's share is an encapsulation key
and an X25519 key, the server's a ciphertext and an X25519 key; the secret is both secrets, in that order.
"""

from enum import IntEnum
from typing import Final, Self

from cryptography.exceptions import UnsupportedAlgorithm

from voicegate.dtls.alert import AlertDescription
from voicegate.dtls.failure import DtlsError
from voicegate.dtls.key_exchange import KeyShare, NamedGroup

try:
    from cryptography.hazmat.primitives.asymmetric import mlkem

    mlkem.MLKEM768PrivateKey.generate()
    _HAS_ML_KEM = True
except (ImportError, UnsupportedAlgorithm):  # pragma: no cover - depends on how cryptography was built
    _HAS_ML_KEM = False

__all__ = ["AVAILABLE_GROUPS", "Group", "OfferedShare", "answer_share", "is_available"]

_ENCAPSULATION_KEY_LENGTH: Final = 1184
_CIPHERTEXT_LENGTH: Final = 1088
_X25519_LENGTH: Final = 32


class Group(IntEnum):
    """Groups in our order of preference (IANA TLS Supported Groups)."""

    X25519MLKEM768 = 0x11EC
    X25519 = NamedGroup.X25519
    SECP256R1 = NamedGroup.SECP256R1


def is_available(group: Group) -> bool:
    """Tell whether this build can do a group."""
    return group is not Group.X25519MLKEM768 or _HAS_ML_KEM


AVAILABLE_GROUPS: Final = tuple(group for group in Group if is_available(group))
"""All that this build can do, in our order of preference."""


class OfferedShare:
    """A client's fresh key pair, for one handshake."""

    def __init__(
        self, group: Group, share: KeyShare, decapsulation_key: "mlkem.MLKEM768PrivateKey | None"
    ) -> None:
        self.group = group
        self._share = share
        self._decapsulation_key = decapsulation_key

    @classmethod
    def generate(cls, group: Group) -> Self:
        """Make a key pair."""
        if group is Group.X25519MLKEM768:
            return cls(group, KeyShare.generate(NamedGroup.X25519), mlkem.MLKEM768PrivateKey.generate())
        return cls(group, KeyShare.generate(NamedGroup(group)), None)

    @property
    def public(self) -> bytes:
        """The share as it goes on the wire."""
        if self._decapsulation_key is None:
            return self._share.public
        return self._decapsulation_key.public_key().public_bytes_raw() + self._share.public

    def finish(self, answer: bytes) -> bytes:
        """Agree on the secret, given the server's share.

        Errors: DtlsError for a share that is malformed.
        """
        if self._decapsulation_key is None:
            return self._share.exchange(answer)
        ciphertext, public = _split(answer, _CIPHERTEXT_LENGTH)
        # With other than the genuine key this gives a secret that nobody else has: Finished will not verify.
        return self._decapsulation_key.decapsulate(ciphertext) + self._share.exchange(public)


def answer_share(group: Group, offered: bytes) -> tuple[bytes, bytes]:
    """Answer a client's share: return the server's share and the secret.

    Errors: DtlsError for a share that is malformed.
    """
    share = KeyShare.generate(NamedGroup.X25519 if group is Group.X25519MLKEM768 else NamedGroup(group))
    if group is not Group.X25519MLKEM768:
        return share.public, share.exchange(offered)
    encapsulation_key, public = _split(offered, _ENCAPSULATION_KEY_LENGTH)
    try:
        key = mlkem.MLKEM768PublicKey.from_public_bytes(encapsulation_key)
    except ValueError as error:
        raise _malformed() from error
    secret, ciphertext = key.encapsulate()
    return ciphertext + share.public, secret + share.exchange(public)


def _split(share: bytes, length: int) -> tuple[bytes, bytes]:
    if len(share) != length + _X25519_LENGTH:
        raise _malformed()
    return share[:length], share[length:]


def _malformed() -> DtlsError:
    return DtlsError("not a share of X25519MLKEM768", alert=AlertDescription.DECODE_ERROR)
