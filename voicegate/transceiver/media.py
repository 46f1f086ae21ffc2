"""One call's audio without any I/O: SRTP and RTP around its two ways, `Uplink` and `Downlink`.

In: protected packet -> SRTP -> RTP -> uplink (receive buffer -> codec) -> frames of 20 ms for the agent.
Out: every slot a payload of the downlink's (playout queue -> codec) -> RTP -> SRTP.

Drain rule: after each ``handle_*`` or command, poll transmit and audio to None, then read `poll_timeout`.
"""

from collections import Counter, deque
from collections.abc import Callable
from math import floor
from typing import Final

from voicegate.audio import open_codec
from voicegate.call import AudioFrame
from voicegate.errors import WireError
from voicegate.rtp import RtpPacket, RtpSender, RtpSession
from voicegate.sdp import AudioParameters
from voicegate.srtp import SrtpSession
from voicegate.transceiver.downlink import Downlink
from voicegate.transceiver.uplink import Uplink

__all__ = ["Media"]

SLOT_SECONDS: Final = 0.005
"""Frames leave on a grid of this size: calls spread over it by when they began; a slot's leave together."""

_ROUNDING_SECONDS: Final = 1e-6
"""A slot that begins this soon is missed together with the one before: two frames at once are a burst."""


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
        self.uplink: Final = Uplink(self.codec)
        self.downlink: Final = Downlink(audio, self.codec)
        self.drops: Counter[str] = Counter()
        """Packets that went no further, by reason; SRTP and the uplink count their own."""
        self.packets_in = 0
        self.packets_out = 0
        self.slots_missed = 0
        """Frames that did not leave because the process was stalled for their whole slot."""
        self.first_in_at: float | None = None
        self.first_out_at: float | None = None
        self._is_sending = audio.is_sending
        self._payload_type = audio.payload_type
        self._rtp = RtpSession(
            RtpSender.begin(
                ssrc=ssrc, payload_type=audio.payload_type, clock_rate=audio.clock_rate, random=random
            ),
            cname=cname,
            ntp_at_zero=ntp_at_zero,
            random=random,
            now=now,
        )
        self._srtp: SrtpSession | None = None
        self._next_frame_at: float | None = None
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
        self.uplink.handle_packet(packet, now=now)
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
        self.uplink.handle_timeout(now=now)
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
        return self.uplink.poll_frame()

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        deadlines = (self._next_frame_at, self.uplink.poll_timeout(), self._rtp.poll_timeout())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def all_drops(self) -> dict[str, int]:
        """Return the counts of what went no further anywhere on the way in, by reason."""
        srtp = self._srtp.statistics().dropped if self._srtp else {}
        return {
            **self.drops,
            **{f"srtp_{reason}": count for reason, count in srtp.items() if count},
            **self.uplink.drops,
        }

    # Internals

    def _send_frame(self, srtp: SrtpSession, due: float, now: float) -> None:
        """Send the frame that is due; slots missed by a stall are skipped, never sent in a burst."""
        downlink = self.downlink
        missed = int((now - due + _ROUNDING_SECONDS) / downlink.slot_seconds)
        self._next_frame_at = due + (missed + 1) * downlink.slot_seconds
        self.slots_missed += missed
        self._rtp.skip(missed * downlink.slot_ticks)
        payload, ticks, is_onset = downlink.next_payload()
        if not payload:
            self._rtp.skip(ticks)
            return
        packet = self._rtp.next_packet(payload, samples=ticks, marker=is_onset, now=now)
        self._transmits.append(srtp.protect_rtp(packet))
        self.packets_out += 1
        if self.first_out_at is None:
            self.first_out_at = now

    def _pump_reports(self) -> None:
        while (compound := self._rtp.poll_transmit()) is not None:
            if self._srtp is not None:
                self._transmits.append(self._srtp.protect_rtcp(compound))
