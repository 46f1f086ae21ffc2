"""ClientHello, ServerHello and HelloVerifyRequest (RFC 5246 §7.4.1, RFC 6347 §4.2.1).

DTLS 1.3 uses the same layouts (RFC 9147 §5.3, §5.4), so the version can be chosen from a decoded ClientHello.
"""

from typing import Final, Self

import attrs

from voicegate.dtls.extension import (
    Extension,
    ExtensionType,
    decode_versions,
    find_extension,
    read_extensions,
    write_extensions,
)
from voicegate.dtls.record import ProtocolVersion
from voicegate.errors import WireError
from voicegate.wire import Reader, Writer

__all__ = [
    "ClientHello",
    "DOWNGRADE_MARK",
    "ServerHello",
    "HelloVerifyRequest",
    "NULL_COMPRESSION",
    "RANDOM_LENGTH",
]

NULL_COMPRESSION: Final = 0
RANDOM_LENGTH: Final = 32
DOWNGRADE_MARK: Final = b"DOWNGRD\x01"
"""Ends the random of a server that can do 1.3 and chose 1.2 (RFC 8446 §4.1.3)."""
_NEWEST_VERSION: Final = 0xFE00
"""The smallest version number that is DTLS at all."""
_MAX_SESSION_ID_LENGTH: Final = 32


@attrs.frozen(kw_only=True)
class ClientHello:
    """What a client offers."""

    version: int
    random: bytes
    session_id: bytes = b""
    cookie: bytes = b""
    cipher_suites: tuple[int, ...]
    compression_methods: bytes = bytes([NULL_COMPRESSION])
    extensions: tuple[Extension, ...] = ()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message body.

        Errors: WireError.
        """
        reader = Reader(data)
        version, random, session_id = reader.u16(), reader.read(RANDOM_LENGTH), _read_session_id(reader)
        cookie = reader.block8().rest()
        block = reader.block16()
        suites = []
        while block.remaining:
            suites.append(block.u16())
        compression_methods = reader.block8().rest()
        extensions = read_extensions(reader)
        reader.finish()
        return cls(
            version=version,
            random=random,
            session_id=session_id,
            cookie=cookie,
            cipher_suites=tuple(suites),
            compression_methods=compression_methods,
            extensions=extensions,
        )

    def encode(self) -> bytes:
        """Write a message body."""
        writer = Writer()
        writer.u16(self.version)
        writer.write(self.random)
        writer.block8(self.session_id)
        writer.block8(self.cookie)
        writer.u16(2 * len(self.cipher_suites))
        for suite in self.cipher_suites:
            writer.u16(suite)
        writer.block8(self.compression_methods)
        write_extensions(writer, self.extensions)
        return writer.finish()

    def extension(self, type_: int) -> bytes | None:
        """Return the data of an extension."""
        return find_extension(self.extensions, type_)

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions offered, as far as they concern us.

        Errors: WireError.
        """
        data = self.extension(ExtensionType.SUPPORTED_VERSIONS)
        if data is not None:
            return decode_versions(data)
        # The hello's own version is the newest that the client can do, if that is not 1.3; newer is smaller.
        is_able = _NEWEST_VERSION <= self.version <= ProtocolVersion.DTLS_1_2
        return (ProtocolVersion.DTLS_1_2,) if is_able else ()


@attrs.frozen(kw_only=True)
class ServerHello:
    """What a server chose."""

    version: int
    random: bytes
    session_id: bytes = b""
    cipher_suite: int
    compression_method: int = NULL_COMPRESSION
    extensions: tuple[Extension, ...] = ()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message body.

        Errors: WireError.
        """
        reader = Reader(data)
        hello = cls(
            version=reader.u16(),
            random=reader.read(RANDOM_LENGTH),
            session_id=_read_session_id(reader),
            cipher_suite=reader.u16(),
            compression_method=reader.u8(),
            extensions=read_extensions(reader),
        )
        reader.finish()
        return hello

    def encode(self) -> bytes:
        """Write a message body."""
        writer = Writer()
        writer.u16(self.version)
        writer.write(self.random)
        writer.block8(self.session_id)
        writer.u16(self.cipher_suite)
        writer.u8(self.compression_method)
        write_extensions(writer, self.extensions)
        return writer.finish()

    def extension(self, type_: int) -> bytes | None:
        """Return the data of an extension."""
        return find_extension(self.extensions, type_)


@attrs.frozen(kw_only=True)
class HelloVerifyRequest:
    """A server's demand to repeat the ClientHello with this cookie (RFC 6347 §4.2.1)."""

    version: int
    cookie: bytes

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message body.

        Errors: WireError.
        """
        reader = Reader(data)
        request = cls(version=reader.u16(), cookie=reader.block8().rest())
        reader.finish()
        return request

    def encode(self) -> bytes:
        """Write a message body."""
        writer = Writer()
        writer.u16(self.version)
        writer.block8(self.cookie)
        return writer.finish()


def _read_session_id(reader: Reader) -> bytes:
    session_id = reader.block8().rest()
    if len(session_id) > _MAX_SESSION_ID_LENGTH:
        raise WireError(f"a session id of {len(session_id)} bytes")
    return session_id
