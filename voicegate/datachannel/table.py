"""Which streams are in use, by what channel, and how far their closing is (RFC 8831 §6.7)."""

from collections import deque

import attrs

from voicegate.datachannel.channel import Channel
from voicegate.datachannel.event import ChannelClosed, ChannelOpened, Event
from voicegate.errors import UsageError

__all__ = ["ChannelTable", "Stream"]


@attrs.define(kw_only=True)
class Stream:
    """A pair of streams that is in use, one in each direction."""

    id: int
    channel: Channel | None
    """None where the peer sent what no channel could come of."""
    is_unconfirmed: bool = False
    """Whether we have asked for the channel, and heard nothing on it yet."""
    unread: int = 0
    """Messages that our owner has not taken."""
    is_closing: bool = False
    is_reset_due: bool = False
    """Whether the outgoing half is being reset, or will be with the next input."""
    is_outgoing_reset: bool = False
    is_incoming_reset: bool = False
    is_next_reset: bool = False
    """Whether the peer has used the number for another channel since, and closed that too."""


class ChannelTable:
    """The streams in use, and the events of their channels."""

    def __init__(self, *, parity: int, stream_limit: int, events: deque[Event]) -> None:
        self.stream_limit = stream_limit
        """How many streams there are."""
        self.channels: dict[int, Channel] = {}
        """Those that are not closing."""
        self.resets: list[int] = []
        """Streams whose outgoing half is to be reset."""
        self._parity = parity
        self._given = 0
        """How many of the numbers that are ours to give have been given since we began with the first."""
        self._streams: dict[int, Stream] = {}
        self._events = events

    def __len__(self) -> int:
        return len(self._streams)

    def get(self, stream_id: int) -> Stream | None:
        """Return a stream, if it is in use."""
        return self._streams.get(stream_id)

    def is_ours(self, stream_id: int) -> bool:
        """Whether a channel on this stream is for us to open, rather than for the peer (RFC 8832 §6)."""
        return stream_id % 2 == self._parity

    def free_id(self) -> int:
        """Return a number for a channel that we open, the one that was not used for longest.

        So what is still on its way from a channel that was closed does not meet the next one.

        Errors: UsageError when none is left.
        """
        ours = tuple(range(self._parity, self.stream_limit, 2))
        for stream_id in ours[self._given :] + ours[: self._given]:
            if stream_id not in self._streams:
                return stream_id
        raise UsageError("no stream is left for a channel")

    def check_id(self, stream_id: int) -> int:
        """See that a channel can be on this stream.

        Errors: UsageError.
        """
        if not 0 <= stream_id < self.stream_limit:
            raise UsageError(f"channel {stream_id}, 0..{self.stream_limit - 1} possible")
        if stream_id in self._streams:
            raise UsageError(f"channel {stream_id} is in use")
        return stream_id

    def add(self, channel: Channel, *, is_unconfirmed: bool = False) -> None:
        """Put a channel on its stream."""
        self._streams[channel.id] = Stream(id=channel.id, channel=channel, is_unconfirmed=is_unconfirmed)
        self.channels[channel.id] = channel
        if is_unconfirmed:
            self._given = channel.id // 2 + 1

    def announce(self, channel: Channel, *, is_remote: bool = False) -> None:
        """Tell that a channel is open."""
        self._events.append(ChannelOpened(channel=channel, is_remote=is_remote))

    def confirm(self, stream: Stream) -> None:
        """Note that the peer knows a channel, by DATA_CHANNEL_ACK or a message (RFC 8832 §6)."""
        if stream.is_unconfirmed and stream.channel is not None:
            stream.is_unconfirmed = False
            self.announce(stream.channel)

    def close(self, stream_id: int) -> None:
        """Begin to close what is on a stream; where nothing is, see that nothing comes of it."""
        stream = self._streams.setdefault(stream_id, Stream(id=stream_id, channel=None))
        stream.is_closing = True
        self.channels.pop(stream_id, None)
        self._go_on(stream)

    def note_read(self, stream_id: int) -> None:
        """Note that a message was taken."""
        stream = self._streams[stream_id]
        stream.unread -= 1
        if stream.is_closing:
            self._go_on(stream)

    def note_reset(self, stream_id: int, *, is_remote: bool) -> None:
        """Note that the peer's half, or ours, was reset."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if is_remote:
            stream.is_incoming_reset = True
            self.close(stream_id)
        elif stream.is_reset_due:
            stream.is_outgoing_reset = True
            self._go_on(stream)

    def limit(self, stream_limit: int) -> None:
        """Learn how many streams there are: channels on others never come to be."""
        self.stream_limit = min(self.stream_limit, stream_limit)
        for stream in list(self._streams.values()):
            if stream.id >= self.stream_limit:
                self._forget(stream)

    def end(self) -> None:
        """Take all streams for reset."""
        self.channels.clear()
        for stream in list(self._streams.values()):
            stream.is_closing = stream.is_reset_due = stream.is_outgoing_reset = stream.is_incoming_reset = (
                True
            )
            self._go_on(stream)
        self.resets.clear()

    def _go_on(self, stream: Stream) -> None:
        """Reset our half when everything is read, and forget the stream when both halves are reset."""
        if stream.unread:
            return
        if not stream.is_reset_due:
            stream.is_reset_due = True
            self.resets.append(stream.id)
        elif stream.is_outgoing_reset and stream.is_incoming_reset:
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.id]
        self.channels.pop(stream.id, None)
        if stream.channel is not None:
            self._events.append(ChannelClosed(channel=stream.channel))
