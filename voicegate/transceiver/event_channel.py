"""The data channel on which a client speaks its API: events out with a bound, events in as they come.

What the client has not acknowledged holds back what is sent; what waits for that is bounded. A client that
reads too slowly, or never opens the channel, loses it, and nothing else.
"""

from collections import deque
from typing import Final

from voicegate.datachannel import Channel, DataChannels
from voicegate.errors import UsageError
from voicegate.transceiver.core import CallCore
from voicegate.wire.json_value import encode_object

__all__ = ["EventChannel"]

LABEL: Final = "oai-events"
"""What all clients of this API call it; so is one called that was agreed on beside the offer."""

AHEAD_BYTES: Final = 262_144
"""Sent and not acknowledged: seconds of deltas, and no more than a fast path takes at once."""

MAX_WAITING: Final = 4 << 20
"""Characters that wait for a slow client: minutes of transcripts, or all items of a conversation."""

MAX_EARLY: Final = 262_144
"""Characters that wait for the channel to be opened, which takes a second."""


def _error(code: str, message: str) -> str:
    """Return an event for a fault that is the connection's, not the session's."""
    error = {"type": "server_error", "code": code, "message": message, "param": None, "event_id": None}
    return encode_object({"type": "error", "event_id": f"event_{code}", "error": error})


_TOO_LONG: Final = _error("event_too_long", "An event is longer than this client takes in one message.")
_TOO_SLOW: Final = _error("client_too_slow", "Too many events wait to be read; the channel is closed.")


class EventChannel:
    """The channel of one call, whether it is open, still to come, or closed again.

    Drain rule: after each packet `poll_text` to None; after it and each `send`, `flush`.
    """

    def __init__(self, core: CallCore) -> None:
        self.dropped = 0
        """Events that could not be sent."""
        self._core = core
        self._id: int | None = None
        self._is_open = False
        self._waiting: deque[str] = deque()
        self._waiting_characters = 0

    @property
    def is_open(self) -> bool:
        """Whether events reach the client, or will in a moment."""
        return self._is_open

    @property
    def has_unsent(self) -> bool:
        """Whether the client has not acknowledged everything."""
        channels = self._core.channels
        return self._id is not None and channels is not None and bool(channels.buffered(self._id))

    # The channel

    def claims(self, channel: Channel) -> bool:
        """Tell whether a channel of the client's is this one: the first of its name."""
        return channel.label == LABEL and self._id in {None, channel.id}

    def open(self, channel: Channel) -> None:
        """Speak on a channel from now on."""
        self.reserve(channel)
        self._is_open = True

    def reserve(self, channel: Channel) -> None:
        """Let nobody else have a channel that is to be opened yet."""
        if self._core.channels is not None and self._id != channel.id:
            self._id = channel.id
            self._core.channels.set_apart(channel.id)

    def close(self, channel: Channel) -> bool:
        """Forget a channel that was closed; return whether it was this one."""
        if channel.id != self._id:
            return False
        self._forget()
        return True

    # Events

    def poll_text(self) -> str | None:
        """Return the client's next event; what it sent as binary is text, too."""
        channels = self._core.channels
        message = channels.poll_message(self._id) if channels is not None and self._id is not None else None
        if message is None:
            return None
        return message.data if isinstance(message.data, str) else message.data.decode(errors="replace")

    def send(self, text: str) -> bool:
        """Queue an event; False when too much waits already, and the channel is given up for that."""
        self._waiting.append(text)
        self._waiting_characters += len(text)
        limit = MAX_WAITING if self._is_open else MAX_EARLY
        return len(self._waiting) == 1 or self._waiting_characters <= limit

    def give_up(self, *, now: float) -> None:
        """Close the channel with an error instead of all that waits."""
        channel_id, channels, is_open = self._id, self._core.channels, self._is_open
        self.dropped += len(self._waiting)
        if is_open and channels is not None and channel_id is not None:
            self._forget()
            _send(channels, channel_id, _TOO_SLOW, now)
            channels.close_channel(channel_id, now=now)
        self._waiting.clear()
        self._waiting_characters = 0

    def flush(self, *, now: float) -> bool:
        """Send what the client has room for; return whether there is something for the core to let out."""
        channels, has_sent = self._core.channels, False
        if channels is None or self._id is None or not self._is_open:
            return False
        while self._waiting and channels.buffered(self._id) < AHEAD_BYTES:
            text = self._waiting.popleft()
            self._waiting_characters -= len(text)
            has_sent = True
            if not _send(channels, self._id, text, now):
                self.dropped += 1
                _send(channels, self._id, _TOO_LONG, now)
        return has_sent

    # Internals

    def _forget(self) -> None:
        self._id, self._is_open = None, False
        self._waiting.clear()
        self._waiting_characters = 0


def _send(channels: DataChannels, channel_id: int, text: str, now: float) -> bool:
    """Send an event; False when the client does not take one that is so long."""
    try:
        channels.send(channel_id, text, now=now)
    except UsageError:
        return False
    return True
