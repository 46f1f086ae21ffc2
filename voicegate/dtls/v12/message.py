"""Handshake messages whose layout is DTLS 1.2's own (RFC 5246 §7.4, RFC 8422 §5)."""

from typing import Final, Self

import attrs

from voicegate.dtls.signature import DigitallySigned
from voicegate.errors import WireError
from voicegate.wire import Reader, Writer

__all__ = ["CertificateMessage", "CertificateRequest", "ClientKeyExchange", "ServerKeyExchange"]

_NAMED_CURVE: Final = 3  # RFC 8422 §5.4


@attrs.frozen(kw_only=True)
class CertificateMessage:
    """A chain of certificates, the sender's own first; none when a client has none."""

    certificates: tuple[bytes, ...]

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message body.

        Errors: WireError.
        """
        reader = Reader(data)
        block = reader.block24()
        reader.finish()
        certificates = []
        while block.remaining:
            certificates.append(block.block24().rest())
        return cls(certificates=tuple(certificates))

    def encode(self) -> bytes:
        """Write a message body."""
        block = Writer()
        for certificate in self.certificates:
            block.block24(certificate)
        writer = Writer()
        writer.block24(block.finish())
        return writer.finish()


@attrs.frozen(kw_only=True)
class ServerKeyExchange:
    """The server's ECDHE key and its signature over both randoms and that key."""

    group: int
    public: bytes
    signed: DigitallySigned

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message body.

        Errors: WireError, also for curves given by their parameters.
        """
        reader = Reader(data)
        curve_type = reader.u8()
        if curve_type != _NAMED_CURVE:
            raise WireError(f"curve type {curve_type}")
        exchange = cls(group=reader.u16(), public=reader.block8().rest(), signed=DigitallySigned.read(reader))
        reader.finish()
        return exchange

    def encode(self) -> bytes:
        """Write a message body."""
        return self.parameters(self.group, self.public) + self.signed.encode()

    @staticmethod
    def parameters(group: int, public: bytes) -> bytes:
        """Write the part that is signed."""
        writer = Writer()
        writer.u8(_NAMED_CURVE)
        writer.u16(group)
        writer.block8(public)
        return writer.finish()


@attrs.frozen(kw_only=True)
class CertificateRequest:
    """What the server wants the client to prove itself with."""

    certificate_types: bytes
    signature_schemes: tuple[int, ...]
    authorities: tuple[bytes, ...] = ()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message body.

        Errors: WireError.
        """
        reader = Reader(data)
        types = reader.block8().rest()
        schemes_block, schemes = reader.block16(), []
        while schemes_block.remaining:
            schemes.append(schemes_block.u16())
        authorities_block, authorities = reader.block16(), []
        while authorities_block.remaining:
            authorities.append(authorities_block.block16().rest())
        reader.finish()
        return cls(certificate_types=types, signature_schemes=tuple(schemes), authorities=tuple(authorities))

    def encode(self) -> bytes:
        """Write a message body."""
        authorities = Writer()
        for authority in self.authorities:
            authorities.block16(authority)
        writer = Writer()
        writer.block8(self.certificate_types)
        writer.u16(2 * len(self.signature_schemes))
        for scheme in self.signature_schemes:
            writer.u16(scheme)
        writer.block16(authorities.finish())
        return writer.finish()


@attrs.frozen(kw_only=True)
class ClientKeyExchange:
    """The client's ECDHE key."""

    public: bytes

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message body.

        Errors: WireError.
        """
        reader = Reader(data)
        exchange = cls(public=reader.block8().rest())
        reader.finish()
        return exchange

    def encode(self) -> bytes:
        """Write a message body."""
        writer = Writer()
        writer.block8(self.public)
        return writer.finish()
