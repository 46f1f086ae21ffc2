"""What machines of a cluster prove to each other who they are with: X.509, made of the cluster secret.

Attack: somebody on the network between the machines asks one for calls, reads what they say to each other, or
answers in another's stead. Wanted: only who has a secret of the cluster takes part, no file has to be handed
out besides, a secret can be replaced while all machines run, and a clock that is wrong breaks nothing.
Construction: HKDF (RFC 5869) makes two Ed25519 keys (RFC 8410) of a secret, an authority's and a member's.
The authority's certificate is what is trusted; the member's, signed by the authority, is what is shown, with
mutual TLS. Ed25519 signs without randomness, so all machines make the same bytes, and need not talk for it.

Machines that have one secret in common trust each other whichever of them they show: whoever has several has
each one's authority signed by the next one's. With ``[new, old]`` it shows ``member <- new <- old``, in which
there is something to trust both where only ``new`` and where only ``old`` is known.
"""

import datetime
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Final, Self

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["ClusterIdentity"]

_AUTHORITY: Final = b"voicegate cluster authority 1"
_MEMBER: Final = b"voicegate cluster member 1"
_SEED_LENGTH: Final = 32
_SERIAL_LENGTH: Final = 16
"""Bytes; a serial number has up to twenty (RFC 5280 §4.1.2.2)."""

_BEGIN: Final = datetime.datetime(1970, 1, 1)
"""No clock is earlier."""
_END: Final = datetime.datetime(9999, 12, 31, 23, 59, 59)
"""What stands for no end (RFC 5280 §4.1.2.5): a secret ends by being taken out of the configuration."""


@attrs.frozen(kw_only=True)
class ClusterIdentity:
    """What a machine shows to the others, and what it trusts, in PEM."""

    key: str = attrs.field(repr=False)
    """The private key of what is shown."""
    chain: str
    """What is shown, the member's own certificate first."""
    trusted: str
    """The certificates of the authorities."""

    @classmethod
    def of(cls, secrets: Sequence[bytes]) -> Self:
        """Make it of the secrets of a cluster: the first one is shown, all are trusted."""
        authorities = [_Authority(secret) for secret in secrets]
        first = authorities[0]
        member = _derive(secrets[0], _MEMBER)
        shown = [
            first.sign(_name("voicegate member", member), member, is_authority=False),
            *(by.sign(each.name, each.key, is_authority=True) for each, by in pairwise(authorities)),
        ]
        trusted = [each.sign(each.name, each.key, is_authority=True) for each in authorities]
        key = member.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return cls(key=key.decode(), chain=_pem(shown), trusted=_pem(trusted))


class _Authority:
    """Who signs for all that have a secret."""

    def __init__(self, secret: bytes) -> None:
        self.key: Final = _derive(secret, _AUTHORITY)
        self.name: Final = _name("voicegate cluster", self.key)

    def sign(self, subject: x509.Name, key: Ed25519PrivateKey, *, is_authority: bool) -> x509.Certificate:
        public, signing = key.public_key(), self.key.public_key()
        usage = x509.KeyUsage(
            digital_signature=not is_authority,
            key_cert_sign=is_authority,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        )
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public)
            .serial_number(_serial(public.public_bytes_raw() + signing.public_bytes_raw()))
            .not_valid_before(_BEGIN)
            .not_valid_after(_END)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing), critical=False)
        )
        if not is_authority:
            builder = builder.add_extension(purposes, critical=False)
        return builder.sign(self.key, None)


def _derive(secret: bytes, context: bytes) -> Ed25519PrivateKey:
    seed = HKDF(algorithm=SHA256(), length=_SEED_LENGTH, salt=None, info=context).derive(secret)
    return Ed25519PrivateKey.from_private_bytes(seed)


def _name(kind: str, key: Ed25519PrivateKey) -> x509.Name:
    # With a part of the key, so that authorities of two secrets are told apart by their names, too.
    tag = key.public_key().public_bytes_raw()[:4].hex()
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{kind} {tag}")])


def _serial(public: bytes) -> int:
    """Return a number that no other certificate of these keys has, above zero."""
    return int.from_bytes(sha256(public).digest()[:_SERIAL_LENGTH], "big") | 1


def _pem(certificates: Sequence[x509.Certificate]) -> str:
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates)
