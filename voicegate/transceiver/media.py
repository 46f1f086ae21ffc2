"""One call's audio without any I/O: SRTP, RTP, codec, receive buffer and playout put together.

In: protected packet -> SRTP -> RTP -> receive buffer -> codec -> frames of 20 ms for the agent.
Out: every 20 ms a frame from the playout queue -> codec -> RTP -> SRTP.

Drain rule: after each ``handle_*`` or command, poll transmit and audio to None, then read `poll_timeout`.
"""

from collections import Counter, deque
from collections.abc import Callable
from math import floor
from typing import Final

from voicegate.audio import Lost, PlayoutQueue, ReceiveBuffer, Received, open_codec
from voicegate.call import AudioFrame
from voicegate.errors import WireError
from voicegate.rtp import RtpPacket, RtpSender, RtpSession
from voicegate.sdp import AudioParameters
from voicegate.srtp import SrtpSession

__all__ = ["FRAME_SECONDS", "Media"]

FRAME_SECONDS: Final = 0.02
SLOT_SECONDS: Final = 0.005
"""Frames leave on a grid of this size: calls spread over it by when they began; a slot's leave together."""

_ROUNDING_SECONDS: Final = 1e-6
"""A slot that begins this soon is missed together with the one before: two frames at once are a burst."""

_TRAILING_SILENCE_FRAMES: Final = 10
"""Silent frames that are encoded after speech, so that the codec's state fades; then a canned one repeats.

With DTX the codec goes on: only it knows when a packet is due."""


class Media:
    """The audio of one call, both ways."""

    def __init__(
        self,
        audio: AudioParameters,
        *,
        ssrc: int,
        cname: str,
        random: Callable[[int], bytes],
        now: float,
        ntp_at_zero: float,
    ) -> None:
        self.codec: Final = open_codec(audio.codec, fmtp=audio.fmtp)
        self.playout: Final = PlayoutQueue(sample_rate=self.codec.sample_rate)
        self.drops: Counter[str] = Counter()
        """Packets that went no further, by reason; SRTP and the receive buffer count their own."""
        self.packets_in = 0
        self.packets_out = 0
        self.frames_concealed = 0
        self.slots_missed = 0
        """Frames that did not leave because the process was stalled for their whole slot."""
        self.first_in_at: float | None = None
        self.first_out_at: float | None = None
        self._is_sending = audio.is_sending
        self._has_dtx = audio.fmtp.get("usedtx") == "1"
        self._payload_type = audio.payload_type
        self._ticks = audio.clock_rate // 50
        self._rtp = RtpSession(
            RtpSender.begin(
                ssrc=ssrc, payload_type=audio.payload_type, clock_rate=audio.clock_rate, random=random
            ),
            cname=cname,
            ntp_at_zero=ntp_at_zero,
            random=random,
            now=now,
        )
        self._receive = ReceiveBuffer(self.codec)
        self._srtp: SrtpSession | None = None
        self._next_frame_at: float | None = None
        self._silent_frames = 1  # so that the first speech is an onset, too
        self._frames: deque[AudioFrame] = deque()
        self._pcm = bytearray()
        self._position = 0
        self._transmits: deque[bytes] = deque()

    # Input

    def open(self, srtp: SrtpSession, *, now: float) -> None:
        """Begin: keys are there, and the first frame leaves at once, as if its slot had just begun."""
        self._srtp = srtp
        if self._is_sending:
            self._next_frame_at = floor(now / SLOT_SECONDS) * SLOT_SECONDS

    def handle_rtp(self, data: bytes, *, now: float) -> bool:
        """Take a protected RTP packet; return whether it is authentic."""
        if self._srtp is None:
            self.drops["before_keys"] += 1
            return False
        plain = self._srtp.unprotect_rtp(data)
        if plain is None:
            return False
        try:
            packet = RtpPacket.decode(plain)
        except WireError:
            self.drops["malformed_rtp"] += 1
            return True
        self._rtp.handle_packet(packet.ssrc, packet.sequence_number, packet.timestamp, now=now)
        if packet.payload_type != self._payload_type:
            self.drops["payload_type"] += 1
            return True
        self.packets_in += 1
        if self.first_in_at is None:
            self.first_in_at = now
        self._receive.push(packet, now=now)
        self._pump_receive()
        return True

    def handle_rtcp(self, data: bytes, *, now: float) -> bool:
        """Take a protected RTCP compound; return whether it is authentic."""
        if self._srtp is None:
            self.drops["before_keys"] += 1
            return False
        plain = self._srtp.unprotect_rtcp(data)
        if plain is None:
            return False
        self._rtp.handle_compound(plain, now=now)
        while self._rtp.poll_event() is not None:
            pass  # A source's goodbye may be followed by another source: DTLS and consent end calls.
        return True

    def handle_timeout(self, *, now: float) -> None:
        """Send the frame and the report that are due, and give up on packets that are overdue."""
        if self._srtp is not None and self._next_frame_at is not None and now >= self._next_frame_at:
            self._send_frame(self._srtp, self._next_frame_at, now)
        self._receive.handle_timeout(now)
        self._pump_receive()
        self._rtp.handle_timeout(now=now)
        self._pump_reports()

    def close(self, *, now: float) -> None:
        """Say goodbye (RTCP BYE) and stop."""
        self._rtp.close(now=now)
        self._pump_reports()
        self._next_frame_at = None

    # Output

    def poll_transmit(self) -> bytes | None:
        """Return the next protected packet."""
        return self._transmits.popleft() if self._transmits else None

    def poll_audio(self) -> AudioFrame | None:
        """Return the next 20 ms of the client's voice."""
        return self._frames.popleft() if self._frames else None

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        deadlines = (self._next_frame_at, self._receive.poll_timeout(), self._rtp.poll_timeout())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def all_drops(self) -> dict[str, int]:
        """Return the counts of what went no further anywhere on the way in, by reason."""
        srtp = self._srtp.statistics().dropped if self._srtp else {}
        receive = self._receive.statistics().dropped
        return {
            **self.drops,
            **{f"srtp_{reason}": count for reason, count in srtp.items() if count},
            **{f"audio_{reason}": count for reason, count in receive.items() if count},
        }

    # Internals

    def _pump_receive(self) -> None:
        while (item := self._receive.poll()) is not None:
            match item:
                case Received(payload=payload):
                    try:
                        self._push_pcm(self.codec.decode(payload), is_concealed=False)
                    except WireError:
                        self.drops["codec"] += 1
                case Lost(samples=ticks, following=following):
                    samples = ticks * self.codec.sample_rate // self.codec.clock_rate
                    self._push_pcm(self.codec.conceal(samples, following=following), is_concealed=True)

    def _push_pcm(self, pcm: bytes, *, is_concealed: bool) -> None:
        """Cut decoded audio, of whatever packet time, into frames of 20 ms."""
        self._pcm += pcm
        size = 2 * self.codec.frame_samples
        while len(self._pcm) >= size:
            frame = bytes(self._pcm[:size])
            del self._pcm[:size]
            self._frames.append(AudioFrame(frame, self.codec.sample_rate, self._position, is_concealed))
            self._position += self.codec.frame_samples
            self.frames_concealed += is_concealed

    def _send_frame(self, srtp: SrtpSession, due: float, now: float) -> None:
        """Send the frame that is due; slots missed by a stall are skipped, never sent in a burst."""
        missed = int((now - due + _ROUNDING_SECONDS) / FRAME_SECONDS)
        self._next_frame_at = due + (missed + 1) * FRAME_SECONDS
        self.slots_missed += missed
        self._rtp.skip(missed * self._ticks)
        pcm = self.playout.pull()
        is_onset = pcm is not None and self._silent_frames > 0
        self._silent_frames = 0 if pcm is not None else self._silent_frames + 1
        if self._silent_frames > _TRAILING_SILENCE_FRAMES and not self._has_dtx:
            payload = self.codec.silence
        else:
            payload = self.codec.encode(pcm or bytes(2 * self.codec.frame_samples))
        if not payload:  # Opus DTX: the codec says that nothing needs to be sent.
            self._rtp.skip(self._ticks)
            return
        packet = self._rtp.next_packet(payload, samples=self._ticks, marker=is_onset, now=now)
        self._transmits.append(srtp.protect_rtp(packet))
        self.packets_out += 1
        if self.first_out_at is None:
            self.first_out_at = now

    def _pump_reports(self) -> None:
        while (compound := self._rtp.poll_transmit()) is not None:
            if self._srtp is not None:
                self._transmits.append(self._srtp.protect_rtcp(compound))
