"""Transmission sequence numbers, which wrap at 32 bits, extended so that they do not."""

from typing import Final

__all__ = ["TSN_MASK", "extend_tsn"]

TSN_MASK: Final = 0xFFFF_FFFF
"""What of an extended number is on the wire."""


def extend_tsn(tsn: int, *, reference: int) -> int:
    """Give a 32-bit number the cycles that put it closest to ``reference``, an extended number.

    It is the serial number arithmetic of RFC 9260 §1.6, after which plain comparison is right.
    """
    return reference + ((tsn - reference + 0x8000_0000) & TSN_MASK) - 0x8000_0000
