"""Two associations and a bad line between them, in virtual time."""

from collections.abc import Callable
from random import Random
from typing import Any

import attrs

from voicegate.sctp import Event, Init, MessageReceived, SctpAssociation
from voicegate.sctp.packet import Packet
from voicegate.testing.link import Link

__all__ = [
    "Pair",
    "chunks_of",
    "drain_events",
    "drain_transmits",
    "established",
    "make_association",
    "packet_to",
]


def make_association(seed: int = 0, **options: Any) -> SctpAssociation:
    return SctpAssociation(random=Random(seed).randbytes, now=options.pop("now", 0.0), **options)


def drain_transmits(association: SctpAssociation) -> list[bytes]:
    return list(iter(association.poll_transmit, None))


def drain_events(association: SctpAssociation) -> list[Event]:
    return list(iter(association.poll_event, None))


def chunks_of(packets: list[bytes]) -> list[list[int]]:
    """Return the chunk types in each packet."""
    return [[chunk[0] for chunk in Packet.decode(packet).chunks] for packet in packets]


def packet_to(association: SctpAssociation, *chunks: bytes, tag: int | None = None) -> bytes:
    """Make a packet as its peer would."""
    return Packet(5000, 5000, association.init.initiate_tag if tag is None else tag, chunks).encode()


@attrs.define(eq=False)
class Pair:
    """Carries packets between two associations and collects what they tell."""

    one: SctpAssociation = attrs.field(factory=lambda: make_association(1))
    other: SctpAssociation = attrs.field(factory=lambda: make_association(2))
    there: Link = attrs.field(factory=Link)
    back: Link = attrs.field(factory=Link)
    now: float = 0.0
    consumes: bool = True
    one_events: list[Event] = attrs.field(factory=list)
    other_events: list[Event] = attrs.field(factory=list)
    sent: list[tuple[SctpAssociation, bytes]] = attrs.field(factory=list)
    fate: Callable[[bytes], bool] = lambda _packet: True
    """Says of a packet whether it gets through."""

    def establish(self) -> "Pair":
        """Begin with SNAP."""
        self.one.start_with(Init.decode(self.other.init.encode()), now=self.now)
        self.other.start_with(Init.decode(self.one.init.encode()), now=self.now)
        self.drain()
        self.one_events.clear()
        self.other_events.clear()
        return self

    def run(self, *, until: float = 600.0) -> None:
        """Deliver and let time pass until nothing more is due, or the clock says ``until``."""
        self.drain()
        while (due := self.next_due()) is not None and due <= until:
            self.now = max(self.now, due)
            self.step()
        if self.next_due() is not None:
            self.now = until

    def step(self) -> None:
        """Do what is due now."""
        for link, to in ((self.there, self.other), (self.back, self.one)):
            for packet in link.receive(now=self.now):
                to.handle_datagram(packet, now=self.now)
                self.drain()
        for end in (self.one, self.other):
            if (due := end.poll_timeout()) is not None and due <= self.now:
                end.handle_timeout(now=self.now)
                self.drain()

    def drain(self) -> None:
        for end, link, events in (
            (self.one, self.there, self.one_events),
            (self.other, self.back, self.other_events),
        ):
            for packet in drain_transmits(end):
                self.sent.append((end, packet))
                if self.fate(packet):
                    link.send(packet, now=self.now)
            for event in drain_events(end):
                events.append(event)
                if isinstance(event, MessageReceived) and self.consumes:
                    end.consume(len(event.data))
        # What was consumed may have opened a window.
        for end, link in ((self.one, self.there), (self.other, self.back)):
            for packet in drain_transmits(end):
                self.sent.append((end, packet))
                if self.fate(packet):
                    link.send(packet, now=self.now)

    def next_due(self) -> float | None:
        times = [end.poll_timeout() for end in (self.one, self.other, self.there, self.back)]
        return min((time for time in times if time is not None), default=None)

    def received(self, end: SctpAssociation) -> list[MessageReceived]:
        events = self.one_events if end is self.one else self.other_events
        return [event for event in events if isinstance(event, MessageReceived)]


def established(**options: Any) -> Pair:
    """Return a pair that is established, with the same options for both ends."""
    return Pair(one=make_association(1, **options), other=make_association(2, **options)).establish()
