"""Signatures over handshakes (RFC 5246 §4.7, RFC 8446 §4.2.3).

Code points are those of DTLS 1.3; in DTLS 1.2 the same two bytes are a hash and a signature algorithm.
"""

from enum import IntEnum
from typing import Final, Self

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from voicegate.dtls.alert import AlertDescription
from voicegate.dtls.certificate import PublicKey
from voicegate.dtls.failure import DtlsError, FailureCause
from voicegate.wire import Reader, Writer

__all__ = ["DigitallySigned", "OWN_SCHEME", "SignatureScheme", "sign", "verify"]


class SignatureScheme(IntEnum):
    """What we verify, in order of preference."""

    ECDSA_SECP256R1_SHA256 = 0x0403
    RSA_PSS_RSAE_SHA256 = 0x0804
    RSA_PKCS1_SHA256 = 0x0401
    ECDSA_SECP384R1_SHA384 = 0x0503
    RSA_PSS_RSAE_SHA384 = 0x0805
    RSA_PKCS1_SHA384 = 0x0501
    RSA_PSS_RSAE_SHA512 = 0x0806
    RSA_PKCS1_SHA512 = 0x0601


OWN_SCHEME: Final = SignatureScheme.ECDSA_SECP256R1_SHA256
"""What we sign with: our certificates hold P-256 keys."""

_SHA256, _SHA384, _SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()

_ECDSA: Final = {
    SignatureScheme.ECDSA_SECP256R1_SHA256: ec.ECDSA(_SHA256),
    SignatureScheme.ECDSA_SECP384R1_SHA384: ec.ECDSA(_SHA384),
}
_RSA: Final[dict[int, tuple[padding.PSS | padding.PKCS1v15, hashes.HashAlgorithm]]] = {
    # The salt is as long as the hash (RFC 8446 §4.2.3).
    SignatureScheme.RSA_PSS_RSAE_SHA256: (padding.PSS(padding.MGF1(_SHA256), 32), _SHA256),
    SignatureScheme.RSA_PSS_RSAE_SHA384: (padding.PSS(padding.MGF1(_SHA384), 48), _SHA384),
    SignatureScheme.RSA_PSS_RSAE_SHA512: (padding.PSS(padding.MGF1(_SHA512), 64), _SHA512),
    SignatureScheme.RSA_PKCS1_SHA256: (padding.PKCS1v15(), _SHA256),
    SignatureScheme.RSA_PKCS1_SHA384: (padding.PKCS1v15(), _SHA384),
    SignatureScheme.RSA_PKCS1_SHA512: (padding.PKCS1v15(), _SHA512),
}


@attrs.frozen(kw_only=True)
class DigitallySigned:
    """A signature and how it was made; alone, it is the body of a CertificateVerify in both versions."""

    scheme: int
    signature: bytes = attrs.field(repr=False)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what is all of ``data``.

        Errors: WireError.
        """
        reader = Reader(data)
        signed = cls.read(reader)
        reader.finish()
        return signed

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take a signature out of a longer message."""
        return cls(scheme=reader.u16(), signature=reader.block16().rest())

    def encode(self) -> bytes:
        """Write scheme and signature."""
        writer = Writer()
        writer.u16(self.scheme)
        writer.block16(self.signature)
        return writer.finish()


def sign(private_key: ec.EllipticCurvePrivateKey, data: bytes) -> DigitallySigned:
    """Sign with `OWN_SCHEME`."""
    return DigitallySigned(scheme=OWN_SCHEME, signature=private_key.sign(data, _ECDSA[OWN_SCHEME]))


def verify(public_key: PublicKey, signed: DigitallySigned, data: bytes) -> None:
    """Check a signature.

    As in DTLS 1.2, an ECDSA scheme names only the hash; the key may be on either curve.

    Errors: DtlsError, with illegal_parameter when the scheme is none of ours or does not go with the key.
    """
    try:
        if isinstance(public_key, ec.EllipticCurvePublicKey):
            public_key.verify(signed.signature, data, _ECDSA[SignatureScheme(signed.scheme)])
        else:
            public_key.verify(signed.signature, data, *_RSA[signed.scheme])
    except (KeyError, ValueError) as error:
        raise DtlsError(f"signature scheme {signed.scheme:#06x} does not go with the peer's key") from error
    except InvalidSignature as error:
        raise DtlsError(
            "the peer's signature does not verify",
            alert=AlertDescription.DECRYPT_ERROR,
            cause=FailureCause.AUTHENTICATION_FAILED,
        ) from error
