"""The 4 bytes that every RTCP packet starts with (RFC 3550 §6.4.1).

- 0: 2 bits version (2), padding bit, 5 bits count
- 1: u8 packet type
- 2: u16 length of what follows, in 32-bit words
"""

from struct import Struct
from typing import Final

from voicegate.errors import UsageError
from voicegate.wire import Writer

__all__ = ["HEADER", "MAX_COUNT", "PADDING_BIT", "SSRC", "VERSION_BITS", "write_packet"]

HEADER: Final = Struct("!BBH")
SSRC: Final = Struct("!I")
"""Behind the header of most packets: whom they come from."""
VERSION_BITS: Final = 0x80
PADDING_BIT: Final = 0x20
MAX_COUNT: Final = 31


def write_packet(
    writer: Writer, packet_type: int, count: int, body: bytes, *, has_padding: bool = False
) -> None:
    """Append a packet.

    Args:
        writer: Where to.
        packet_type: What the packet is.
        count: How many things are in it, or of which format it is.
        body: What is behind the header; whole 32-bit words.
        has_padding: Whether ``body`` ends in padding.

    Errors: UsageError.
    """
    if not 0 <= count <= MAX_COUNT or len(body) % 4:
        raise UsageError(f"an RTCP packet counts to {MAX_COUNT} and has whole 32-bit words")
    first = VERSION_BITS | (PADDING_BIT if has_padding else 0) | count
    writer.write(HEADER.pack(first, packet_type, len(body) // 4))
    writer.write(body)
