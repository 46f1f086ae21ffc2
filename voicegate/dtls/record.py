"""The record layer in the clear (RFC 6347 §4.1), and how records share a datagram.

Record header: u8 content type, u16 version, u16 epoch, u48 sequence number, u16 length.
"""

from collections.abc import Iterable, Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple, Self

from voicegate.errors import WireError
from voicegate.wire import Reader

__all__ = [
    "Record",
    "ContentType",
    "HEADER_LENGTH",
    "MAX_PLAINTEXT_LENGTH",
    "MAX_SEQUENCE_NUMBER",
    "ProtocolVersion",
    "ReplayWindow",
    "pack",
]

# Epoch and sequence number are one 64-bit number on the wire.
_HEADER: Final = Struct("!BHQH")
HEADER_LENGTH: Final = _HEADER.size
MAX_PLAINTEXT_LENGTH: Final = 2**14  # RFC 5246 §6.2.1
_MAX_FRAGMENT_LENGTH: Final = MAX_PLAINTEXT_LENGTH + 256
"""What AEAD ciphers may add (RFC 8446 §5.2); RFC 5246 §6.2.3 leaves room for ciphers we do not have."""
MAX_SEQUENCE_NUMBER: Final = 2**48 - 1
_DTLS_MAJOR: Final = 0xFE


class ContentType(IntEnum):
    """What a record carries."""

    CHANGE_CIPHER_SPEC = 20
    ALERT = 21
    HANDSHAKE = 22
    APPLICATION_DATA = 23
    ACK = 26
    """DTLS 1.3 only."""


class ProtocolVersion(IntEnum):
    """Version code points; the newer, the smaller."""

    DTLS_1_0 = 0xFEFF
    DTLS_1_2 = 0xFEFD
    DTLS_1_3 = 0xFEFC


class Record(NamedTuple):
    """One record; ``fragment`` is still protected when the epoch says so."""

    content_type: int
    version: int
    epoch: int
    sequence_number: int
    fragment: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take the next record of a datagram.

        Errors: WireError, also for a version that is not of the DTLS family.
        """
        content_type, version, number, length = reader.unpack(_HEADER)
        if version >> 8 != _DTLS_MAJOR:
            raise WireError(f"record version {version:#06x}")
        if length > _MAX_FRAGMENT_LENGTH:
            raise WireError(f"a record of {length} bytes")
        return cls(content_type, version, number >> 48, number & MAX_SEQUENCE_NUMBER, reader.read(length))

    def encode(self) -> bytes:
        """Write header and fragment."""
        number = self.epoch << 48 | self.sequence_number
        return _HEADER.pack(self.content_type, self.version, number, len(self.fragment)) + self.fragment


class ReplayWindow:
    """Remembers which of the last 64 sequence numbers of one epoch have come (RFC 6347 §4.1.2.6)."""

    __slots__ = ("_newest", "_seen")

    _SIZE: Final = 64

    def __init__(self) -> None:
        self._newest = -1
        self._seen = 0  # bit n: newest - n was received

    def accepts(self, number: int) -> bool:
        """Tell whether a record is new; ask before decryption."""
        age = self._newest - number
        return age < 0 or (age < self._SIZE and not self._seen >> age & 1)

    def add(self, number: int) -> None:
        """Remember a record; only once it is authenticated."""
        age = self._newest - number
        if age < 0:
            # A jump of more than the window empties it; the shift must not grow with what a peer sends.
            self._seen = 1 if -age >= self._SIZE else (self._seen << -age | 1) & (1 << self._SIZE) - 1
            self._newest = number
        else:
            self._seen |= 1 << age


def pack(records: Iterable[bytes], *, mtu: int) -> Iterator[bytes]:
    """Fill datagrams of up to ``mtu`` bytes with whole records, in order."""
    datagram = b""
    for record in records:
        if datagram and len(datagram) + len(record) > mtu:
            yield datagram
            datagram = b""
        datagram += record
    if datagram:
        yield datagram
