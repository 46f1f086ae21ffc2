"""A call without data channels: its socket is spoken for."""

from collections.abc import Mapping
from typing import Final, Unpack

import trio

from voicegate.channel import ChannelOptions, DataChannel, Message
from voicegate.errors import UsageError

__all__ = ["NoChannels"]


class NoChannels:
    """A `voicegate.channel.ChannelLink` on which nothing ever comes."""

    is_offered: Final = False

    def __init__(self) -> None:
        self.channels: Final[Mapping[int, DataChannel]] = {}
        self._closed = trio.Event()

    @property
    def is_closed(self) -> bool:
        """Whether the call is over."""
        return self._closed.is_set()

    def open_channel(self, label: str, **options: Unpack[ChannelOptions]) -> DataChannel:  # noqa: ARG002
        """Refuse."""
        raise UsageError("this client has no data channels")

    def close_channel(self, channel_id: int) -> None:
        """Do nothing: there is none."""

    def send_message(self, channel_id: int, data: str | bytes) -> None:  # noqa: ARG002
        """Refuse."""
        raise UsageError("this client has no data channels")

    def buffered(self, channel_id: int) -> int:  # noqa: ARG002
        """Return nothing."""
        return 0

    def take_message(self) -> Message | None:
        """Return none."""
        return None

    async def wait_progress(self) -> None:
        """Wait until the call is over.

        Errors: ClosedResourceError then.
        """
        await self._closed.wait()
        raise trio.ClosedResourceError

    def close(self) -> None:
        """Let those go who wait."""
        self._closed.set()
