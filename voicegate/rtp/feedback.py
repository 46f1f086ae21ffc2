"""Feedback on single packets (RFC 4585 §6.1): who says it, about which source, and what."""

from struct import Struct
from typing import ClassVar, Final, Self

import attrs

from voicegate.errors import UsageError
from voicegate.rtp.rtcp_header import write_packet
from voicegate.wire import Reader, Writer

__all__ = ["GenericNack", "TRANSPORT_LAYER_FEEDBACK"]

TRANSPORT_LAYER_FEEDBACK: Final = 205
"""The packet type; the count in the header says which feedback."""
_SSRCS: Final = Struct("!II")
_PAIR: Final = Struct("!HH")
_MASK_BITS: Final = 16


@attrs.frozen(kw_only=True)
class GenericNack:
    """Packets that a receiver misses and asks for again (RFC 4585 §6.2.1).

    On the wire they are numbers with a mask for the 16 after each; any order and repeats are kept.
    """

    FORMAT: ClassVar[int] = 1

    ssrc: int
    """Who misses them."""
    media_ssrc: int
    """Whose they are."""
    sequence_numbers: tuple[int, ...]

    @classmethod
    def read(cls, reader: Reader, _count: int) -> Self:
        """Take what is behind the header."""
        ssrc, media_ssrc = reader.unpack(_SSRCS)
        numbers = []
        while reader.remaining:
            first, mask = reader.unpack(_PAIR)
            numbers.append(first)
            numbers += [(first + 1 + bit) & 0xFFFF for bit in range(_MASK_BITS) if mask >> bit & 1]
        return cls(ssrc=ssrc, media_ssrc=media_ssrc, sequence_numbers=tuple(numbers))

    def write(self, writer: Writer) -> None:
        """Append the packet."""
        body = Writer()
        body.write(_SSRCS.pack(self.ssrc, self.media_ssrc))
        first, mask = None, 0
        for number in self.sequence_numbers:
            if not 0 <= number <= 0xFFFF:
                raise UsageError(f"a sequence number of {number}, 16 bits possible")
            if first is not None:
                bit = (number - first - 1) & 0xFFFF
                if bit < _MASK_BITS and mask < 1 << bit:
                    mask |= 1 << bit
                    continue
                body.write(_PAIR.pack(first, mask))
            first, mask = number, 0
        if first is not None:
            body.write(_PAIR.pack(first, mask))
        write_packet(writer, TRANSPORT_LAYER_FEEDBACK, self.FORMAT, body.finish())
