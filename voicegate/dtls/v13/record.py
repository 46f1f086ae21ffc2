"""The unified header of protected records (RFC 9147 §4).

1. u8 ``001CSLEE``: C connection id present, S sequence number of 16 bits (else 8), L length present, E the
   low bits of the epoch
2. u8 or u16 low bits of the sequence number, encrypted
3. u16 length, if L; without it the record fills the datagram
"""

from typing import Final, NamedTuple, Self

from voicegate.errors import WireError
from voicegate.wire import Reader

__all__ = [
    "MAX_CIPHERTEXT_LENGTH",
    "MIN_CIPHERTEXT_LENGTH",
    "OVERHEAD",
    "OWN_FORM",
    "PROTECTED_ALERT_LENGTH",
    "ProtectedRecord",
    "is_unified",
]

_FORM: Final = 0b0010_0000
_FORM_MASK: Final = 0b1110_0000
_HAS_CONNECTION_ID: Final = 0b0001_0000
_HAS_LONG_NUMBER: Final = 0b0000_1000
_HAS_LENGTH: Final = 0b0000_0100
_EPOCH_MASK: Final = 0b0000_0011

OWN_FORM: Final = _FORM | _HAS_LONG_NUMBER | _HAS_LENGTH
"""As both Chromium and Firefox write it, whatever else is in the datagram."""
_OWN_HEADER_LENGTH: Final = 5

MIN_CIPHERTEXT_LENGTH: Final = 16
"""What the mask of the sequence number is made of (RFC 9147 §4.2.3); a tag is that long."""
MAX_CIPHERTEXT_LENGTH: Final = 2**14 + 256  # RFC 8446 §5.2

OVERHEAD: Final = _OWN_HEADER_LENGTH + 1 + 16
"""What protection adds to a fragment: header, content type, tag."""

PROTECTED_ALERT_LENGTH: Final = OVERHEAD + 2
"""Bytes of a datagram with nothing but an alert, whose type nobody sees."""


class ProtectedRecord(NamedTuple):
    """One record as it came, its sequence number still encrypted."""

    header: bytes
    ciphertext: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take the next record of a datagram.

        Errors: WireError, also for a connection id, which we never negotiate.
        """
        flags = reader.u8()
        if flags & _FORM_MASK != _FORM or flags & _HAS_CONNECTION_ID:
            raise WireError(f"record header {flags:#04x}")
        fields = reader.read((2 if flags & _HAS_LONG_NUMBER else 1) + (2 if flags & _HAS_LENGTH else 0))
        ciphertext = reader.read(fields[-2] << 8 | fields[-1]) if flags & _HAS_LENGTH else reader.rest()
        if not MIN_CIPHERTEXT_LENGTH <= len(ciphertext) <= MAX_CIPHERTEXT_LENGTH:
            raise WireError(f"a protected record of {len(ciphertext)} bytes")
        return cls(bytes((flags,)) + fields, ciphertext)

    def encode(self) -> bytes:
        """Write header and ciphertext."""
        return self.header + self.ciphertext

    @property
    def epoch_bits(self) -> int:
        """The low two bits of the epoch."""
        return self.header[0] & _EPOCH_MASK

    @property
    def number_length(self) -> int:
        """Bytes of the sequence number."""
        return 2 if self.header[0] & _HAS_LONG_NUMBER else 1


def is_unified(first_byte: int) -> bool:
    """Tell whether a record has the unified header."""
    return first_byte & _FORM_MASK == _FORM
