"""Packets that pass through: someone's voice as it came, which has to go on in its own time or not at all.

The queue is kept as short as the way here allows: what is too much is dropped, and so is what was queued for
a second without ever being needed, as after a stall or from a sender whose clock is fast. A little that is
not needed waits for a quiet packet, which nobody misses: no syllable is worth so short a delay.
"""

from collections import deque
from typing import Final

__all__ = ["LiveQueue"]

LIMIT_MS: Final = 80
"""More than a few packets are queued only after a stall; they would delay all that follows, for ever."""

SPARE_PACKETS: Final = 3
"""So many may not lie there needlessly: one is dropped, whatever it says."""

QUIET_SPARE_PACKETS: Final = 2
"""Nor so many if a quiet one comes. Two clocks that meet leave one, and their jitter another."""

WINDOW: Final = 50
"""Packets over which the least is taken that lay in the queue: a second of them."""


class LiveQueue:
    """Packets in order of arrival, each played or dropped.

    Args:
        clock_rate: of RTP, in which packets are measured.
    """

    __slots__ = ("_has_spare", "_least", "_limit", "_ticks", "_until", "dropped", "packets")

    def __init__(self, *, clock_rate: int) -> None:
        self.dropped = 0
        """Packets that came or stayed too late to be played."""
        self.packets: Final[deque[tuple[bytes, int]]] = deque()
        """What waits: payloads and their ticks."""
        self._ticks = 0
        self._limit = clock_rate * LIMIT_MS // 1000
        self._least = WINDOW
        self._until = WINDOW
        self._has_spare = False
        """Whether a quiet packet is to be left out."""

    @property
    def next_ticks(self) -> int | None:
        """How long the packet is that comes next."""
        return self.packets[0][1] if self.packets else None

    def push(self, payload: bytes, ticks: int, *, is_quiet: bool = False) -> None:
        """Queue a packet; an empty one stands for a loss of so many ticks."""
        if is_quiet and self._has_spare:
            self._has_spare = False
            self.dropped += 1
            return
        self.packets.append((payload, ticks))
        self._ticks += ticks
        if self._ticks > self._limit:
            self._drop_overflow()

    def pull(self) -> tuple[bytes, int]:
        """Take the next packet; there has to be one."""
        packets = self.packets
        packet = packets.popleft()
        self._ticks -= packet[1]
        if len(packets) < self._least:
            self._least = len(packets)
            if self._least < QUIET_SPARE_PACKETS:
                self._has_spare = False
        self._until -= 1
        if not self._until:
            self._trim()
        return packet

    def skip(self, ticks: int) -> None:
        """Drop what should have been played in a time that went by."""
        while self.packets and ticks > 0:
            ticks -= self.packets[0][1]
            self._drop()

    def clear(self) -> None:
        """Drop everything."""
        self.dropped += len(self.packets)
        self.packets.clear()
        self._ticks = 0

    def _drop_overflow(self) -> None:
        while self._ticks > self._limit and len(self.packets) > 1:
            self._drop()

    def _trim(self) -> None:
        if self._least >= SPARE_PACKETS:
            self._drop()
        self._has_spare = self._least >= QUIET_SPARE_PACKETS
        self._least = self._until = WINDOW

    def _drop(self) -> None:
        self._ticks -= self.packets.popleft()[1]
        self.dropped += 1
