"""The chunks of an association, each with its header and without padding (RFC 9260 §3.3, RFC 3758 §3.2).

A chunk without a class of its own is its header and a value that needs no taking apart, or a list of
parameters: `encode_chunk` writes those. Every chunk begins with u8 type, u8 flags and u16 length.
"""

from enum import IntEnum, IntFlag
from itertools import chain
from struct import Struct
from typing import Final, NamedTuple, Self

from voicegate.errors import WireError

__all__ = [
    "ChunkType",
    "CHUNK_HEADER_LENGTH",
    "DATA_HEADER_LENGTH",
    "Data",
    "DataFlag",
    "ForwardTsn",
    "Sack",
    "Shutdown",
    "encode_chunk",
    "is_reported",
    "stops",
]

_HEADER: Final = Struct("!BBH")
_DATA: Final = Struct("!BBHIHHI")
_SACK: Final = Struct("!BBHIIHH")
_TSN: Final = Struct("!BBHI")
_PAIR: Final = Struct("!HH")
CHUNK_HEADER_LENGTH: Final = _HEADER.size
DATA_HEADER_LENGTH: Final = _DATA.size


class ChunkType(IntEnum):
    """The chunks that are used here; the code point of any other stays a plain number."""

    DATA = 0
    INIT = 1
    INIT_ACK = 2
    SACK = 3
    HEARTBEAT = 4
    HEARTBEAT_ACK = 5
    ABORT = 6
    SHUTDOWN = 7
    SHUTDOWN_ACK = 8
    ERROR = 9
    COOKIE_ECHO = 10
    COOKIE_ACK = 11
    SHUTDOWN_COMPLETE = 14
    RECONFIGURATION = 130
    """RFC 6525 §3.1."""
    FORWARD_TSN = 192
    """RFC 3758 §3.2."""


class DataFlag(IntFlag):
    """The flags of a DATA chunk (RFC 9260 §3.3.1)."""

    END = 1
    BEGIN = 2
    UNORDERED = 4
    IMMEDIATE = 8
    """Its sender waits for the acknowledgement."""


class Data(NamedTuple):
    """DATA: a message, or a fragment of one."""

    tsn: int
    stream_id: int
    sequence_number: int
    """Of the message in its stream, 16 bits; means nothing when unordered."""
    protocol_id: int
    data: bytes
    flags: int

    @classmethod
    def decode(cls, chunk: bytes) -> Self:
        """Take a chunk apart.

        Errors: WireError.
        """
        if len(chunk) < DATA_HEADER_LENGTH:
            raise WireError(f"a DATA chunk of {len(chunk)} bytes")
        chunk_type, flags, length, tsn, stream_id, sequence_number, protocol_id = _DATA.unpack_from(chunk)
        _check(chunk, chunk_type, length, ChunkType.DATA)
        return cls(tsn, stream_id, sequence_number, protocol_id, chunk[DATA_HEADER_LENGTH:], flags)

    def encode(self) -> bytes:
        """Put the chunk together."""
        tsn, stream_id, sequence_number, protocol_id, data, flags = self
        length = DATA_HEADER_LENGTH + len(data)
        return _DATA.pack(0, flags, length, tsn, stream_id, sequence_number, protocol_id) + data


class Sack(NamedTuple):
    """SACK: what has arrived (RFC 9260 §3.3.4)."""

    cumulative_tsn: int
    """All up to here is there."""
    window: int
    """Bytes that the receiver has room for, what is under way included."""
    gaps: tuple[tuple[int, int], ...] = ()
    """First and last TSN of each block behind a hole, counted from the cumulative one."""
    duplicates: tuple[int, ...] = ()

    @classmethod
    def decode(cls, chunk: bytes) -> Self:
        """Take a chunk apart.

        Errors: WireError.
        """
        if len(chunk) < _SACK.size:
            raise WireError(f"a SACK chunk of {len(chunk)} bytes")
        chunk_type, _flags, length, cumulative_tsn, window, gaps, duplicates = _SACK.unpack_from(chunk)
        _check(chunk, chunk_type, length, ChunkType.SACK)
        if length != _SACK.size + 4 * (gaps + duplicates):
            raise WireError(f"a SACK chunk of {length} bytes, {gaps} gaps and {duplicates} duplicates")
        if length == _SACK.size:
            return cls(cumulative_tsn, window)
        middle = _SACK.size + 4 * gaps
        return cls(
            cumulative_tsn,
            window,
            tuple(_PAIR.iter_unpack(chunk[_SACK.size : middle])),
            tuple(tsn for (tsn,) in Struct("!I").iter_unpack(chunk[middle:])),
        )

    def encode(self) -> bytes:
        """Put the chunk together."""
        gaps, duplicates = self.gaps, self.duplicates
        length = _SACK.size + 4 * (len(gaps) + len(duplicates))
        header = _SACK.pack(
            ChunkType.SACK, 0, length, self.cumulative_tsn, self.window, len(gaps), len(duplicates)
        )
        if length == _SACK.size:
            return header
        return header + Struct(f"!{2 * len(gaps)}H{len(duplicates)}I").pack(
            *chain.from_iterable(gaps), *duplicates
        )


class ForwardTsn(NamedTuple):
    """FORWARD-TSN: do not wait for these any longer (RFC 3758 §3.2)."""

    cumulative_tsn: int
    streams: tuple[tuple[int, int], ...] = ()
    """Streams with the last sequence number each that was given up."""

    @classmethod
    def decode(cls, chunk: bytes) -> Self:
        """Take a chunk apart.

        Errors: WireError.
        """
        if len(chunk) < _TSN.size or len(chunk) % 4:
            raise WireError(f"a FORWARD-TSN chunk of {len(chunk)} bytes")
        chunk_type, _flags, length, cumulative_tsn = _TSN.unpack_from(chunk)
        _check(chunk, chunk_type, length, ChunkType.FORWARD_TSN)
        return cls(cumulative_tsn, tuple(_PAIR.iter_unpack(chunk[_TSN.size :])))

    def encode(self) -> bytes:
        """Put the chunk together."""
        header = _TSN.pack(ChunkType.FORWARD_TSN, 0, _TSN.size + 4 * len(self.streams), self.cumulative_tsn)
        return header + b"".join(_PAIR.pack(*stream) for stream in self.streams)


class Shutdown(NamedTuple):
    """SHUTDOWN: nothing more will be sent, and this much has arrived (RFC 9260 §3.3.8)."""

    cumulative_tsn: int

    @classmethod
    def decode(cls, chunk: bytes) -> Self:
        """Take a chunk apart.

        Errors: WireError.
        """
        if len(chunk) != _TSN.size:
            raise WireError(f"a SHUTDOWN chunk of {len(chunk)} bytes")
        chunk_type, _flags, length, cumulative_tsn = _TSN.unpack(chunk)
        _check(chunk, chunk_type, length, ChunkType.SHUTDOWN)
        return cls(cumulative_tsn)

    def encode(self) -> bytes:
        """Put the chunk together."""
        return _TSN.pack(ChunkType.SHUTDOWN, 0, _TSN.size, self.cumulative_tsn)


def encode_chunk(chunk_type: int, value: bytes = b"", *, flags: int = 0) -> bytes:
    """Write any chunk."""
    return _HEADER.pack(chunk_type, flags, CHUNK_HEADER_LENGTH + len(value)) + value


def stops(chunk_type: int) -> bool:
    """Tell whether a receiver that does not know a chunk leaves those behind it alone (RFC 9260 §3.2)."""
    return not chunk_type & 0x80


def is_reported(chunk_type: int) -> bool:
    """Tell whether a receiver that does not know a chunk says so (RFC 9260 §3.2)."""
    return bool(chunk_type & 0x40)


def _check(chunk: bytes, chunk_type: int, length: int, wanted: ChunkType) -> None:
    if chunk_type != wanted or length != len(chunk):
        raise WireError(f"type {chunk_type} and length {length} on {len(chunk)} bytes, {wanted.name} wanted")
