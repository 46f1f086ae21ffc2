"""Handshake messages on the wire: the header, cutting into fragments and putting together again.

The 12-byte header (RFC 6347 §4.2.2), the same in DTLS 1.2 and 1.3:
u8 type, u24 length of the message, u16 message_seq, u24 fragment offset, u24 fragment length.
"""

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple, Self

import attrs

from voicegate.dtls.alert import AlertDescription
from voicegate.dtls.failure import DtlsError
from voicegate.errors import WireError
from voicegate.wire import Reader

__all__ = [
    "Message",
    "Fragment",
    "HEADER_LENGTH",
    "HandshakeType",
    "MAX_AHEAD_LENGTH",
    "MAX_MESSAGES_AHEAD",
    "MAX_MESSAGE_LENGTH",
    "Reassembler",
    "expect",
]

# struct has no 24-bit numbers: each is a high byte and a low half.
_HEADER: Final = Struct("!BBHHBHBH")
HEADER_LENGTH: Final = _HEADER.size

MAX_MESSAGE_LENGTH: Final = 16 * 1024
"""Ten times the largest seen from browsers, a ClientHello with a post-quantum key share."""
MAX_MESSAGES_AHEAD: Final = 8
"""Messages that may wait for an earlier one; no flight has more than seven."""
MAX_AHEAD_LENGTH: Final = MAX_MESSAGE_LENGTH
"""Bytes that may wait in messages behind the next one, so that one connection holds at most twice this."""


class HandshakeType(IntEnum):
    """Handshake message types of both versions (IANA TLS HandshakeType)."""

    HELLO_REQUEST = 0
    CLIENT_HELLO = 1
    SERVER_HELLO = 2
    HELLO_VERIFY_REQUEST = 3
    NEW_SESSION_TICKET = 4
    ENCRYPTED_EXTENSIONS = 8
    CERTIFICATE = 11
    SERVER_KEY_EXCHANGE = 12
    CERTIFICATE_REQUEST = 13
    SERVER_HELLO_DONE = 14
    CERTIFICATE_VERIFY = 15
    CLIENT_KEY_EXCHANGE = 16
    FINISHED = 20
    KEY_UPDATE = 24
    MESSAGE_HASH = 254


class Fragment(NamedTuple):
    """A piece of a handshake message, as one record carries it."""

    type: int
    length: int
    """Bytes of the whole message."""
    message_seq: int
    offset: int
    body: bytes

    @property
    def is_last(self) -> bool:
        """Whether the message ends here."""
        return self.offset + len(self.body) == self.length

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take the next fragment of a record.

        Errors: WireError, also for a fragment that does not lie inside its message.
        """
        fields = reader.unpack(_HEADER)
        type_, length_high, length_low, message_seq, offset_high, offset_low, size_high, size_low = fields
        length = length_high << 16 | length_low
        offset = offset_high << 16 | offset_low
        size = size_high << 16 | size_low
        if offset + size > length:
            raise WireError(f"fragment {offset}+{size} of a message of {length} bytes")
        return cls(type_, length, message_seq, offset, reader.read(size))

    def encode(self) -> bytes:
        """Write header and piece."""
        length, offset, size = self.length, self.offset, len(self.body)
        header = _HEADER.pack(
            self.type,
            length >> 16,
            length & 0xFFFF,
            self.message_seq,
            offset >> 16,
            offset & 0xFFFF,
            size >> 16,
            size & 0xFFFF,
        )
        return header + self.body


@attrs.frozen(kw_only=True)
class Message:
    """A whole handshake message."""

    type: int
    message_seq: int
    body: bytes = attrs.field(repr=False)
    epoch: int = 0
    """The epoch it came under; not on the wire."""

    def encode(self) -> bytes:
        """Write the message as one fragment, as a DTLS 1.2 transcript hashes it (RFC 6347 §4.2.6)."""
        return Fragment(self.type, len(self.body), self.message_seq, 0, self.body).encode()

    def fragments(self, limit: int) -> Iterator[bytes]:
        """Cut the message into pieces of up to ``limit`` bytes with their headers, at least one."""
        room = limit - HEADER_LENGTH
        for offset in range(0, len(self.body) or 1, room):
            piece = self.body[offset : offset + room]
            yield Fragment(self.type, len(self.body), self.message_seq, offset, piece).encode()


class _Partial:
    """A message of which fragments have come."""

    __slots__ = ("body", "epoch", "missing", "type")

    def __init__(self, fragment: Fragment, epoch: int) -> None:
        self.type = fragment.type
        self.epoch = epoch
        self.body = bytearray(fragment.length)
        self.missing = bytearray(b"\1" * fragment.length)  # 1 for each byte not yet there

    def agrees(self, fragment: Fragment, epoch: int) -> bool:
        return fragment.type == self.type and fragment.length == len(self.body) and epoch == self.epoch

    def add(self, fragment: Fragment) -> None:
        stop = fragment.offset + len(fragment.body)
        self.body[fragment.offset : stop] = fragment.body
        self.missing[fragment.offset : stop] = bytes(len(fragment.body))

    @property
    def is_whole(self) -> bool:
        return 1 not in self.missing


class Reassembler:
    """Puts messages together from fragments in any order, repeated or overlapping.

    They come out whole and in sequence.

    Memory is bounded by the constants above, whatever comes.
    """

    def __init__(self) -> None:
        self._next = 0
        self._partials: dict[int, _Partial] = {}

    @property
    def next_sequence(self) -> int:
        """The message_seq that `pop` hands out next; smaller ones are repetitions."""
        return self._next

    def push(self, fragment: Fragment, *, epoch: int) -> bool:
        """Take a fragment that is not a repetition; False when it does not fit and was dropped."""
        partial = self._partials.get(fragment.message_seq)
        if partial is None:
            if not self._has_room(fragment):
                return False
            partial = self._partials[fragment.message_seq] = _Partial(fragment, epoch)
        elif not partial.agrees(fragment, epoch):
            return False
        partial.add(fragment)
        return True

    def peek(self) -> Message | None:
        """Look at the next message, if it is whole."""
        partial = self._partials.get(self._next)
        if partial is None or not partial.is_whole:
            return None
        return Message(
            type=partial.type, message_seq=self._next, body=bytes(partial.body), epoch=partial.epoch
        )

    def pop(self) -> Message | None:
        """Hand out the next message, if it is whole."""
        message = self.peek()
        if message is not None:
            del self._partials[self._next]
            self._next += 1
        return message

    def _has_room(self, fragment: Fragment) -> bool:
        ahead = fragment.message_seq - self._next
        if fragment.length > MAX_MESSAGE_LENGTH or not 0 <= ahead < MAX_MESSAGES_AHEAD:
            return False
        waiting = sum(
            len(partial.body) for sequence, partial in self._partials.items() if sequence != self._next
        )
        return not ahead or waiting + fragment.length <= MAX_AHEAD_LENGTH


def expect(message: Message, type_: HandshakeType) -> None:
    """Refuse a message of another type than is due.

    Errors: DtlsError.
    """
    if message.type != type_:
        raise DtlsError(
            f"handshake message {message.type} where {type_.name} is due",
            alert=AlertDescription.UNEXPECTED_MESSAGE,
        )
