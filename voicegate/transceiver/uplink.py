"""The client's voice without any I/O: RTP packets in, frames for the agent out.

`fast`: a packet in its turn comes out at once, since a machine listens and jitter does not disturb it. At a
gap the wait is as long as nearly all packets take, or as an answer to a NACK, and never more than 60 ms.

`accurate`: the audio is clocked out, like for an ear, at a delay that nearly all packets keep to. Above that
delay quiet frames are left out, below it they are repeated, so that the drift of the client's clock is taken
up too; above 240 ms speech is left out as well. What is not there in its time is made up.

Drain rule: after each ``handle_*``, `Uplink.poll_frame` to None, then read `Uplink.poll_missing` and
`Uplink.poll_timeout`.
"""

from collections import deque
from collections.abc import Mapping
from math import inf
from typing import Final, Literal, NamedTuple

from voicegate.audio import Codec, Lost, ReceiveBuffer, Received
from voicegate.audio.delay import DelayEstimate
from voicegate.audio.frame import Cut
from voicegate.audio.missing import MissingPackets
from voicegate.audio.pacer import Pacer
from voicegate.audio.receive import DropReason
from voicegate.audio.render import Renderer
from voicegate.call import AudioFrame, EncodedFrame, Wants
from voicegate.rtp import RtpPacket
from voicegate.sdp import AudioParameters

__all__ = ["Uplink", "UplinkStatistics"]

HOLD_SECONDS: Final = 0.060
"""The longest wait at a gap in `fast`: as long as three packets take to arrive."""

_MIN_HOLD_SECONDS: Final = 0.010
"""The shortest: packets that leave together may change places."""

_ANSWER_SECONDS: Final = 0.010
"""What an answer to a NACK takes beside the round trip."""

_ROUND_TRIP_SECONDS: Final = 0.05
"""Until a report tells."""

_ROUNDING_SECONDS: Final = 1e-6
"""What sums of floats may be off by."""

_LOSING_SECONDS: Final = 5.0
"""So long after a loss the delay of `accurate` leaves time for copies and answers."""


_new: Final = tuple.__new__
"""Makes a `NamedTuple` in half the time."""


class UplinkStatistics(NamedTuple):
    """How the client's voice gets here."""

    depth_ms: int
    """Audio that is held now."""
    target_ms: int
    """The delay that is aimed at; in `fast`, the wait at a gap."""
    jitter_ms: int
    """By how much nearly all packets (96 %) are later than the fastest, at most."""
    drift_ppm: int
    """How much slower than ours the client's clock runs, in millionths."""
    concealed_ms: int
    """Made up in place of what was lost."""
    fec_recovered: int
    """Lost packets made good by the next packet's copy (Opus in-band FEC)."""
    red_recovered: int
    """Lost packets made good by a copy in a RED packet."""
    nack_recovered: int
    """Packets that came in time because we asked for them."""
    compressed_ms: int
    """Left out to bring the delay down."""
    expanded_ms: int
    """Made up or waited for on top, because packets were late or the delay was to grow."""
    drops: Mapping[str, int]
    """Packets that went no further, by reason."""


class Uplink:
    """Receive buffer and decoder of one call."""

    # Input

    def __init__(
        self, audio: AudioParameters, codec: Codec, *, mode: Literal["fast", "accurate"] = "fast"
    ) -> None:
        self.wants: Wants = "pcm"
        """What comes out: decoded frames of 20 ms, packets as they are, or nothing but statistics."""
        self._buffer = ReceiveBuffer(codec, payload_type=audio.payload_type, red=audio.red)
        self._delay = DelayEstimate()
        self._tick_seconds = 1 / codec.clock_rate
        self._frame: AudioFrame | EncodedFrame | None = None
        """What comes out next."""
        self._later: deque[AudioFrame | EncodedFrame] | None = None
        """What comes out after it, if there is anything."""
        self._timeout: float | None = None
        self._to_ask: tuple[int, ...] = ()
        self._is_fast = mode == "fast"
        self._has_nack = audio.has_nack
        self._missing = MissingPackets()
        self._renderer = Renderer(codec)
        self._round_trip = _ROUND_TRIP_SECONDS
        self._restarts = 0
        self._lost_ticks = 0
        self._nack_recovered = 0
        self._losing_until = -inf
        self._pacer = None if mode == "fast" else Pacer(self._buffer, self._delay, self._renderer)

    def handle_packet(
        self, packet: RtpPacket, *, level: int | None = None, is_voice: bool | None = None, now: float
    ) -> None:
        """Take an authentic packet, of the codec's payload type or of RED's."""
        buffer = self._buffer
        if self._is_fast and (ticks := buffer.take(packet)):
            position = buffer.position - ticks
            self._delay.measure(now - position * self._tick_seconds, now=now)
            if self.wants == "encoded":
                self._queue(_new(EncodedFrame, (packet.payload, ticks, packet.timestamp, level, is_voice)))
            elif self.wants == "pcm":
                self._hear(Received(packet.payload, ticks, packet.timestamp, position, level, is_voice))
            return
        reason = buffer.push(packet, level=level, is_voice=is_voice, now=now)
        if buffer.restarts != self._restarts:
            self._restarts = buffer.restarts
            self._delay.restart()
            self._missing.clear()
        self._note_arrival(packet, reason, now)
        missing = buffer.missing()
        if missing:
            self._losing_until = now + _LOSING_SECONDS
        if self._has_nack:
            self._missing.update(missing, now=now)
        if self._pacer is not None:
            self._pacer.wake(now=now)
        self._run(now)

    def handle_timeout(self, *, now: float) -> None:
        """Bring out what is due, and give up what is overdue."""
        if self._timeout is not None and now >= self._timeout:
            self._run(now)

    def set_round_trip(self, seconds: float) -> None:
        """Take note of how long the client needs to answer."""
        self._round_trip = seconds

    # Output

    def poll_frame(self) -> AudioFrame | EncodedFrame | None:
        """Return what the agent hears next."""
        frame, later = self._frame, self._later
        if later is None:
            self._frame = None
        else:
            self._frame = later.popleft()
            if not later:
                self._later = None
        return frame

    def poll_missing(self) -> tuple[int, ...]:
        """Return the sequence numbers to ask for again now (RFC 4585 §6.2.1)."""
        asked, self._to_ask = self._to_ask, ()
        return asked

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        return self._timeout

    def statistics(self) -> UplinkStatistics:
        """Return how the voice gets here."""
        pacer, renderer, delay = self._pacer, self._renderer, self._delay
        held = pacer.held if pacer else self._buffer.held_ticks * self._tick_seconds
        target = pacer.target if pacer else min(max(delay.spread, _MIN_HOLD_SECONDS), HOLD_SECONDS)
        concealed = self._lost_ticks * self._tick_seconds + renderer.concealed
        return UplinkStatistics(
            depth_ms=round(held * 1000),
            target_ms=round(target * 1000),
            jitter_ms=round(delay.spread * 1000),
            drift_ppm=round(delay.drift_ppm),
            concealed_ms=round(concealed * 1000),
            fec_recovered=renderer.fec_recovered,
            red_recovered=self._buffer.statistics().recovered,
            nack_recovered=self._nack_recovered,
            compressed_ms=round(pacer.compressed * 1000) if pacer else 0,
            expanded_ms=round(pacer.expanded * 1000) if pacer else 0,
            drops=self.drops,
        )

    @property
    def drops(self) -> dict[str, int]:
        """Packets that went no further, by reason."""
        dropped = self._buffer.statistics().dropped
        counts = {f"audio_{reason}": count for reason, count in dropped.items() if count}
        return {"codec": self._renderer.refused, **counts} if self._renderer.refused else counts

    # Internals

    def _queue(self, frame: AudioFrame | EncodedFrame) -> None:
        if self._frame is None:
            self._frame = frame
        elif self._later is None:
            self._later = deque((frame,))
        else:
            self._later.append(frame)

    def _note_arrival(self, packet: RtpPacket, reason: DropReason | None, now: float) -> None:
        """Learn from a packet how long the way is; one that was asked for was not on its way all the time."""
        if reason not in (None, DropReason.LATE) or not packet.payload:
            return
        if self._missing.was_asked_for(packet.sequence_number):
            self._nack_recovered += reason is None
            return
        position = self._buffer.position_of(packet.timestamp)
        self._delay.measure(now - position * self._tick_seconds, now=now)

    def _run(self, now: float) -> None:
        """Bring out what can come out now, and settle what to ask for and when to look again."""
        deadline = self._release(now) if self._pacer is None else self._keep_pace(self._pacer, now)
        if self._missing:
            patience = self._pacer.target if self._pacer else HOLD_SECONDS
            self._to_ask += self._missing.ask(now=now, round_trip=self._round_trip, patience=patience)
            ask_at = self._missing.poll_timeout()
            deadline = min(deadline, ask_at) if deadline and ask_at else deadline or ask_at
        self._timeout = deadline

    def _release(self, now: float) -> float | None:
        """Bring out all that is in order, and behind gaps that waited long enough; return when more is."""
        buffer = self._buffer
        while True:
            while (item := buffer.pop()) is not None:
                self._hear(item)
            since = buffer.waiting_since
            if since is None:
                return None
            deadline = since + self._hold(since)
            if now < deadline:
                return deadline
            if (lost := buffer.give_up()) is not None and lost.ticks:
                self._hear(lost)

    def _hold(self, since: float) -> float:
        """Return how long to wait at a gap behind which a packet came at ``since``."""
        delay, buffer = self._delay, self._buffer
        # When the last of what is missing would have come if it were one of the late ones.
        position = (buffer.next_position or 0) + (buffer.gap - 1) * buffer.packet_ticks
        hold = max(_MIN_HOLD_SECONDS, delay.base + position * self._tick_seconds + delay.spread - since)
        answer = self._round_trip + _ANSWER_SECONDS
        if self._has_nack and answer < HOLD_SECONDS + _ROUNDING_SECONDS:
            hold = max(hold, answer)
        return min(hold, HOLD_SECONDS)

    def _keep_pace(self, pacer: Pacer, now: float) -> float | None:
        """Bring out what is due; return when more is."""
        self._renderer.follow_rate()
        pacer.is_decoding = self.wants == "pcm"
        pacer.recovery = 0.0
        if now < self._losing_until:
            packet = self._buffer.packet_ticks * self._tick_seconds
            pacer.recovery = packet + self._round_trip + _ANSWER_SECONDS if self._has_nack else packet
        pacer.handle_timeout(now=now)
        while (paced := pacer.poll()) is not None:
            if isinstance(paced, Cut):
                self._bring(paced)
            else:
                self._hear(paced)
        return pacer.timeout

    def _hear(self, item: Received | Lost) -> None:
        """Hand on a packet, or the lack of one, in the form that is wanted."""
        if self.wants != "pcm":
            if isinstance(item, Lost):
                self._lost_ticks += item.ticks
            if self.wants == "encoded":
                self._queue(_encoded(item))
            return
        renderer = self._renderer
        renderer.follow_rate()
        frames = renderer.frames
        position = renderer.samples(item.position)
        while position > frames.position and not frames.pause(position):
            self._bring_all()
        renderer.render(item)
        self._bring_all()

    def _bring_all(self) -> None:
        while (cut := self._renderer.frames.pop()) is not None:
            self._bring(cut)

    def _bring(self, cut: Cut) -> None:
        """Hand on a frame of 20 ms."""
        renderer = self._renderer
        pcm, position, made_up = cut
        rate = renderer.sample_rate
        self._queue(
            AudioFrame(
                pcm, rate, position, made_up > 0, made_up * 1000 // rate, renderer.level, renderer.is_voice
            )
        )


def _encoded(item: Received | Lost) -> EncodedFrame:
    if isinstance(item, Lost):
        return EncodedFrame(b"", item.ticks, item.timestamp)
    return EncodedFrame(item.payload, item.ticks, item.timestamp, item.level, item.is_voice)
