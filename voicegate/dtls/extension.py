"""Hello extensions (RFC 5246 §7.4.1.4): the list, and the small codecs of those we read.

Unknown and repeated extensions are kept in order; what may repeat or be unknown is for the handshake to say.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from voicegate.errors import WireError
from voicegate.wire import Reader, Writer

__all__ = [
    "Extension",
    "ExtensionType",
    "KeyShareEntry",
    "UNCOMPRESSED_POINTS",
    "decode_code_points",
    "decode_key_share",
    "decode_key_shares",
    "decode_point_formats",
    "decode_renegotiation_info",
    "decode_selected",
    "decode_versions",
    "encode_code_points",
    "encode_key_share",
    "encode_key_shares",
    "encode_point_formats",
    "encode_renegotiation_info",
    "encode_selected",
    "encode_versions",
    "find_extension",
    "has_repeats",
    "read_extension_block",
    "read_extensions",
    "write_extension_block",
    "write_extensions",
]

UNCOMPRESSED_POINTS: Final = 0  # RFC 8422 §5.1.2


class ExtensionType(IntEnum):
    """The extensions we read or write (IANA TLS ExtensionType)."""

    SUPPORTED_GROUPS = 10
    EC_POINT_FORMATS = 11
    SIGNATURE_ALGORITHMS = 13
    USE_SRTP = 14
    EXTENDED_MASTER_SECRET = 23
    SUPPORTED_VERSIONS = 43
    COOKIE = 44
    KEY_SHARE = 51
    RENEGOTIATION_INFO = 0xFF01


class Extension(NamedTuple):
    """One extension, its data not looked into."""

    type: int
    data: bytes


class KeyShareEntry(NamedTuple):
    """A public key, and the group it is of."""

    group: int
    public: bytes


def read_extensions(reader: Reader) -> tuple[Extension, ...]:
    """Take the extensions at the end of a hello; the whole block may be absent."""
    return read_extension_block(reader) if reader.remaining else ()


def read_extension_block(reader: Reader) -> tuple[Extension, ...]:
    """Take a block of extensions, which may be empty but not absent."""
    block = reader.block16()
    extensions = []
    while block.remaining:
        extensions.append(Extension(block.u16(), block.block16().rest()))
    return tuple(extensions)


def write_extensions(writer: Writer, extensions: Sequence[Extension]) -> None:
    """Append the block of extensions, or nothing when there are none."""
    if extensions:
        write_extension_block(writer, extensions)


def write_extension_block(writer: Writer, extensions: Sequence[Extension]) -> None:
    """Append the block of extensions, even if there are none."""
    block = Writer()
    for extension in extensions:
        block.u16(extension.type)
        block.block16(extension.data)
    writer.block16(block.finish())


def find_extension(extensions: Iterable[Extension], type_: int) -> bytes | None:
    """Return the data of the first extension of a type."""
    return next((extension.data for extension in extensions if extension.type == type_), None)


def has_repeats(extensions: Sequence[Extension]) -> bool:
    """Tell whether a type occurs twice, which RFC 5246 §7.4.1.4 forbids."""
    return len({extension.type for extension in extensions}) != len(extensions)


def decode_code_points(data: bytes) -> tuple[int, ...]:
    """Read supported_groups or signature_algorithms (RFC 8422 §5.1.1, RFC 5246 §7.4.1.4.1).

    Errors: WireError.
    """
    reader = Reader(data)
    points = _read_u16s(reader.block16())
    reader.finish()
    return points


def encode_code_points(points: Iterable[int]) -> bytes:
    """Write supported_groups or signature_algorithms."""
    writer = Writer()
    writer.block16(_u16s(points))
    return writer.finish()


def decode_versions(data: bytes) -> tuple[int, ...]:
    """Read a ClientHello's supported_versions (RFC 8446 §4.2.1).

    Errors: WireError.
    """
    reader = Reader(data)
    versions = _read_u16s(reader.block8())
    reader.finish()
    return versions


def encode_versions(versions: Iterable[int]) -> bytes:
    """Write a ClientHello's supported_versions."""
    writer = Writer()
    writer.block8(_u16s(versions))
    return writer.finish()


def decode_selected(data: bytes) -> int:
    """Read what a server chose: its supported_versions, or a HelloRetryRequest's group (RFC 8446 §4.2).

    Errors: WireError.
    """
    reader = Reader(data)
    selected = reader.u16()
    reader.finish()
    return selected


def encode_selected(selected: int) -> bytes:
    """Write a server's supported_versions or a HelloRetryRequest's group."""
    return selected.to_bytes(2, "big")


def decode_key_shares(data: bytes) -> tuple[KeyShareEntry, ...]:
    """Read a ClientHello's key_share (RFC 8446 §4.2.8); none at all is a wish to be told a group.

    Errors: WireError.
    """
    reader = Reader(data)
    block = reader.block16()
    reader.finish()
    shares = []
    while block.remaining:
        shares.append(_read_key_share(block))
    return tuple(shares)


def encode_key_shares(shares: Iterable[KeyShareEntry]) -> bytes:
    """Write a ClientHello's key_share."""
    writer = Writer()
    writer.block16(b"".join(map(encode_key_share, shares)))
    return writer.finish()


def decode_key_share(data: bytes) -> KeyShareEntry:
    """Read a ServerHello's key_share.

    Errors: WireError.
    """
    reader = Reader(data)
    share = _read_key_share(reader)
    reader.finish()
    return share


def encode_key_share(share: KeyShareEntry) -> bytes:
    """Write a ServerHello's key_share."""
    writer = Writer()
    writer.u16(share.group)
    writer.block16(share.public)
    return writer.finish()


def decode_point_formats(data: bytes) -> bytes:
    """Read ec_point_formats (RFC 8422 §5.1.2), one format per byte.

    Errors: WireError.
    """
    return _decode_block8(data)


def encode_point_formats(formats: bytes) -> bytes:
    """Write ec_point_formats."""
    return _encode_block8(formats)


def decode_renegotiation_info(data: bytes) -> bytes:
    """Read renegotiation_info (RFC 5746 §3.2); empty in a first handshake.

    Errors: WireError.
    """
    return _decode_block8(data)


def encode_renegotiation_info(connection: bytes) -> bytes:
    """Write renegotiation_info."""
    return _encode_block8(connection)


def _decode_block8(data: bytes) -> bytes:
    reader = Reader(data)
    block = reader.block8().rest()
    reader.finish()
    return block


def _encode_block8(block: bytes) -> bytes:
    writer = Writer()
    writer.block8(block)
    return writer.finish()


def _read_key_share(reader: Reader) -> KeyShareEntry:
    share = KeyShareEntry(reader.u16(), reader.block16().rest())
    if not share.public:
        raise WireError("an empty public key")
    return share


def _read_u16s(block: Reader) -> tuple[int, ...]:
    if not block.remaining:
        raise WireError("an empty list of code points")
    points = []
    while block.remaining:
        points.append(block.u16())
    return tuple(points)


def _u16s(points: Iterable[int]) -> bytes:
    return b"".join(point.to_bytes(2, "big") for point in points)
