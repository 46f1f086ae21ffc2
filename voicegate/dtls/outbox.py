"""What a connection's parts produce, collected in one place."""

from collections import Counter, deque

import attrs

from voicegate.dtls.event import Event, HandshakeStarted
from voicegate.dtls.statistic import DropReason

__all__ = ["Outbox"]


@attrs.define
class Outbox:
    """Datagrams and events on their way out, and the counters."""

    transmits: deque[bytes] = attrs.field(factory=deque, repr=False)
    events: deque[Event] = attrs.field(factory=deque)
    dropped: Counter[DropReason] = attrs.field(factory=Counter)
    has_heard: bool = False
    datagrams_received: int = 0
    records_received: int = 0
    datagrams_sent: int = 0
    retransmissions: int = 0

    def hear(self) -> None:
        """Note that a handshake fragment of the peer was taken in."""
        if not self.has_heard:
            self.has_heard = True
            self.events.append(HandshakeStarted())

    def transmit(self, datagram: bytes) -> None:
        """Queue a datagram."""
        self.transmits.append(datagram)
        self.datagrams_sent += 1

    def drop(self, reason: DropReason) -> None:
        """Count something that was not used."""
        self.dropped[reason] += 1
