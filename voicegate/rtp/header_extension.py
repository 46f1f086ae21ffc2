"""The elements inside an RTP header extension, in both forms of RFC 8285.

An element is a header and a value; the header is one byte (id << 4 | length - 1), or one each of id and
length. Zero bytes between elements are padding. A block behind another profile has a meaning that we do not
know: it is taken for one element of id 0, which RFC 8285 keeps for padding.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

from voicegate.errors import UsageError, WireError
from voicegate.rtp.audio_level import AUDIO_LEVEL_URI

if TYPE_CHECKING:
    from voicegate.rtp.packet import RtpPacket

__all__ = [
    "ONE_BYTE_PROFILE",
    "TRANSPORT_SEQUENCE_URI",
    "TWO_BYTE_PROFILE",
    "ExtensionReader",
    "Extensions",
    "decode_elements",
    "encode_elements",
]

TRANSPORT_SEQUENCE_URI: Final = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
"""What SDP calls the extension in which a sender counts its packets of all sources: 16 bits."""

ONE_BYTE_PROFILE: Final = 0xBEDE
"""Announces elements with one-byte headers (RFC 8285 §4.2)."""
TWO_BYTE_PROFILE: Final = 0x1000
"""Announces elements with two-byte headers; its low four bits are free (RFC 8285 §4.3)."""
_TWO_BYTE_MASK: Final = 0xFFF0

_STOP_ID: Final = 15
"""Ends a block of one-byte elements at once, whatever follows (RFC 8285 §4.2)."""
_MAX_ONE_BYTE_VALUE: Final = 16

_NO_ID: Final = -1
_LEVEL_MASK: Final = 0x7F


class Extensions(NamedTuple):
    """What the header extension of one packet says that we asked for; None for what it does not say."""

    level: int | None = None
    """Decibels below the loudest possible: 0 is overload, 127 is digital silence (RFC 6464 §3)."""
    is_voice: bool | None = None
    """Whether the sender believes that this is speech."""
    transport_sequence: int | None = None
    """Which packet of all that the sender sends this is, 16 bits."""


_NOTHING: Final = Extensions()


class ExtensionReader:
    """Looks up what SDP has negotiated, in each packet."""

    __slots__ = ("_level_id", "_transport_id")

    def __init__(self, extensions: tuple[tuple[int, str], ...]) -> None:
        """Remember ids.

        Args:
            extensions: Ids and URIs, as negotiated; those of other extensions are passed over.
        """
        ids = {uri: id_ for id_, uri in extensions}
        self._level_id = ids.get(AUDIO_LEVEL_URI, _NO_ID)
        self._transport_id = ids.get(TRANSPORT_SEQUENCE_URI, _NO_ID)

    def read(self, packet: "RtpPacket") -> Extensions:
        """Return what a packet says; an element of the wrong length says nothing."""
        elements = packet.extensions
        if not elements:
            return _NOTHING
        level: int | None = None
        is_voice: bool | None = None
        transport_sequence: int | None = None
        for id_, value in elements:
            if id_ == self._level_id:
                if len(value) == 1:  # as in AudioLevel, without a value made for it: this is done per packet
                    level = value[0] & _LEVEL_MASK
                    is_voice = value[0] > _LEVEL_MASK
            elif id_ == self._transport_id and len(value) == 2:
                transport_sequence = value[0] << 8 | value[1]
        return Extensions(level, is_voice, transport_sequence)


def decode_elements(profile: int, block: bytes) -> tuple[tuple[int, bytes], ...]:
    """Take the block of a header extension apart into ids and values, in order and with repeats.

    Errors: WireError when an element is longer than the block.
    """
    if profile == ONE_BYTE_PROFILE:
        return _decode_one_byte(block)
    if profile & _TWO_BYTE_MASK == TWO_BYTE_PROFILE:
        return _decode_two_byte(block)
    return ((0, block),) if block else ()


def encode_elements(profile: int, elements: tuple[tuple[int, bytes], ...]) -> bytes:
    """Write the block of a header extension, padded to whole 32-bit words.

    Errors: UsageError when an element does not fit the form that ``profile`` announces.
    """
    if profile == ONE_BYTE_PROFILE:
        block = _encode_one_byte(elements)
    elif profile & _TWO_BYTE_MASK == TWO_BYTE_PROFILE:
        block = _encode_two_byte(elements)
    else:
        block = _encode_foreign(elements)
    return block + bytes(-len(block) % 4)


def _decode_one_byte(block: bytes) -> tuple[tuple[int, bytes], ...]:
    # By index, not by `Reader`: browsers send three or four of these with every packet.
    elements = []
    position, end = 0, len(block)
    while position < end:
        header = block[position]
        position += 1
        if header == 0:
            continue
        id_ = header >> 4
        if id_ in (0, _STOP_ID):  # an id of 0 with a length ends the block too (RFC 8285 §4.1.2)
            break
        start = position
        position += (header & 0x0F) + 1
        if position > end:
            raise WireError(
                f"RTP header extension element {id_} ends {position - end} bytes behind its block"
            )
        elements.append((id_, block[start:position]))
    return tuple(elements)


def _decode_two_byte(block: bytes) -> tuple[tuple[int, bytes], ...]:
    elements = []
    position, end = 0, len(block)
    while position < end:
        id_ = block[position]
        position += 1
        if id_ == 0:
            continue
        if position == end:
            raise WireError(f"RTP header extension element {id_} has no length")
        start = position + 1
        position = start + block[position]
        if position > end:
            raise WireError(
                f"RTP header extension element {id_} ends {position - end} bytes behind its block"
            )
        elements.append((id_, block[start:position]))
    return tuple(elements)


def _encode_one_byte(elements: tuple[tuple[int, bytes], ...]) -> bytes:
    block = bytearray()
    for id_, value in elements:
        if not (0 < id_ < _STOP_ID and 0 < len(value) <= _MAX_ONE_BYTE_VALUE):
            raise UsageError(
                f"a one-byte element has id 1..14 and 1..16 bytes, not id {id_}, {len(value)} bytes"
            )
        block.append(id_ << 4 | len(value) - 1)
        block += value
    return bytes(block)


def _encode_two_byte(elements: tuple[tuple[int, bytes], ...]) -> bytes:
    block = bytearray()
    for id_, value in elements:
        if not (0 < id_ < 256 and len(value) < 256):
            raise UsageError(
                f"a two-byte element has id 1..255 and 0..255 bytes, not id {id_}, {len(value)} bytes"
            )
        block += bytes((id_, len(value)))
        block += value
    return bytes(block)


def _encode_foreign(elements: tuple[tuple[int, bytes], ...]) -> bytes:
    match elements:
        case ():
            return b""
        case ((0, block),) if block and len(block) % 4 == 0:
            return block
    raise UsageError(
        "a header extension that is not RFC 8285's is one element of id 0 and whole 32-bit words"
    )
