"""What a connection counts."""

from collections.abc import Mapping
from enum import Enum

import attrs

__all__ = ["DropReason", "Statistics"]


class DropReason(Enum):
    """Why a record, or a fragment inside one, was not used. None of these ends a connection."""

    MALFORMED_RECORD = "malformed record"
    """The rest of a datagram could not be read as records, or an alert or ChangeCipherSpec not as one."""
    UNKNOWN_EPOCH = "unknown epoch"
    UNEXPECTED_RECORD = "unexpected record"
    """A content type that has no place now."""
    UNPROTECTED = "unprotected"
    """In the clear when only protected records count."""
    TOO_EARLY = "too early"
    """Protected, and more than may be held until it can be read."""
    REPLAYED = "replayed"
    BAD_MAC = "bad mac"
    MALFORMED_FRAGMENT = "malformed fragment"
    REPEATED_MESSAGE = "repeated message"
    """A fragment of a handshake message that was handled already."""
    UNFITTING_FRAGMENT = "unfitting fragment"
    """A fragment that contradicts others, belongs to a message too far ahead or is too long to hold."""
    WARNING_ALERT = "warning alert"
    AFTER_END = "after end"
    """The connection was closed or had failed."""


@attrs.frozen(kw_only=True)
class Statistics:
    """A snapshot of a connection's counters."""

    datagrams_received: int
    records_received: int
    datagrams_sent: int
    """As handed to the transmit queue."""
    retransmissions: int
    """Flights sent again, by timer or because the peer sent its own again."""
    dropped: Mapping[DropReason, int]
    """Only reasons that occurred."""
