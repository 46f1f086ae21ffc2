"""Data channels between an agent and the test that plays its client: nothing is lost, nothing has to wait."""

from collections import deque
from collections.abc import Callable
from typing import Final, Unpack

import trio

from voicegate.call import CallEvent, ChannelClosed, ChannelOpened
from voicegate.channel import ChannelOptions, DataChannel, Message
from voicegate.datachannel import Channel
from voicegate.errors import UsageError

__all__ = ["MemoryChannels"]

_IDS: Final = 65_535
"""Of data channels (RFC 8831 §6.4)."""


class MemoryChannels:
    """A `voicegate.channel.ChannelLink`, and the other end of it.

    Args:
        is_offered: Whether the client can have channels.
        tell: Takes the events for the agent.
    """

    def __init__(self, *, is_offered: bool, tell: Callable[[CallEvent], None]) -> None:
        self.channels: Final[dict[int, DataChannel]] = {}
        self.is_offered: Final = is_offered
        self.is_closed = False
        self._tell = tell
        self._to_agent: deque[Message] = deque()
        self._progress = trio.lowlevel.ParkingLot()
        self._from_agent, self.messages = trio.open_memory_channel[Message](float("inf"))
        """`messages` are what the agent has sent."""

    # The agent's side

    def open_channel(self, label: str, **options: Unpack[ChannelOptions]) -> DataChannel:
        """Open a channel, reliable whatever is asked for; it is open at once."""
        if not self.is_offered:
            raise UsageError("this client offered no data channels")
        number = options.get("negotiated_id")
        if number is None:
            number = next(number for number in range(_IDS) if number not in self.channels)
        channel = DataChannel(self, Channel(id=number, label=label))
        self.channels[number] = channel
        self._tell(ChannelOpened(channel))
        self._progress.unpark_all()
        return channel

    def close_channel(self, channel_id: int) -> None:
        """Close a channel."""
        self._tell(ChannelClosed(self.channels.pop(channel_id)))
        self._progress.unpark_all()

    def send_message(self, channel_id: int, data: str | bytes) -> None:
        """Hand a message to the client."""
        self._from_agent.send_nowait(Message(self.channels[channel_id], data))

    def buffered(self, channel_id: int) -> int:  # noqa: ARG002 - all has arrived
        """Return how much has not arrived."""
        return 0

    def take_message(self) -> Message | None:
        """Return the client's next message."""
        return self._to_agent.popleft() if self._to_agent and not self.is_closed else None

    async def wait_progress(self) -> None:
        """Wait until a message came, a channel opened or closed, or the call ended."""
        if not self.is_closed:
            await self._progress.park()
            await trio.lowlevel.checkpoint_if_cancelled()
        if self.is_closed:
            raise trio.ClosedResourceError("the call is over")

    # The client's side

    def send(self, data: str | bytes, *, label: str) -> None:
        """Hand a message to the agent, on the channel of that label, which is opened if there is none."""
        found = (channel for channel in self.channels.values() if channel.label == label)
        channel = next(found, None) or self.open_channel(label)
        self._to_agent.append(Message(channel, data))
        self._progress.unpark_all()

    def close(self) -> None:
        """End all channels: the call is over."""
        self.is_closed = True
        self.channels.clear()
        self._from_agent.close()
        self._progress.unpark_all()
