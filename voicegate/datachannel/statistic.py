"""What data channels count."""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

import attrs

__all__ = ["Counts", "DataChannelStatistics", "DropReason"]


class DropReason(StrEnum):
    """Why a message of the peer's was not used. All but the last four close the channel, or refuse it."""

    MALFORMED = "malformed"
    """DCEP that could not be read, or asks for what we don't know."""
    WRONG_PARITY = "wrong_parity"
    """DATA_CHANNEL_OPEN on a stream that it is for us to open."""
    STREAM_IN_USE = "stream_in_use"
    """DATA_CHANNEL_OPEN on a stream that has a channel."""
    TOO_MANY_CHANNELS = "too_many_channels"
    NO_ROOM = "no_room"
    """We have so much to send that not even DATA_CHANNEL_ACK fits in."""
    UNREADABLE = "unreadable"
    """A string that is no UTF-8, or no kind of message that we know."""
    TOO_MANY_UNREAD = "too_many_unread"
    """Our owner has not taken the many before it."""
    TOO_EARLY = "too_early"
    """For a channel that does not exist yet, and more than may be held for such, or it never came to be."""
    NO_STREAM = "no_stream"
    """On a stream that only the peer has, so that nothing can be answered."""
    UNEXPECTED_ACK = "unexpected_ack"
    """DATA_CHANNEL_ACK on a stream without a channel."""
    CLOSING = "closing"
    """On a stream that is being closed."""
    UNREAD = "unread"
    """Our owner closed the channel before taking it."""


@attrs.frozen(kw_only=True)
class DataChannelStatistics:
    """What has been done so far."""

    channels: int
    """That can be sent on."""
    channels_opened: int
    """By either side, since the beginning."""
    messages_sent: int
    messages_received: int
    """That were taken in for our owner."""
    bytes_sent: int
    """Of user messages."""
    bytes_received: int
    dropped: Mapping[DropReason, int]
    """Messages of the peer's by reason."""


@attrs.define
class Counts:
    """The same, while it grows."""

    channels_opened: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    dropped: Counter[DropReason] = attrs.field(factory=Counter)

    def statistics(self, *, channels: int) -> DataChannelStatistics:
        """Return the counts as they are now."""
        return DataChannelStatistics(
            channels=channels,
            channels_opened=self.channels_opened,
            messages_sent=self.messages_sent,
            messages_received=self.messages_received,
            bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
            dropped=dict(self.dropped),
        )
