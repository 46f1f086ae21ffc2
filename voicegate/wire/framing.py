"""Datagrams on a byte stream: a 16-bit length in front of each (RFC 4571 §2), as ICE over TCP has it.

An empty frame says nothing and is passed over.
"""

from typing import Final

from voicegate.errors import UsageError, WireError

__all__ = ["FrameReader", "LENGTH_BYTES", "MAX_FRAME", "frame"]

LENGTH_BYTES: Final = 2
"""What stands before each datagram."""

MAX_FRAME: Final = 0xFFFF
"""Bytes behind the length at most: what it can say."""


class FrameReader:
    """Takes a stream apart; keeps at most one unfinished frame.

    Args:
        limit: Longest frame, in bytes, that is taken.
    """

    def __init__(self, *, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._rest = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of a frame whose end has not come yet."""
        return len(self._rest)

    def feed(self, data: bytes | bytearray) -> list[bytes]:
        """Take what came next; return the datagrams that it completes.

        Errors: WireError for a frame that is too long, now and ever after: where the next begins is unknown.
        """
        rest = self._rest
        rest += data
        frames: list[bytes] = []
        start = 0
        while (begin := start + LENGTH_BYTES) <= len(rest):
            length = rest[start] << 8 | rest[start + 1]
            if length > self._limit:
                rest[:] = rest[start:begin]
                raise WireError(f"a frame of {length} bytes, {self._limit} at most are taken")
            if (end := begin + length) > len(rest):
                break
            if length:
                frames.append(bytes(rest[begin:end]))
            start = end
        del rest[:start]
        return frames


def frame(data: bytes) -> bytes:
    """Put the length before a datagram.

    Errors: UsageError for one longer than the length can say.
    """
    if len(data) > MAX_FRAME:
        raise UsageError(f"a frame of {len(data)} bytes")
    return len(data).to_bytes(LENGTH_BYTES, "big") + data
