"""The data channels of a call whose media is in another process."""

import itertools
from collections import deque
from typing import Final, Unpack

import trio

from voicegate.agents.process.message import (
    ChannelAsked,
    ChannelDismissed,
    ChannelMessage,
    MessagesTaken,
    message_size,
)
from voicegate.agents.process.sender import Sender
from voicegate.agents.process.session import FIRST_NUMBER
from voicegate.channel import ChannelOptions, DataChannel, Message
from voicegate.datachannel.channel import NORMAL_PRIORITY, Channel
from voicegate.errors import UsageError

__all__ = ["RemoteChannels"]

_BUFFER_LIMIT: Final = 16 * 1024 * 1024
"""Bytes that may wait to be acknowledged on a channel: an agent that has sent so much doesn't look."""


class RemoteChannels:
    """What `voicegate.channel.ChannelLink` promises, over the link to the media process."""

    def __init__(self, number: int, link: Sender, *, is_offered: bool) -> None:
        self.channels: Final[dict[int, DataChannel]] = {}
        self.is_closed = False
        self.is_offered = is_offered
        self._number = number
        self._link = link
        self._numbers = itertools.count(FIRST_NUMBER)
        # Also those that are closed: their last messages may still wait.
        self._known: dict[int, DataChannel] = {}
        self._messages: deque[Message] = deque()
        self._sent: dict[int, int] = {}
        self._acknowledged: dict[int, int] = {}
        self._waiting = trio.lowlevel.ParkingLot()

    # The agent's side

    def open_channel(self, label: str, **options: Unpack[ChannelOptions]) -> DataChannel:
        """Open a channel; its id is a number of ours unless the agent and the client have agreed on one."""
        if not self.is_offered:
            raise UsageError("this client offered no data channels")
        negotiated_id = options.get("negotiated_id")
        channel = Channel(
            id=next(self._numbers) if negotiated_id is None else negotiated_id,
            label=label,
            protocol=options.get("protocol", ""),
            is_ordered=options.get("is_ordered", True),
            max_retransmits=options.get("max_retransmits"),
            lifetime_ms=options.get("lifetime_ms"),
            priority=options.get("priority", NORMAL_PRIORITY),
            is_negotiated=negotiated_id is not None,
        )
        channel.validate()
        if channel.id in self.channels:
            raise UsageError(f"data channel {channel.id} is there already")
        self._link.post(self._number, ChannelAsked(channel=channel))
        return self.admit(channel)

    def close_channel(self, channel_id: int) -> None:
        """Close a channel."""
        self._forget(channel_id)
        self._link.post(self._number, ChannelDismissed(number=channel_id))

    def send_message(self, channel_id: int, data: str | bytes) -> None:
        """Send a message."""
        if self.buffered(channel_id) > _BUFFER_LIMIT:
            raise UsageError(f"{_BUFFER_LIMIT} bytes of data channel {channel_id} are not acknowledged yet")
        self._link.post(self._number, ChannelMessage(number=channel_id, data=data))
        self._sent[channel_id] += message_size(data)

    def buffered(self, channel_id: int) -> int:
        """Return the bytes of a channel that the client has not acknowledged, as far as is known here."""
        return self._sent[channel_id] - self._acknowledged[channel_id]

    def take_message(self) -> Message | None:
        """Return the client's next message."""
        if not self._messages or self.is_closed:
            return None
        message = self._messages.popleft()
        self._link.post(self._number, MessagesTaken(size=message_size(message.data)))
        return message

    async def wait_progress(self) -> None:
        """Wait until a message came, a channel opened or closed, or the call ended."""
        if not self.is_closed:
            await self._waiting.park()
            await trio.lowlevel.checkpoint_if_cancelled()
        if self.is_closed:
            raise trio.ClosedResourceError("the call is over")

    # The link's side

    def admit(self, channel: Channel) -> DataChannel:
        """Take up a channel."""
        known = self.channels[channel.id] = self._known[channel.id] = DataChannel(self, channel)
        self._sent[channel.id] = self._acknowledged[channel.id] = 0
        self._waiting.unpark_all()
        return known

    def find(self, number: int) -> DataChannel:
        """Return a channel that was taken up before."""
        return self._known[number]

    def dismiss(self, number: int) -> DataChannel:
        """Give up a channel that was closed."""
        self._forget(number)
        self._waiting.unpark_all()
        return self._known[number]

    def receive(self, number: int, data: str | bytes) -> None:
        """Take a message of the client's."""
        self._messages.append(Message(self._known[number], data))
        self._waiting.unpark_all()

    def acknowledge(self, number: int, size: int) -> None:
        """Learn how much of what was sent the client has."""
        if number in self._acknowledged:  # else it was closed here meanwhile
            self._acknowledged[number] = size
        self._waiting.unpark_all()

    def close(self) -> None:
        """End all channels: the call is over."""
        self.is_closed = True
        self.channels.clear()
        self._waiting.unpark_all()

    def _forget(self, number: int) -> None:
        for known in (self.channels, self._sent, self._acknowledged):
            known.pop(number, None)
