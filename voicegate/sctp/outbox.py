"""What an association's parts produce, collected in one place, and the bundling of chunks into packets."""

from collections import Counter, deque
from typing import Final

import attrs

from voicegate.sctp.chunk import ChunkType, encode_chunk
from voicegate.sctp.event import Event
from voicegate.sctp.packet import PACKET_HEADER_LENGTH, Packet
from voicegate.sctp.parameter import CauseCode, Parameter
from voicegate.sctp.statistic import DropReason

__all__ = ["Outbox"]

_MAX_REPORTS: Final = 8
"""ERROR chunks in answer to one packet; more would be a way to make us talk."""


@attrs.define(kw_only=True)
class Outbox:
    """Packets and events on their way out, and the counters."""

    local_port: int
    remote_port: int
    mtu: int
    """The longest packet."""
    tag: int = 0
    """The verification tag that the peer wants."""
    transmits: deque[bytes] = attrs.field(factory=deque, repr=False)
    events: deque[Event] = attrs.field(factory=deque)
    dropped: Counter[DropReason] = attrs.field(factory=Counter)
    packets_sent: int = 0
    messages_received: int = 0
    reports: int = 0
    """ERROR chunks in answer to the present packet."""
    _chunks: list[bytes] = attrs.field(factory=list, init=False, repr=False)
    _length: int = attrs.field(default=PACKET_HEADER_LENGTH, init=False)

    @property
    def room(self) -> int:
        """Bytes that fit into the packet begun."""
        return self.mtu - self._length

    @property
    def is_empty(self) -> bool:
        """Whether no packet is begun."""
        return not self._chunks

    def add(self, chunk: bytes) -> None:
        """Put a chunk into the packet begun, or into the next where it does not fit."""
        length = len(chunk) + 3 & ~3
        if self._length + length > self.mtu:
            self.seal()
        self._chunks.append(chunk)
        self._length += length

    def seal(self) -> None:
        """Send the packet begun, if any."""
        if self._chunks:
            self.send(*self._chunks)
            self._chunks = []
            self._length = PACKET_HEADER_LENGTH

    def send(self, *chunks: bytes, tag: int | None = None) -> None:
        """Send chunks as a packet of their own, by default with the peer's tag."""
        self.transmits.append(
            Packet(self.local_port, self.remote_port, self.tag if tag is None else tag, chunks).encode()
        )
        self.packets_sent += 1

    def report(self, code: CauseCode, value: bytes) -> None:
        """Put an ERROR into the packet begun, unless it is too long or there were several."""
        error = encode_chunk(ChunkType.ERROR, Parameter(code, value).encode())
        if len(error) > self.mtu - PACKET_HEADER_LENGTH:
            self.drop(DropReason.OVERSIZED_REPLY)
        elif self.reports < _MAX_REPORTS:
            self.reports += 1
            self.add(error)

    def drop(self, reason: DropReason) -> None:
        """Count something that was not used."""
        self.dropped[reason] += 1
