"""What an association counts."""

from collections.abc import Mapping
from enum import Enum

import attrs

__all__ = ["DropReason", "Statistics"]


class DropReason(Enum):
    """Why a packet, or a chunk inside one, was not used. None of these ends an association."""

    MALFORMED_PACKET = "malformed packet"
    """Too short, a wrong checksum, or chunks that do not fill it."""
    WRONG_PORT = "wrong port"
    WRONG_TAG = "wrong tag"
    """The verification tag is another association's."""
    MALFORMED_CHUNK = "malformed chunk"
    UNKNOWN_CHUNK = "unknown chunk"
    UNKNOWN_PARAMETER = "unknown parameter"
    UNEXPECTED_CHUNK = "unexpected chunk"
    """A chunk that has no place now, or not so often in one packet."""
    BAD_COOKIE = "bad cookie"
    """A cookie that we did not bake, or not for this."""
    STALE_COOKIE = "stale cookie"
    STALE_ACKNOWLEDGEMENT = "stale acknowledgement"
    """Older than one that has been seen."""
    FALSE_ACKNOWLEDGEMENT = "false acknowledgement"
    """Of what was never sent."""
    DUPLICATE_DATA = "duplicate data"
    DATA_TOO_FAR_AHEAD = "data too far ahead"
    WINDOW_EXCEEDED = "window exceeded"
    """More data, or more pieces of it, than there is room for."""
    INVALID_STREAM = "invalid stream"
    CONTRADICTING_FRAGMENT = "contradicting fragment"
    """Fragments that cannot be of one message where they must be, or a sequence number used twice."""
    OVERSIZED_REPLY = "oversized reply"
    """What would have to be answered at more length than a packet has."""
    AFTER_END = "after end"


@attrs.frozen(kw_only=True)
class Statistics:
    """A snapshot of an association's counters."""

    packets_received: int
    packets_sent: int
    """As handed to the transmit queue."""
    messages_received: int
    messages_sent: int
    """As queued."""
    retransmissions: int
    """DATA chunks sent again."""
    timeouts: int
    """How often the retransmission timer ran out."""
    abandoned: int
    """Messages given up under their limit of retransmissions or lifetime."""
    round_trip: float | None
    """Smoothed, in seconds; None when nothing is known."""
    congestion_window: int
    """Bytes that may be under way."""
    buffered_bytes: int
    """Queued and not yet acknowledged."""
    unconsumed_bytes: int
    """Received and not yet consumed."""
    dropped: Mapping[DropReason, int]
    """Only reasons that occurred."""
