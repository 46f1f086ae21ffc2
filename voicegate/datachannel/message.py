"""Messages that wait: for our owner to take them, or for their channel to be."""

from collections import deque
from typing import Final

import attrs

from voicegate.sctp import MessageReceived

__all__ = [
    "MAX_EARLY_BYTES",
    "MAX_EARLY_MESSAGES",
    "MAX_UNREAD_MESSAGES",
    "EarlyMessages",
    "Message",
    "Unread",
]

MAX_UNREAD_MESSAGES: Final = 16_384
"""The receive window bounds bytes; this bounds what messages of one byte cost beside it: some megabytes."""
MAX_EARLY_MESSAGES: Final = 256
"""Held for channels that are not there yet, in all. They come a moment too soon, not for good."""
MAX_EARLY_BYTES: Final = 262_144
"""As much as one longest message, a quarter of the receive window that they take up."""


@attrs.frozen(kw_only=True)
class Message:
    """A whole message of the peer's."""

    channel_id: int
    data: str | bytes = attrs.field(repr=False)
    """Text or binary, as the peer sent it."""


class Unread:
    """What our owner has not taken yet, each with its length on the wire: up to `MAX_UNREAD_MESSAGES`."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Message, int]] = deque()

    def push(self, message: Message, length: int) -> bool:
        """Append a message; return whether there was room."""
        if len(self._waiting) == MAX_UNREAD_MESSAGES:
            return False
        self._waiting.append((message, length))
        return True

    def pop(self) -> tuple[Message, int] | None:
        """Take what came first."""
        return self._waiting.popleft() if self._waiting else None

    def split(self, channel_id: int) -> "Unread":
        """Take out what came on one channel."""
        apart = Unread()
        apart._waiting.extend(item for item in self._waiting if item[0].channel_id == channel_id)
        self._waiting = deque(item for item in self._waiting if item[0].channel_id != channel_id)
        return apart

    def discard(self, channel_id: int) -> list[int]:
        """Take out what came on one channel, and return the lengths."""
        lengths = [length for message, length in self._waiting if message.channel_id == channel_id]
        if lengths:
            self._waiting = deque(item for item in self._waiting if item[0].channel_id != channel_id)
        return lengths


class EarlyMessages:
    """What came on streams without a channel, up to `MAX_EARLY_MESSAGES` and `MAX_EARLY_BYTES`."""

    def __init__(self) -> None:
        self._held: dict[int, list[MessageReceived]] = {}
        self._messages = 0
        self._bytes = 0

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._held

    def push(self, received: MessageReceived) -> bool:
        """Hold a message; return whether there was room."""
        if self._messages == MAX_EARLY_MESSAGES or self._bytes + len(received.data) > MAX_EARLY_BYTES:
            return False
        self._held.setdefault(received.stream_id, []).append(received)
        self._messages += 1
        self._bytes += len(received.data)
        return True

    def pop(self, stream_id: int) -> list[MessageReceived]:
        """Take what is held for a stream."""
        taken = self._held.pop(stream_id, [])
        self._messages -= len(taken)
        self._bytes -= sum(len(received.data) for received in taken)
        return taken
