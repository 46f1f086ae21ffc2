"""Sequence numbers, which wrap at 16 bits, extended so that they do not (RFC 3711 §3.3.1)."""

__all__ = ["extend_sequence_number"]


def extend_sequence_number(sequence_number: int, *, reference: int) -> int:
    """Give a 16-bit number the cycles that put it closest to ``reference``, an extended number.

    A number from before the first cycle comes out negative.
    """
    return reference + ((sequence_number - reference + 0x8000) & 0xFFFF) - 0x8000
