"""Messages whose layout is DTLS 1.3's own (RFC 8446 §4.3, §4.4, §4.6.3, RFC 9147 §7)."""

from struct import Struct
from typing import Final, NamedTuple, Self

import attrs

from voicegate.dtls.extension import (
    Extension,
    find_extension,
    read_extension_block,
    write_extension_block,
)
from voicegate.errors import WireError
from voicegate.wire import Reader, Writer

__all__ = [
    "Ack",
    "CertificateEntry",
    "CertificateMessage",
    "CertificateRequest",
    "EncryptedExtensions",
    "KeyUpdate",
    "RecordNumber",
]

_RECORD_NUMBER: Final = Struct("!QQ")


@attrs.frozen(kw_only=True)
class EncryptedExtensions:
    """What a server answers to those extensions that the key exchange does not need."""

    extensions: tuple[Extension, ...]

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message body.

        Errors: WireError.
        """
        reader = Reader(data)
        extensions = read_extension_block(reader)
        reader.finish()
        return cls(extensions=extensions)

    def encode(self) -> bytes:
        """Write a message body."""
        writer = Writer()
        write_extension_block(writer, self.extensions)
        return writer.finish()

    def extension(self, type_: int) -> bytes | None:
        """Return the data of an extension."""
        return find_extension(self.extensions, type_)


@attrs.frozen(kw_only=True)
class CertificateRequest:
    """What the server wants the client to prove itself with."""

    context: bytes = b""
    extensions: tuple[Extension, ...]

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message body.

        Errors: WireError.
        """
        reader = Reader(data)
        context = reader.block8().rest()
        extensions = read_extension_block(reader)
        reader.finish()
        return cls(context=context, extensions=extensions)

    def encode(self) -> bytes:
        """Write a message body."""
        writer = Writer()
        writer.block8(self.context)
        write_extension_block(writer, self.extensions)
        return writer.finish()

    def extension(self, type_: int) -> bytes | None:
        """Return the data of an extension."""
        return find_extension(self.extensions, type_)


class CertificateEntry(NamedTuple):
    """One certificate of a chain, with what is said about it."""

    data: bytes
    extensions: tuple[Extension, ...] = ()


@attrs.frozen(kw_only=True)
class CertificateMessage:
    """A chain of certificates, the sender's own first; none when a client has none."""

    context: bytes = b""
    entries: tuple[CertificateEntry, ...]

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message body.

        Errors: WireError.
        """
        reader = Reader(data)
        context = reader.block8().rest()
        block = reader.block24()
        reader.finish()
        entries = []
        while block.remaining:
            entries.append(CertificateEntry(block.block24().rest(), read_extension_block(block)))
        return cls(context=context, entries=tuple(entries))

    def encode(self) -> bytes:
        """Write a message body."""
        block = Writer()
        for entry in self.entries:
            block.block24(entry.data)
            write_extension_block(block, entry.extensions)
        writer = Writer()
        writer.block8(self.context)
        writer.block24(block.finish())
        return writer.finish()


@attrs.frozen(kw_only=True)
class KeyUpdate:
    """The sender's next epoch has new keys."""

    is_requested: bool
    """Whether the receiver is to update its own as well."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message body.

        Errors: WireError.
        """
        reader = Reader(data)
        request = reader.u8()
        reader.finish()
        if request > 1:
            raise WireError(f"key update request {request}")
        return cls(is_requested=bool(request))

    def encode(self) -> bytes:
        """Write a message body."""
        return bytes((self.is_requested,))


class RecordNumber(NamedTuple):
    """What tells one record of a direction from all others."""

    epoch: int
    sequence_number: int


@attrs.frozen(kw_only=True)
class Ack:
    """The records of a flight that have come; the content of a record, not a handshake message."""

    record_numbers: tuple[RecordNumber, ...]

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the payload of an ACK record.

        Errors: WireError.
        """
        reader = Reader(data)
        block = reader.block16()
        reader.finish()
        numbers = []
        while block.remaining:
            numbers.append(RecordNumber(*block.unpack(_RECORD_NUMBER)))
        return cls(record_numbers=tuple(numbers))

    def encode(self) -> bytes:
        """Write the payload of an ACK record."""
        writer = Writer()
        writer.block16(b"".join(_RECORD_NUMBER.pack(*number) for number in self.record_numbers))
        return writer.finish()
