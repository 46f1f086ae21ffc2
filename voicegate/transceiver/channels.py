"""The data channels of a call, between its agent's task and its core."""

from collections.abc import Callable
from typing import Final, Unpack

import trio

from voicegate.channel import ChannelOptions, DataChannel, Message
from voicegate.datachannel import Channel, DataChannels
from voicegate.errors import UsageError
from voicegate.transceiver.core import CallCore
from voicegate.transceiver.event import State

__all__ = ["CallChannels"]


class CallChannels:
    """What `voicegate.channel.ChannelLink` promises; ``touch`` lets out what a command has brought about."""

    def __init__(self, core: CallCore, touch: Callable[[], None]) -> None:
        self.channels: Final[dict[int, DataChannel]] = {}
        self._core = core
        self._is_over = False
        self._touch = touch
        # Also those that are closed: their last messages may still wait.
        self._known: dict[int, DataChannel] = {}
        self._waiting = trio.lowlevel.ParkingLot()

    # The agent's side

    @property
    def is_closed(self) -> bool:
        """Whether the call is over."""
        return self._is_over or self._core.state is State.CLOSED

    @property
    def is_offered(self) -> bool:
        """Whether the client can have channels at all."""
        return self._core.channels is not None

    def open_channel(self, label: str, **options: Unpack[ChannelOptions]) -> DataChannel:
        """Open a channel."""
        now = trio.current_time()
        channel = self._require().open(label=label, now=now, **options)
        self._let_out(now)
        return self.admit(channel)

    def close_channel(self, channel_id: int) -> None:
        """Close a channel."""
        now = trio.current_time()
        self._require().close_channel(channel_id, now=now)
        self.channels.pop(channel_id, None)
        self._let_out(now)

    def send_message(self, channel_id: int, data: str | bytes) -> None:
        """Send a message."""
        now = trio.current_time()
        self._require().send(channel_id, data, now=now)
        self._let_out(now)

    def buffered(self, channel_id: int) -> int:
        """Return the bytes of a channel that the client has not acknowledged."""
        return self._core.channels.buffered(channel_id) if self._core.channels else 0

    def take_message(self) -> Message | None:
        """Return the client's next message."""
        message = self._core.channels.poll_message() if self._core.channels and not self.is_closed else None
        if message is None:
            return None
        self._let_out(trio.current_time())
        return Message(self._known[message.channel_id], message.data)

    async def wait_progress(self) -> None:
        """Wait until a packet came, a channel opened or closed, or the call ended."""
        if not self.is_closed:
            await self._waiting.park()
            # Whatever ended the call has cancelled its agent, too: that is what the agent is to see.
            await trio.lowlevel.checkpoint_if_cancelled()
        if self.is_closed:
            raise trio.ClosedResourceError("the call is over")

    # The core's side

    def admit(self, channel: Channel) -> DataChannel:
        """Take up a channel, if it is new."""
        known = self.channels.get(channel.id)
        if known is None:
            known = self.channels[channel.id] = self._known[channel.id] = DataChannel(self, channel)
        self.progress()
        return known

    def dismiss(self, channel: Channel) -> DataChannel:
        """Give up a channel that was closed."""
        self.channels.pop(channel.id, None)
        self.progress()
        return self._known.get(channel.id) or DataChannel(self, channel)

    def progress(self) -> None:
        """Wake whoever waits."""
        self._waiting.unpark_all()

    def close(self) -> None:
        """End all channels: the call is over."""
        self._is_over = True
        self.channels.clear()
        self.progress()

    # Internals

    def _require(self) -> DataChannels:
        if self._core.channels is None:
            raise UsageError("this client offered no data channels")
        return self._core.channels

    def _let_out(self, now: float) -> None:
        self._core.flush(now=now)
        self._touch()
