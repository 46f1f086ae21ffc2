"""The SCTP packet: ports, verification tag, checksum, and chunks one behind the other (RFC 9260 §3).

Header:

- 0: u16 source port; u16 destination port
- 4: u32 verification tag
- 8: u32 checksum, CRC32c over the packet with this field zero, little-endian (RFC 9260 §6.8)

Each chunk begins with u8 type, u8 flags, u16 length of header and value, and is padded to four outside it.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple, Self

import google_crc32c

from voicegate.errors import WireError

__all__ = ["Packet", "PACKET_HEADER_LENGTH"]

_HEADER: Final = Struct("!HHI")
_CHECKSUM: Final = Struct("<I")
_CHUNK: Final = Struct("!BBH")
_NO_CHECKSUM: Final = bytes(4)
PACKET_HEADER_LENGTH: Final = 12
_PADDINGS: Final = (b"", bytes(1), bytes(2), bytes(3))
_crc32c = google_crc32c.value


class Packet(NamedTuple):
    """One packet."""

    source_port: int
    destination_port: int
    verification_tag: int
    chunks: tuple[bytes, ...]
    """Each with its header and without its padding."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Verify the checksum and cut the packet into its chunks, at least one.

        The last chunk may lack its padding, and nobody looks into padding.

        Errors: WireError.
        """
        end = len(data)
        if end < PACKET_HEADER_LENGTH + _CHUNK.size:
            raise WireError(f"an SCTP packet of {end} bytes")
        checksum = _crc32c(data[:8] + _NO_CHECKSUM + data[PACKET_HEADER_LENGTH:])
        if data[8:12] != _CHECKSUM.pack(checksum):
            raise WireError("the checksum is wrong")
        chunks = []
        position = PACKET_HEADER_LENGTH
        while position < end:
            if end - position < _CHUNK.size:
                raise WireError(f"{end - position} bytes where a chunk should be")
            _type, _flags, length = _CHUNK.unpack_from(data, position)
            if length < _CHUNK.size or position + length > end:
                raise WireError(f"a chunk of length {length}, {end - position} bytes left")
            chunks.append(data[position : position + length])
            position += length + 3 & ~3
        source_port, destination_port, tag = _HEADER.unpack_from(data)
        return cls(source_port, destination_port, tag, tuple(chunks))

    def encode(self) -> bytes:
        """Put the packet together, with its checksum."""
        header = _HEADER.pack(self.source_port, self.destination_port, self.verification_tag)
        body = b"".join(_padded(self.chunks))
        return header + _CHECKSUM.pack(_crc32c(header + _NO_CHECKSUM + body)) + body


def _padded(chunks: Iterable[bytes]) -> Iterable[bytes]:
    for chunk in chunks:
        yield chunk
        yield _PADDINGS[-len(chunk) & 3]
