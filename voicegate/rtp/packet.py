"""RTP packets (RFC 3550 §5.1).

Header, 12 bytes, then the CSRCs, the header extension and the payload:

- 0: 2 bits version (2), padding bit, extension bit, 4 bits CSRC count
- 1: marker bit, 7 bits payload type
- 2: u16 sequence number
- 4: u32 timestamp
- 8: u32 SSRC

Not kept: what padding contains, and what RFC 8285 tells a receiver to ignore in a header extension.
"""

from struct import Struct, unpack_from
from struct import error as struct_error
from typing import Final, NamedTuple

from voicegate.errors import UsageError, WireError
from voicegate.rtp.header_extension import decode_elements, encode_elements

__all__ = ["HEADER", "VERSION_BITS", "RtpPacket", "unpack_rtp"]

HEADER: Final = Struct("!BBHII")
_CSRC: Final = Struct("!I")
_EXTENSION_HEADER: Final = Struct("!HH")

VERSION_BITS: Final = 0x80
"""The first byte of a packet that has no padding, no extension and no CSRC: version 2 and nothing else."""
_PADDING_BIT: Final = 0x20
_EXTENSION_BIT: Final = 0x10
_MAX_CSRCS: Final = 15

_new: Final = tuple.__new__


class RtpPacket(NamedTuple):
    """A decoded RTP packet."""

    payload_type: int
    sequence_number: int
    timestamp: int
    ssrc: int
    payload: bytes = b""
    marker: bool = False
    csrcs: tuple[int, ...] = ()
    extension_profile: int | None = None
    """What announces the header extension (see `voicegate.rtp.header_extension`); None when there is none."""
    extensions: tuple[tuple[int, bytes], ...] = ()
    """Ids and values of the header extension, in order and with repeats."""
    padding_length: int = 0
    """Bytes of padding behind the payload, the last of which is this count."""

    @staticmethod
    def decode(data: bytes) -> "RtpPacket":
        """Take a packet apart.

        Errors: WireError.
        """
        return unpack_rtp(data)

    def encode(self) -> bytes:
        """Put the packet together; padding is zeros before its count.

        Errors: UsageError when a field does not fit its place.
        """
        if len(self.csrcs) > _MAX_CSRCS or self.payload_type > 127 or not 0 <= self.padding_length < 256:
            raise UsageError("an RTP packet has at most 15 CSRCs, payload type 127 and 255 bytes of padding")
        first = VERSION_BITS | len(self.csrcs)
        second = self.payload_type | 0x80 if self.marker else self.payload_type
        extension = padding = b""
        if self.padding_length:
            first |= _PADDING_BIT
            padding = self.padding_length.to_bytes(self.padding_length, "big")
        try:
            if self.extension_profile is not None:
                first |= _EXTENSION_BIT
                block = encode_elements(self.extension_profile, self.extensions)
                extension = _EXTENSION_HEADER.pack(self.extension_profile, len(block) // 4) + block
            elif self.extensions:
                raise UsageError("header extension elements need a profile that says how to write them")
            header = HEADER.pack(first, second, self.sequence_number, self.timestamp, self.ssrc)
            return b"".join((header, *map(_CSRC.pack, self.csrcs), extension, self.payload, padding))
        except struct_error as error:
            raise UsageError(f"an RTP field is out of range: {error}") from error

    def extension(self, id_: int) -> bytes | None:
        """Find the value of the first header extension element with this id."""
        for candidate, value in self.extensions:
            if candidate == id_:
                return value
        return None


def unpack_rtp(data: bytes) -> RtpPacket:
    """Do what `RtpPacket.decode` does, for compiled callers in less time.

    Errors: WireError.
    """
    try:
        first, second, sequence_number, timestamp, ssrc = HEADER.unpack_from(data)
    except struct_error:
        raise WireError(f"an RTP packet of {len(data)} bytes is shorter than its header") from None
    payload_type = second & 0x7F
    marker = second > payload_type
    if first == VERSION_BITS:
        fields = (payload_type, sequence_number, timestamp, ssrc, data[12:], marker, (), None, (), 0)
        return _new(RtpPacket, fields)  # what RtpPacket() does, for half of what its defaults cost
    if first & 0xC0 != VERSION_BITS:
        raise WireError(f"RTP version {first >> 6}, 2 expected")
    csrcs, position = _decode_csrcs(data, first & _MAX_CSRCS)
    profile, extensions, position = (
        _decode_extension(data, position) if first & _EXTENSION_BIT else (None, (), position)
    )
    padding_length = _padding_length(data, position) if first & _PADDING_BIT else 0
    payload = data[position : len(data) - padding_length]
    head = (payload_type, sequence_number, timestamp, ssrc, payload, marker)
    return _new(RtpPacket, (*head, csrcs, profile, extensions, padding_length))


def _decode_csrcs(data: bytes, count: int) -> tuple[tuple[int, ...], int]:
    """Return the CSRCs and the offset behind them."""
    if not count:
        return (), HEADER.size
    end = HEADER.size + count * _CSRC.size
    if end > len(data):
        raise WireError(f"{count} CSRCs in an RTP packet of {len(data)} bytes")
    return unpack_from(f"!{count}I", data, HEADER.size), end


def _decode_extension(data: bytes, position: int) -> tuple[int, tuple[tuple[int, bytes], ...], int]:
    """Return the profile and elements of the header extension at an offset, and the offset behind it."""
    start = position + _EXTENSION_HEADER.size
    if start > len(data):
        raise WireError(f"no room for a header extension in an RTP packet of {len(data)} bytes")
    profile, words = _EXTENSION_HEADER.unpack_from(data, position)
    end = start + 4 * words
    if end > len(data):
        raise WireError(f"a header extension of {words} words in an RTP packet of {len(data)} bytes")
    return profile, decode_elements(profile, data[start:end]), end


def _padding_length(data: bytes, position: int) -> int:
    """Return how many bytes of padding end a packet whose payload starts at an offset."""
    length = data[-1]
    if not 0 < length <= len(data) - position:
        raise WireError(f"{length} bytes of padding in an RTP payload of {len(data) - position}")
    return length
