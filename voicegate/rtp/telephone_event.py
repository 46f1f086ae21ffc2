"""Keys of a telephone in RTP: the ``telephone-event`` payload (RFC 4733 §2.3), and what was pressed.

Payload, 4 bytes: u8 event, end bit, reserved bit, 6 bits volume, u16 duration in ticks of its clock.

While a key is held, packets repeat the event with the timestamp of its beginning and a growing duration; the
last is sent three times, with the end bit (RFC 4733 §2.5.1). A press longer than the duration can say goes on
under a new timestamp (RFC 4733 §2.5.1.3), at 48 kHz after 1.4 s. Left out: several events in one payload,
which is for modems; events that are no keys are passed over.
"""

from collections import deque
from collections.abc import Mapping
from struct import Struct
from typing import Final, NamedTuple, Self

from voicegate.errors import WireError
from voicegate.rtp.packet import RtpPacket

__all__ = ["KeyPress", "KeyPresses", "TelephoneEvent"]

KEYS: Final = "0123456789*#ABCD"
"""By event code (RFC 4733 §3.2)."""

END_SECONDS: Final = 0.25
"""Without a packet for so long a key is taken for released: they come every 20 to 50 ms, so the end was lost
with all its repetitions."""

_MAX_DURATION: Final = 0xFFFF
_CONTINUED: Final = _MAX_DURATION * 9 // 10
"""Ticks from which on the next timestamp of the same key may go on with this press: the longest packet that
was lost may have been the last of its segment."""

_CONTINUED_BY: Final = _MAX_DURATION * 11 // 10
"""Ticks by which it does at the latest: libwebrtc's segments begin with the packet after the longest."""

_KNOWN_PRESSES: Final = 8
"""Presses of which late packets are recognised; three seconds of fast typing."""

_HALF: Final = 0x8000_0000
_LAYOUT: Final = Struct("!BBH")
_END_BIT: Final = 0x80
_VOLUME_BITS: Final = 0x3F


class TelephoneEvent(NamedTuple):
    """One payload."""

    event: int
    """0 to 15 are keys, see `KEYS`."""
    is_end: bool
    volume: int
    """dBm0 below 0, 0 to 63."""
    duration: int
    """Ticks since the packet's timestamp."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Take a payload apart; the reserved bit is ignored (RFC 4733 §2.3.3).

        Errors: WireError.
        """
        if len(data) != _LAYOUT.size:
            raise WireError(f"a telephone event of {len(data)} bytes")
        event, flags, duration = _LAYOUT.unpack(data)
        return cls(event, bool(flags & _END_BIT), flags & _VOLUME_BITS, duration)

    def encode(self) -> bytes:
        """Put the payload together."""
        flags = (_END_BIT if self.is_end else 0) | self.volume
        return _LAYOUT.pack(self.event, flags, self.duration)


class KeyPress(NamedTuple):
    """A key was pressed and released."""

    key: str
    """One of `KEYS`."""
    duration_ms: int


class _Held(NamedTuple):
    """A key that is down."""

    event: int
    timestamp: int
    duration: int
    """Ticks since the timestamp."""
    clock_rate: int
    earlier_ms: float
    """Of segments before."""


class KeyPresses:
    """Makes one `KeyPress` of all the packets of each, whatever is lost, doubled or late.

    Args:
        clock_rates: Of each payload type, in Hz.

    Drain rule: after each ``handle_*``, `poll_press` to None, then `poll_timeout`.
    """

    def __init__(self, clock_rates: Mapping[int, int]) -> None:
        self.refused = 0
        """Packets that made no sense."""
        self._clock_rates = dict(clock_rates)
        self._ssrc: int | None = None
        self._held: _Held | None = None
        self._over: deque[int] = deque(maxlen=_KNOWN_PRESSES)
        """Timestamps of presses that were told of."""
        self._given_up: _Held | None = None
        """The press that was taken for over without having said so, if it was the last; it may go on."""
        self._deadline: float | None = None
        self._presses: deque[KeyPress] = deque()

    # Input

    def takes(self, payload_type: int) -> bool:
        """Tell whether packets of a payload type are for us."""
        return payload_type in self._clock_rates

    def handle_packet(self, packet: RtpPacket, *, now: float) -> None:
        """Take an authentic packet of one of the payload types."""
        try:
            said = TelephoneEvent.decode(packet.payload)
        except WireError:
            self.refused += 1
            return
        if packet.ssrc != self._ssrc:
            self._release()
            self._over.clear()
            self._given_up = None
            self._ssrc = packet.ssrc
        if said.event >= len(KEYS) or packet.timestamp in self._over:
            return
        held = self._held
        if held is None or held.timestamp != packet.timestamp:
            if held is not None and (packet.timestamp - held.timestamp) & 0xFFFF_FFFF >= _HALF:
                return  # Of a press that was over before this one began.
            if self._pass_over(said, packet):
                return
            held = self._begin(said, packet, held)
        self._held = held._replace(duration=max(held.duration, said.duration))
        self._deadline = now + END_SECONDS
        if said.is_end:
            self._release()

    def handle_timeout(self, *, now: float) -> None:
        """Take a key for released of which nothing more comes."""
        if self._deadline is not None and now >= self._deadline:
            self._given_up = self._held
            self._release()

    # Output

    def poll_press(self) -> KeyPress | None:
        """Return the next press."""
        return self._presses.popleft() if self._presses else None

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        return self._deadline

    # Internals

    def _pass_over(self, said: TelephoneEvent, packet: RtpPacket) -> bool:
        """Pass over the next segment of a press that was given up in a stall; return whether this is one."""
        before, self._given_up = self._given_up, None
        if before is None or before.event != said.event:
            return False
        if not _CONTINUED <= (packet.timestamp - before.timestamp) & 0xFFFF_FFFF <= _CONTINUED_BY:
            return False
        self._over.append(packet.timestamp)
        if not said.is_end:
            self._given_up = before._replace(timestamp=packet.timestamp)
        return True

    def _begin(self, said: TelephoneEvent, packet: RtpPacket, before: _Held | None) -> _Held:
        """Begin a press, or the next segment of the one before."""
        earlier_ms = 0.0
        if before is not None and before.event == said.event and before.duration >= _CONTINUED:
            self._over.append(before.timestamp)
            earlier_ms = before.earlier_ms + before.duration * 1000 / before.clock_rate
        else:
            self._release()  # Its end was lost.
        clock_rate = self._clock_rates[packet.payload_type]
        return _Held(said.event, packet.timestamp, 0, clock_rate, earlier_ms)

    def _release(self) -> None:
        held, self._held, self._deadline = self._held, None, None
        if held is not None:
            self._over.append(held.timestamp)
            duration_ms = round(held.earlier_ms + held.duration * 1000 / held.clock_rate)
            self._presses.append(KeyPress(KEYS[held.event], duration_ms))
