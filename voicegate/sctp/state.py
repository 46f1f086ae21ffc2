"""An association's life."""

from enum import Enum

__all__ = ["AssociationState"]


class AssociationState(Enum):
    """The states of RFC 9260 §4, in order."""

    NEW = "new"
    """Nothing was sent but perhaps an answer to the peer's INIT."""
    COOKIE_WAIT = "cookie wait"
    """INIT was sent."""
    COOKIE_ECHOED = "cookie echoed"
    """The peer's cookie was sent back, and data with it."""
    ESTABLISHED = "established"
    SHUTDOWN_PENDING = "shutdown pending"
    """We want to end, once all has arrived."""
    SHUTDOWN_SENT = "shutdown sent"
    SHUTDOWN_RECEIVED = "shutdown received"
    """The peer wants to end; what we have sent must arrive first."""
    SHUTDOWN_ACK_SENT = "shutdown ack sent"
    CLOSED = "closed"
