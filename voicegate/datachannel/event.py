"""What happens to channels."""

import attrs

from voicegate.datachannel.channel import Channel

__all__ = ["ChannelClosed", "ChannelOpened", "DataEstablished", "DataFailed", "Event"]


@attrs.frozen
class DataEstablished:
    """The association is up: what was queued before is on its way."""


@attrs.frozen(kw_only=True)
class ChannelOpened:
    """A channel is open on both sides, as far as can be known. Comes before its first message.

    A negotiated channel is taken to be once the association is up.
    """

    channel: Channel
    is_remote: bool
    """Whether the peer opened it: then nobody here has heard of it before."""


@attrs.frozen(kw_only=True)
class ChannelClosed:
    """A channel is gone, whoever closed it, or the peer refused it. Comes after its last message."""

    channel: Channel


@attrs.frozen(kw_only=True)
class DataFailed:
    """The association is over, and with it every channel."""

    detail: str
    """One sentence for a log."""
    is_remote: bool
    """Whether it was the peer that ended it."""


Event = DataEstablished | ChannelOpened | ChannelClosed | DataFailed
