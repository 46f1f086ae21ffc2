"""The link of a call whose client offered no data channels."""

from collections.abc import Mapping
from typing import Unpack

import trio

from voicegate.channel import ChannelOptions, DataChannel, Message
from voicegate.errors import UsageError


class NoChannels:
    is_closed = False
    is_offered = False
    channels: Mapping[int, DataChannel] = {}

    def open_channel(self, label: str, **_options: Unpack[ChannelOptions]) -> DataChannel:
        raise UsageError(f"no channel {label!r}: this client offered none")

    def close_channel(self, channel_id: int) -> None:
        raise UsageError(f"no channel {channel_id}")

    def send_message(self, channel_id: int, data: str | bytes) -> None:
        raise UsageError(f"no channel {channel_id} for {len(data)}")

    def buffered(self, channel_id: int) -> int:
        return 0

    def take_message(self) -> Message | None:
        return None

    async def wait_progress(self) -> None:
        await trio.sleep_forever()
