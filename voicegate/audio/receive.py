"""Arriving packets, put in order with as little delay as possible.

1. A packet in its turn is released at once: nothing is delayed to smooth jitter, since a machine listens.
2. Behind a gap packets are held until the missing one comes, three are held, or the first has waited 60 ms.
3. Then the gap is given up: a `Lost` comes out, with the payload behind it, which may hold a copy for FEC.
4. What comes after that is late, what comes again is a duplicate; both are counted and dropped.
5. A new SSRC, or a sequence number too far away, begins a new stream; what is held of the old comes first.

Only sequence numbers tell of loss. A jump of the timestamp alone is silence that the client did not send.
"""

from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

import attrs

from voicegate.audio.codec import Codec
from voicegate.errors import WireError
from voicegate.rtp.packet import RtpPacket

__all__ = ["DropReason", "Lost", "ReceiveBuffer", "ReceiveItem", "ReceiveStatistics", "Received"]

MAX_HELD: Final = 3
"""Packets behind a gap: one that was overtaken by three will hardly come in time, as TCP reckons too."""

HOLD_SECONDS: Final = 0.060
"""As long as three packets take to arrive, for when the stream pauses behind the gap."""

MAX_DROPOUT: Final = 3000
MAX_MISORDER: Final = 100
"""Farther ahead or behind, a sequence number begins a new stream (the figures of RFC 3550 §A.1)."""

MAX_LOST_MS: Final = 120
"""What a gap asks a codec to make up at most: the longest Opus packet. A longer outage is silence."""


class DropReason(Enum):
    """Why a packet was not released."""

    LATE = "late"
    """Came after it had been given up."""
    DUPLICATE = "duplicate"
    """Came again, or before the first of its stream."""
    MALFORMED = "malformed"
    """Cannot be a payload of this codec."""


class Received(NamedTuple):
    """A packet in its turn."""

    payload: bytes
    timestamp: int


class Lost(NamedTuple):
    """A gap that has been given up."""

    samples: int
    """How much to conceal, in RTP ticks."""
    timestamp: int
    """Of the first of these samples."""
    following: bytes
    """The payload right behind the gap, which comes out next; it may carry a copy of what was lost."""


ReceiveItem: TypeAlias = Received | Lost


@attrs.frozen(kw_only=True)
class ReceiveStatistics:
    """What became of the packets; those held right now are in none of the counts."""

    received: int
    """Released in their turn."""
    lost: int
    """Never came, or too late."""
    restarts: int
    """New streams in place of an old one."""
    dropped: Mapping[str, int]
    """By the value of `DropReason`."""


class _Held(NamedTuple):
    packet: RtpPacket
    arrival: float
    samples: int


class ReceiveBuffer:
    """The packets of one call's audio, in order.

    Drain rule: after each `push` or `handle_timeout`, `poll` until None, then read `poll_timeout`.
    """

    # Input

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._max_lost = codec.clock_rate * MAX_LOST_MS // 1000
        self._ssrc: int | None = None
        self._expected = 0
        self._samples = 0
        self._held: dict[int, _Held] = {}
        self._given_up: deque[int] = deque(maxlen=MAX_MISORDER)
        self._ready: deque[ReceiveItem] = deque()
        self._received = self._lost = self._restarts = 0
        self._drops = dict.fromkeys(DropReason, 0)

    def push(self, packet: RtpPacket, *, now: float) -> None:
        """Take a packet as it arrives."""
        self.handle_timeout(now)
        try:
            held = _Held(packet, now, self._codec.duration(packet.payload))
        except WireError:
            self._drops[DropReason.MALFORMED] += 1
            return
        sequence_number = packet.sequence_number
        ahead = (sequence_number - self._expected) & 0xFFFF
        if packet.ssrc != self._ssrc or MAX_DROPOUT < ahead < 0x10000 - MAX_MISORDER:
            self._restart(packet.ssrc)
            ahead = 0
        if ahead == 0:
            self._release(sequence_number, held)
        elif ahead > MAX_DROPOUT:
            reason = DropReason.LATE if sequence_number in self._given_up else DropReason.DUPLICATE
            self._drops[reason] += 1
        elif sequence_number in self._held:
            self._drops[DropReason.DUPLICATE] += 1
        else:
            self._held[sequence_number] = held
            if len(self._held) >= MAX_HELD:
                self._give_up()

    def handle_timeout(self, now: float) -> None:
        """Give up the gaps behind which a packet has waited for too long."""
        while (deadline := self.poll_timeout()) is not None and deadline <= now:
            self._give_up()

    # Output

    def poll(self) -> ReceiveItem | None:
        """Return what comes next, if it is there."""
        return self._ready.popleft() if self._ready else None

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is due, if at all."""
        if not self._held:
            return None
        return min(held.arrival for held in self._held.values()) + HOLD_SECONDS

    def statistics(self) -> ReceiveStatistics:
        """Return the counts."""
        return ReceiveStatistics(
            received=self._received,
            lost=self._lost,
            restarts=self._restarts,
            dropped={reason.value: count for reason, count in self._drops.items()},
        )

    # Internals

    def _restart(self, ssrc: int) -> None:
        while self._held:
            self._give_up()
        self._given_up.clear()
        self._restarts += self._ssrc is not None
        self._ssrc = ssrc

    def _release(self, sequence_number: int, held: _Held | None) -> None:
        """Let out a packet and those held that follow it without a gap."""
        while held is not None:
            self._ready.append(Received(held.packet.payload, held.packet.timestamp))
            self._received += 1
            self._samples = held.samples
            sequence_number = (sequence_number + 1) & 0xFFFF
            held = self._held.pop(sequence_number, None)
        self._expected = sequence_number

    def _give_up(self) -> None:
        """Report the first gap as lost and let out what is behind it."""
        expected = self._expected
        missing, sequence_number = min(((number - expected) & 0xFFFF, number) for number in self._held)
        held = self._held.pop(sequence_number)
        samples = min(missing * self._samples, self._max_lost)
        timestamp = (held.packet.timestamp - samples) & 0xFFFFFFFF
        self._ready.append(Lost(samples, timestamp, held.packet.payload))
        self._lost += missing
        self._given_up.extend((expected + index) & 0xFFFF for index in range(missing))
        self._release(sequence_number, held)
