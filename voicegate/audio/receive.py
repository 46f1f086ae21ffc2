"""Arriving packets, put in order; how long to wait for one that is missing is for the owner to say.

1. `pop` gives the packet whose turn it is, if it is there. Packets behind a gap are held.
2. A RED packet brings copies (RFC 2198): one takes the place of a packet that has not come, and none is used
   twice.
3. `give_up` ends the wait for what is missing: a `Lost` comes out, with the payload behind it, which may hold
   a copy (FEC). What comes after that is late, what comes again is a duplicate; both are counted and dropped.
4. A packet of nothing but padding, as libwebrtc sends to probe the line, only uses up its number.
5. A new SSRC, or a sequence number too far away, begins a new stream; what is held of the old comes first.

Only sequence numbers tell of loss. A jump of the timestamp alone is silence that the client did not send.
"""

from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from voicegate.audio.codec import Codec
from voicegate.audio.red import RedPayload
from voicegate.errors import WireError
from voicegate.rtp.packet import RtpPacket

__all__ = ["DropReason", "Lost", "ReceiveBuffer", "ReceiveItem", "ReceiveStatistics", "Received"]

MAX_HELD: Final = 128
"""Packets: more than the longest delay has room for, if they have 2.5 ms or more."""

MAX_DROPOUT: Final = 3000
MAX_MISORDER: Final = 100
"""Farther ahead or behind, a sequence number begins a new stream (the figures of RFC 3550 §A.1)."""

MAX_LOST_MS: Final = 120
"""What a gap asks a codec to make up at most: the longest Opus packet. A longer outage is silence."""

_QUANTA_PER_SECOND: Final = 400
"""Codecs make up multiples of 2.5 ms."""


class DropReason(Enum):
    """Why a packet was not released."""

    LATE = "late"
    """Came after it had been given up."""
    DUPLICATE = "duplicate"
    """Came again, or after its copy, or before the first of its stream."""
    MALFORMED = "malformed"
    """Cannot be a payload of this codec."""
    OVERFLOW = "overflow"
    """Came when more were held than any delay needs."""


class Received(NamedTuple):
    """A packet in its turn."""

    payload: bytes
    ticks: int
    """Its length on the RTP clock."""
    timestamp: int
    """Of RTP, 32 bits."""
    position: int
    """Ticks from the start of the first stream; each stream goes on where the last one ended."""
    level: int | None = None
    is_voice: bool | None = None
    is_copy: bool = False
    """Whether another packet brought it."""


class Lost(NamedTuple):
    """Audio that has been given up."""

    ticks: int
    timestamp: int
    position: int
    following: bytes = b""
    """The payload right behind it, if it is there; it may carry a copy of what was lost."""


ReceiveItem: TypeAlias = Received | Lost


class ReceiveStatistics(NamedTuple):
    """What became of the packets; those held right now are in none of the counts."""

    received: int
    """Released in their turn."""
    recovered: int
    """Released from a copy in a RED packet."""
    lost: int
    """Never came, or too late."""
    restarts: int
    """New streams in place of an old one."""
    dropped: Mapping[str, int]
    """By the value of `DropReason`."""


class _Held(NamedTuple):
    payload: bytes
    ticks: int
    timestamp: int
    level: int | None
    is_voice: bool | None
    is_copy: bool
    arrival: float


class ReceiveBuffer:
    """The packets of one call's audio, in order.

    Args:
        codec: whose payloads these are.
        payload_type: of the codec.
        red: payload type of RED around it, if that may come too.

    `push` each packet, then `pop`, and `give_up` what is not worth waiting for, until both return None.
    """

    def __init__(self, codec: Codec, *, payload_type: int, red: int | None = None) -> None:
        self._is_empty = True
        """Whether nothing is in `_held` or `_ready`."""
        self._expected = 0
        self._timestamp = 0
        self._ssrc = -1
        self._payload_type = payload_type
        self._duration = codec.duration
        self._ticks = 0
        self.position = 0
        """Where the next packet will begin, unless there is a pause before it."""
        self._received = 0
        self._clock_rate = codec.clock_rate
        self._max_lost = codec.clock_rate * MAX_LOST_MS // 1000
        self._red = red
        self._held: dict[int, _Held] = {}
        self._given_up: deque[int] = deque(maxlen=MAX_MISORDER)
        self._ready: deque[ReceiveItem] = deque()
        self._recovered = self._lost = self._restarts = 0
        self._drops = dict.fromkeys(DropReason, 0)

    # Input

    def take(self, packet: RtpPacket) -> int:
        """Pass a packet right through if there is nothing to it, and return its ticks; else 0: `push` it.

        The straight way of nearly all packets: in its turn, no pause before it, nothing held.
        """
        if (
            not self._is_empty
            or packet.sequence_number != self._expected
            or packet.timestamp != self._timestamp
            or packet.ssrc != self._ssrc
            or packet.payload_type != self._payload_type
        ):
            return 0
        try:
            ticks = self._duration(packet.payload)
        except WireError:
            return 0
        self._expected = (self._expected + 1) & 0xFFFF
        self._timestamp = (self._timestamp + ticks) & 0xFFFFFFFF
        self._ticks = ticks
        self.position += ticks
        self._received += 1
        return ticks

    def push(
        self, packet: RtpPacket, *, level: int | None = None, is_voice: bool | None = None, now: float
    ) -> DropReason | None:
        """Take a packet as it arrives; return why it is dropped, if it is."""
        reason = self._push(packet, level, is_voice, now)
        self._note_empty()
        if reason is not None:
            self._drops[reason] += 1
        return reason

    # Output

    def pop(self) -> ReceiveItem | None:
        """Return what comes next, if it is there."""
        if self._is_empty:
            return None
        item = self._ready.popleft() if self._ready else self._pop_held()
        self._note_empty()
        return item

    def give_up(self, *, is_whole: bool = True) -> Lost | None:
        """Stop waiting for the first gap, or only for the first packet of it; None when there is none.

        Of a gap of more than 120 ms, only the last are made up.
        """
        missing = self.gap
        if not missing:
            return None
        lost = self._give_up(missing, is_whole=is_whole)
        self._note_empty()
        return lost

    @property
    def restarts(self) -> int:
        """How many streams have taken the place of another."""
        return self._restarts

    @property
    def gap(self) -> int:
        """How many packets are missing before the first one that is held."""
        if not self._held or self._expected in self._held:
            return 0
        expected = self._expected
        return min((number - expected) & 0xFFFF for number in self._held)

    @property
    def waiting_since(self) -> float | None:
        """When the first packet came that now has to wait."""
        return min((held.arrival for held in self._held.values()), default=None)

    @property
    def packet_ticks(self) -> int:
        """How long the last packet was."""
        return self._ticks

    @property
    def held_ticks(self) -> int:
        """About how much audio there is, gaps among it."""
        ticks = sum(item.ticks for item in self._ready) if self._ready else 0
        if self._held:
            expected, held = self._expected, self._held
            missing = 1 + max((number - expected) & 0xFFFF for number in held) - len(held)
            ticks += self._ticks * len(held) + min(self._ticks * missing, self._max_lost)
        return ticks

    def missing(self) -> list[int]:
        """Return the sequence numbers that packets have come behind of, at most 100, the latest."""
        if not self._held:
            return []
        expected, held = self._expected, self._held
        ahead = max((number - expected) & 0xFFFF for number in held)
        if ahead < len(held):
            return []
        return [
            number
            for index in range(max(0, ahead - MAX_MISORDER), ahead)
            if (number := (expected + index) & 0xFFFF) not in held
        ]

    def position_of(self, timestamp: int) -> int:
        """Return where a timestamp of the present stream lies."""
        return self.position + _difference(timestamp, self._timestamp)

    @property
    def next_position(self) -> int | None:
        """Where what is held begins, or the loss right before it."""
        if self._ready:
            return self._ready[0].position
        if not self._held:
            return None
        gap = self.gap
        held = self._held[(self._expected + gap) & 0xFFFF]
        return max(self.position, self.position_of(held.timestamp) - min(gap * self._ticks, self._max_lost))

    def statistics(self) -> ReceiveStatistics:
        """Return the counts."""
        return ReceiveStatistics(
            received=self._received,
            recovered=self._recovered,
            lost=self._lost,
            restarts=self._restarts,
            dropped={reason.value: count for reason, count in self._drops.items()},
        )

    # Internals

    def _note_empty(self) -> None:
        self._is_empty = not (self._held or self._ready)

    def _push(
        self, packet: RtpPacket, level: int | None, is_voice: bool | None, now: float
    ) -> DropReason | None:
        if len(self._held) + len(self._ready) >= MAX_HELD:
            return DropReason.OVERFLOW
        copies: list[tuple[int, _Held]] = []
        payload, sequence_number = packet.payload, packet.sequence_number
        ticks = 0
        try:
            if payload:
                if packet.payload_type == self._red:
                    payload, copies = self._open_red(packet, now)
                elif packet.payload_type != self._payload_type:
                    return DropReason.MALFORMED
                ticks = self._duration(payload)
        except WireError:
            return DropReason.MALFORMED
        ahead = (sequence_number - self._expected) & 0xFFFF
        if packet.ssrc != self._ssrc or MAX_DROPOUT < ahead < 0x10000 - MAX_MISORDER:
            self._restart(packet)
            ahead = 0
        for number, copy in copies:
            if (number - self._expected) & 0xFFFF < ahead <= MAX_DROPOUT:
                self._held.setdefault(number, copy)
        if ahead > MAX_DROPOUT:
            return DropReason.LATE if sequence_number in self._given_up else DropReason.DUPLICATE
        if sequence_number in self._held:
            return DropReason.DUPLICATE
        self._held[sequence_number] = _Held(payload, ticks, packet.timestamp, level, is_voice, False, now)
        self._pass_padding()
        return None

    def _pass_padding(self) -> None:
        """Let what is only padding have had its turn; called wherever the turn changes."""
        held = self._held
        while (turn := held.get(self._expected)) is not None and not turn.payload:
            del held[self._expected]
            self._expected = (self._expected + 1) & 0xFFFF

    def _open_red(self, packet: RtpPacket, now: float) -> tuple[bytes, list[tuple[int, _Held]]]:
        """Return the primary of a RED packet, and its copies with the numbers of the packets they were.

        Errors: WireError when the primary is none of the codec's.
        """
        red = RedPayload.decode(packet.payload)
        if red.payload_type != self._payload_type:
            raise WireError(f"RED around payload type {red.payload_type}, {self._payload_type} expected")
        copies = []
        newer = 0
        # No number is in a copy: the last is of the packet right before this one, and so on.
        for distance, (payload_type, offset, payload) in enumerate(reversed(red.copies), 1):
            if payload_type != self._payload_type or offset <= newer or distance > MAX_MISORDER:
                break
            newer = offset
            try:
                ticks = self._duration(payload)
            except WireError:
                break
            timestamp = (packet.timestamp - offset) & 0xFFFFFFFF
            copy = _Held(payload, ticks, timestamp, None, None, True, now)
            copies.append(((packet.sequence_number - distance) & 0xFFFF, copy))
        return red.primary, copies

    def _restart(self, packet: RtpPacket) -> None:
        """Begin a stream, behind what is left of the one before."""
        self._restarts += self._ssrc >= 0
        while self._held:
            self._ready.append(self._pop_held() or self._give_up(self.gap, is_whole=True))
        self._given_up.clear()
        self._ssrc = packet.ssrc
        self._expected = packet.sequence_number
        self._timestamp = packet.timestamp

    def _pop_held(self) -> Received | None:
        held = self._held.pop(self._expected, None)
        if held is None:
            return None
        payload, ticks, timestamp, level, is_voice, is_copy, _arrival = held
        self._advance_to(timestamp)
        item = Received(payload, ticks, timestamp, self.position, level, is_voice, is_copy)
        self._expected = (self._expected + 1) & 0xFFFF
        self._ticks = ticks
        self._advance(ticks)
        self._pass_padding()
        self._received += not is_copy
        self._recovered += is_copy
        return item

    def _give_up(self, missing: int, *, is_whole: bool) -> Lost:
        behind = self._held[(self._expected + missing) & 0xFFFF]
        pause = _difference(behind.timestamp, self._timestamp)
        # Where the timestamps leave more room than the packets need, there was a pause as well, before them.
        each = self._ticks if pause <= 0 else min(self._ticks, pause // missing)
        each -= each % max(1, self._clock_rate // _QUANTA_PER_SECOND)
        kept = min(missing, self._max_lost // each) if each else 0
        given_up = missing if is_whole or not kept else missing - kept + 1
        ticks = each * (kept if is_whole else min(kept, 1))
        self._advance_to((behind.timestamp - each * kept) & 0xFFFFFFFF)
        lost = Lost(ticks, self._timestamp, self.position, behind.payload if given_up == missing else b"")
        self._given_up.extend(
            (self._expected + index) & 0xFFFF for index in range(max(0, given_up - MAX_MISORDER), given_up)
        )
        self._lost += given_up
        self._expected = (self._expected + given_up) & 0xFFFF
        self._advance(ticks)
        self._pass_padding()
        return lost

    def _advance_to(self, timestamp: int) -> None:
        """Leave out the pause before a timestamp; one that goes back is taken for this very moment."""
        self.position += max(0, _difference(timestamp, self._timestamp))
        self._timestamp = timestamp

    def _advance(self, ticks: int) -> None:
        self.position += ticks
        self._timestamp = (self._timestamp + ticks) & 0xFFFFFFFF


def _difference(timestamp: int, reference: int) -> int:
    """Return how far a 32-bit timestamp is ahead of another, negative if it is behind."""
    return ((timestamp - reference + 0x80000000) & 0xFFFFFFFF) - 0x80000000
