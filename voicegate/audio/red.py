"""Redundant audio (RED, RFC 2198): a packet that carries copies of the ones before it.

The header is a list of entries, oldest block first and the packet's own audio, the primary, last:

    1 bit   another entry follows (F)
    7 bits  payload type of the block
   14 bits  how much older than the packet, in ticks   (not in the last entry)
   10 bits  length of the block                        (not in the last entry, whose block takes the rest)
"""

from collections import deque
from typing import Final, NamedTuple, Self

import attrs

from voicegate.errors import UsageError
from voicegate.wire import Reader, Writer

__all__ = ["RedBlock", "RedEncoder", "RedPayload"]

_FOLLOWED: Final = 0x80
_MAX_PAYLOAD_TYPE: Final = 0x7F
_MAX_OFFSET: Final = 0x3FFF
_MAX_LENGTH: Final = 0x3FF


class RedBlock(NamedTuple):
    """A copy of an earlier payload."""

    payload_type: int
    offset: int
    """How much older than the packet it is, in ticks."""
    payload: bytes


@attrs.frozen(kw_only=True)
class RedPayload:
    """The payload of a RED packet."""

    payload_type: int
    """Of the primary."""
    primary: bytes
    copies: tuple[RedBlock, ...] = ()
    """The oldest first."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Take a payload apart (RFC 2198 §3).

        Errors: WireError.
        """
        reader = Reader(data)
        entries: list[tuple[int, int, int]] = []
        while (first := reader.u8()) & _FOLLOWED:
            offset_and_length = reader.u24()
            entries.append(
                (first & _MAX_PAYLOAD_TYPE, offset_and_length >> 10, offset_and_length & _MAX_LENGTH)
            )
        copies = tuple(RedBlock(type_, offset, reader.read(length)) for type_, offset, length in entries)
        return cls(payload_type=first, primary=reader.rest(), copies=copies)

    def encode(self) -> bytes:
        """Put a payload together.

        Errors: UsageError when a field does not fit its place.
        """
        writer = Writer()
        for type_, offset, payload in self.copies:
            if not (
                0 <= type_ <= _MAX_PAYLOAD_TYPE and 0 <= offset <= _MAX_OFFSET and len(payload) <= _MAX_LENGTH
            ):
                raise UsageError(f"a copy of {len(payload)} bytes, {offset} ticks old, does not fit into RED")
            writer.u8(_FOLLOWED | type_)
            writer.u24(offset << 10 | len(payload))
        if not 0 <= self.payload_type <= _MAX_PAYLOAD_TYPE:
            raise UsageError(f"{self.payload_type} is no RTP payload type")
        writer.u8(self.payload_type)
        for block in self.copies:
            writer.write(block.payload)
        writer.write(self.primary)
        return writer.finish()


class RedEncoder:
    """Puts copies of the last payloads into each packet that is sent.

    Args:
        payload_type: of the codec whose payloads these are.
        depth: how many copies a packet carries; 1 survives the loss of single packets.
    """

    def __init__(self, payload_type: int, *, depth: int = 1) -> None:
        self._payload_type = payload_type
        self._sent: deque[tuple[bytes, int]] = deque(maxlen=depth)

    def encode(self, payload: bytes, *, timestamp: int) -> bytes:
        """Return the RED payload for the packet of this timestamp; each packet sent has to come by here.

        A receiver finds a copy's packet by counting back from this one, so that where one does not fit the
        older ones stay out too.
        """
        copies: deque[RedBlock] = deque()
        for earlier, sent_at in reversed(self._sent):
            offset = (timestamp - sent_at) & 0xFFFFFFFF
            if offset > _MAX_OFFSET or len(earlier) > _MAX_LENGTH:
                break
            copies.appendleft(RedBlock(self._payload_type, offset, earlier))
        self._sent.append((payload, timestamp))
        return RedPayload(payload_type=self._payload_type, primary=payload, copies=tuple(copies)).encode()
