"""What an association tells its owner."""

from enum import Enum

import attrs

__all__ = [
    "AssociationClosed",
    "AssociationEstablished",
    "CloseCause",
    "Event",
    "MessageReceived",
    "StreamsReset",
]


class CloseCause(Enum):
    """Why an association is over."""

    SHUTDOWN = "shutdown"
    """In good order: all that was sent has arrived."""
    ABORTED = "aborted"
    """One end had enough."""
    TIMED_OUT = "timed out"
    """What was sent again and again was never answered."""
    RESTARTED = "restarted"
    """The peer began anew and knows nothing of this association."""
    PROTOCOL_VIOLATION = "protocol violation"
    """The peer did what no peer may, such as a message longer than was agreed."""


@attrs.frozen(kw_only=True)
class AssociationEstablished:
    """Both ends know each other; messages flow."""

    outbound_streams: int
    """Streams that we may send on, from 0."""
    inbound_streams: int
    """Streams that the peer may send on, from 0."""


@attrs.frozen(kw_only=True)
class MessageReceived:
    """A whole message; it counts against the window until the owner has consumed it."""

    stream_id: int
    protocol_id: int
    data: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class StreamsReset:
    """Streams begin anew, or were refused that and are as good as closed."""

    stream_ids: tuple[int, ...]
    is_remote: bool
    """True for streams of the peer towards us, False for ours after `reset_streams`."""


@attrs.frozen(kw_only=True)
class AssociationClosed:
    """The association is over; the last event."""

    cause: CloseCause
    detail: str
    """One sentence for a log."""
    is_remote: bool
    """Whether it was the peer that ended it."""


Event = AssociationEstablished | MessageReceived | StreamsReset | AssociationClosed
