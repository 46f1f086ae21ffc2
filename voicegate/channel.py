"""Data channels, as agent code sees them: messages out with back-pressure, messages in as they are wanted.

Nothing is queued here. What the agent has not received holds back the client's sending; what the client has
not acknowledged holds back the agent's.

Layer: shell (Trio).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol, Self, TypedDict, Unpack

import trio

from voicegate.datachannel import Channel

__all__ = ["ChannelLink", "ChannelOptions", "DataChannel", "Message", "MessageInput"]

_AHEAD_BYTES: Final = 1_048_576
"""`DataChannel.send` lets this much of a channel wait for acknowledgement before it waits itself."""


class ChannelOptions(TypedDict, total=False):
    """What a channel can be besides reliable, ordered, and announced to the client when it is opened."""

    protocol: str
    """Of the application, for the client to read."""
    is_ordered: bool
    max_retransmits: int | None
    """How often a lost piece of a message is sent again; without, until it arrives."""
    lifetime_ms: int | None
    """For how long it is, instead."""
    priority: int
    """Of its messages against those of other channels (RFC 8831 §6.4); 256 is normal."""
    negotiated_id: int | None
    """The client knows of the channel by this id, and is told nothing (RFC 8831 §6.5)."""


class ChannelLink(Protocol):
    """What channels need of the call that they belong to."""

    @property
    def channels(self) -> Mapping[int, "DataChannel"]:
        """The channels that are open or being opened, by id."""

    @property
    def is_closed(self) -> bool:
        """Whether the call is over."""

    @property
    def is_offered(self) -> bool:
        """Whether the client can have channels at all."""

    def open_channel(self, label: str, **options: Unpack[ChannelOptions]) -> "DataChannel":
        """Open a channel."""

    def close_channel(self, channel_id: int) -> None:
        """Close a channel."""

    def send_message(self, channel_id: int, data: str | bytes) -> None:
        """Send a message."""

    def buffered(self, channel_id: int) -> int:
        """Return the bytes of a channel that the client has not acknowledged."""

    def take_message(self) -> "Message | None":
        """Return the next message of the client's."""

    async def wait_progress(self) -> None:
        """Wait until something of the above may have changed.

        Errors: ClosedResourceError when the call is over.
        """


class DataChannel:
    """One data channel of a call (RFC 8831)."""

    def __init__(self, link: ChannelLink, parameters: Channel) -> None:
        self._link = link
        self.parameters: Final = parameters
        """Its reliability, order and priority."""

    @property
    def id(self) -> int:
        """The number of the channel; equals that of the SCTP stream."""
        return self.parameters.id

    @property
    def label(self) -> str:
        """What whoever opened it called it."""
        return self.parameters.label

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return not self._link.is_closed and self._link.channels.get(self.id) is self

    @property
    def buffered_bytes(self) -> int:
        """Bytes that the client has not acknowledged."""
        return self._link.buffered(self.id) if self.is_open else 0

    def send_nowait(self, data: str | bytes) -> None:
        """Send a message: a string as text, bytes as binary.

        Errors: ClosedResourceError when the channel is closed; UsageError for a message longer than the
        client takes, or when far too much waits already.
        """
        if not self.is_open:
            raise trio.ClosedResourceError(f"data channel {self.label!r} is closed")
        self._link.send_message(self.id, data)

    async def send(self, data: str | bytes) -> None:
        """Send a message once no more than a mebibyte waits on this channel.

        Errors: as `send_nowait`.
        Cancellation: a checkpoint always; when cancelled, nothing was sent.
        """
        await trio.lowlevel.checkpoint()
        while self.buffered_bytes > _AHEAD_BYTES:
            await self._link.wait_progress()
        self.send_nowait(data)

    def close(self) -> None:
        """Close the channel once all that was sent on it has arrived; harmless when it is closed."""
        if self.is_open:
            self._link.close_channel(self.id)

    def __repr__(self) -> str:
        return f"<DataChannel {self.id} {self.label!r} {'open' if self.is_open else 'closed'}>"


class Message(NamedTuple):
    """A message of the client's."""

    channel: DataChannel
    data: str | bytes


class MessageInput:
    """The client's messages, in the order they were completed in; ends with the call."""

    def __init__(self, link: ChannelLink) -> None:
        self._link = link

    def receive_nowait(self) -> Message:
        """Return the next message.

        Errors: WouldBlock when there is none yet; EndOfChannel when the call is over.
        """
        message = self._link.take_message()
        if message is not None:
            return message
        raise trio.EndOfChannel if self._link.is_closed else trio.WouldBlock

    async def receive(self) -> Message:
        """Return the next message, once there is one.

        Errors: EndOfChannel when the call is over.
        Cancellation: a checkpoint always; when cancelled, no message is lost.
        """
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return self.receive_nowait()
            except trio.WouldBlock:
                try:
                    await self._link.wait_progress()
                except trio.ClosedResourceError:
                    raise trio.EndOfChannel from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
