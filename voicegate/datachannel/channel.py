"""What a channel is, and how it is described to the peer."""

from typing import Final, Self

import attrs

from voicegate.datachannel.establishment import UNORDERED, ChannelType, DataChannelOpen
from voicegate.errors import UsageError, WireError

__all__ = ["MAX_NAME_LENGTH", "NORMAL_PRIORITY", "Channel"]

NORMAL_PRIORITY: Final = 256
"""Between "below normal" (128) and "high" (512) (RFC 8831 §6.4)."""
MAX_NAME_LENGTH: Final = 4096
"""Bytes of a label, and of a protocol. The format has room for 65535, but we keep them as long as a channel
lives, and what people call their channels is some words."""
MAX_RELIABILITY: Final = 0xFFFFFFFF


@attrs.frozen(kw_only=True)
class Channel:
    """A data channel, as both sides agree on it."""

    id: int
    """Of the stream that it takes in each direction."""
    label: str = ""
    protocol: str = ""
    is_ordered: bool = True
    max_retransmits: int | None = None
    """How often a message is sent again before it is given up; None: without end."""
    lifetime_ms: int | None = None
    """How long a message is tried for; None: without end."""
    priority: int = NORMAL_PRIORITY
    is_negotiated: bool = False
    """Whether both sides knew of it beforehand, so that nothing is said about it on the wire."""

    @classmethod
    def from_open(cls, stream_id: int, message: DataChannelOpen) -> Self:
        """Return the channel that the peer asks for.

        Errors: WireError when its type is unknown or a name too long.
        """
        if max(len(message.label.encode()), len(message.protocol.encode())) > MAX_NAME_LENGTH:
            raise WireError(f"a label or protocol of more than {MAX_NAME_LENGTH} bytes")
        kind = message.channel_type & ~UNORDERED
        if kind not in tuple(ChannelType):
            raise WireError(f"channel type {message.channel_type:#04x} is unknown")
        return cls(
            id=stream_id,
            label=message.label,
            protocol=message.protocol,
            is_ordered=not message.channel_type & UNORDERED,
            max_retransmits=message.reliability if kind == ChannelType.PARTIAL_RELIABLE_REXMIT else None,
            lifetime_ms=message.reliability if kind == ChannelType.PARTIAL_RELIABLE_TIMED else None,
            # Peers that know of no priorities write 0.
            priority=message.priority or NORMAL_PRIORITY,
        )

    def to_open(self) -> DataChannelOpen:
        """Return the message that asks the peer for this channel."""
        kind, reliability = ChannelType.RELIABLE, 0
        if self.max_retransmits is not None:
            kind, reliability = ChannelType.PARTIAL_RELIABLE_REXMIT, self.max_retransmits
        elif self.lifetime_ms is not None:
            kind, reliability = ChannelType.PARTIAL_RELIABLE_TIMED, self.lifetime_ms
        return DataChannelOpen(
            channel_type=kind | (0 if self.is_ordered else UNORDERED),
            priority=self.priority,
            reliability=reliability,
            label=self.label,
            protocol=self.protocol,
        )

    def validate(self) -> None:
        """See that a channel of our own making can be.

        Errors: UsageError.
        """
        if self.max_retransmits is not None and self.lifetime_ms is not None:
            raise UsageError("a channel is bounded by retransmissions or by lifetime, not by both")
        if not 0 <= (self.max_retransmits or self.lifetime_ms or 0) <= MAX_RELIABILITY:
            raise UsageError(f"retransmissions and lifetime are 0..{MAX_RELIABILITY}")
        if not 0 < self.priority <= 0xFFFF:
            raise UsageError(f"priority {self.priority}, 1..65535 possible")
        for name in (self.label, self.protocol):
            if len(name.encode(errors="surrogatepass")) > MAX_NAME_LENGTH:
                raise UsageError(f"label and protocol have at most {MAX_NAME_LENGTH} bytes each")
