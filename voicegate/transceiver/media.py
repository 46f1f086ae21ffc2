"""One call's audio without any I/O: SRTP and RTP around its two ways, `Uplink` and `Downlink`.

In: protected packet -> SRTP -> RTP -> uplink (receive buffer -> codec) -> frames for the agent.
Out: whoever keeps the time calls `Media.next_packets` once per slot: a payload of the downlink's (playout
queue -> codec) -> RTP -> SRTP.

Drain rule: after each ``handle_*`` or command, poll transmit and audio to None, then read `poll_timeout`.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from voicegate.audio import open_codec
from voicegate.audio.adaptation import Adaptation, EncoderSettings
from voicegate.audio.red import RedEncoder
from voicegate.call import AudioFrame, EncodedFrame
from voicegate.errors import WireError
from voicegate.rtp import (
    ExtensionReader,
    Extensions,
    KeyPress,
    KeyPresses,
    ReportReceived,
    RetransmissionRequested,
    RtpPacket,
    RtpSender,
    RtpSession,
)
from voicegate.rtp.packet import unpack_rtp
from voicegate.sdp import AudioParameters
from voicegate.srtp import SrtpSession
from voicegate.transceiver.downlink import Downlink
from voicegate.transceiver.resends import Resends
from voicegate.transceiver.uplink import Uplink

__all__ = ["Media", "MediaStatistics"]


_NO_EXTENSIONS: Final = Extensions()


class MediaStatistics(NamedTuple):
    """How a call's audio fares just now."""

    jitter_ms: int
    """By how much nearly all packets are later than the fastest."""
    depth_ms: int
    """Audio held in the receive buffer."""
    target_ms: int
    """The delay that is aimed at, or the wait at a gap."""
    drift_ppm: int
    """How much slower than ours the client's clock runs."""
    packets_lost: int
    """On the way here, since the client's source began."""
    round_trip_ms: float | None
    remote_loss: float | None
    """The part of our packets, 0 to 1, that the client missed lately."""


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
        uplink: Literal["fast", "accurate"] = "fast",
    ) -> None:
        codec = open_codec(audio.codec, fmtp=audio.fmtp)
        self.has_more = False
        """Whether anything but audio has come up since this was last set to False: `poll_transmit`,
        `poll_press` and `poll_timeout` may have something new."""
        self.has_feedback: Final = audio.has_transport_cc
        """Whether each packet may bring `poll_timeout` forward."""
        self._payload_type: Final = audio.payload_type
        self._red: Final = -1 if audio.red is None else audio.red
        self.uplink: Final = Uplink(audio, codec, mode=uplink)
        self.downlink: Final = Downlink(audio, codec)
        self._srtp: SrtpSession | None = None
        self.packets_in = 0
        self.packets_out = 0
        self.frame_seconds: float | None = None
        """How long the frames are that `next_packets` is to be asked for; None while nothing is sent."""
        self._resends = Resends() if audio.has_nack else None
        self._redundancy: RedEncoder | None = None
        self._sender = RtpSender.begin(
            ssrc=ssrc, payload_type=audio.payload_type, clock_rate=audio.clock_rate, random=random
        )
        self._rtp = RtpSession(
            self._sender,
            cname=cname,
            ntp_at_zero=ntp_at_zero,
            random=random,
            now=now,
            has_reduced_size=audio.has_rtcp_reduced_size,
        )
        self._extensions = ExtensionReader(audio.extensions)
        self.first_in_at: float | None = None
        self.first_out_at: float | None = None
        self.codec: Final = codec
        self.drops: Counter[str] = Counter()
        """Packets that went no further, by reason; SRTP and the uplink count their own."""
        self.slots_missed = 0
        """Frames that did not leave because the process was stalled for their whole slot."""
        self._is_sending = audio.is_sending
        self._keys = KeyPresses(dict(audio.telephone_events))
        self._audio = audio
        self._adaptation: Adaptation | None = None
        if audio.opus is not None:
            self._adaptation = Adaptation(audio.opus, has_red=audio.red is not None)
            self._adapt(self._adaptation.settings)
        self._transmits: deque[bytes] = deque()

    # Input

    def open(self, srtp: SrtpSession, *, now: float) -> None:
        """Begin: keys are there, and the first frame leaves at once, without waiting for a slot."""
        self._srtp = srtp
        if self._is_sending:
            self.frame_seconds = self.downlink.slot_seconds
        self._transmits.extend(self.next_packets(missed=0, now=now))

    def handle_rtp(self, data: bytes, *, now: float) -> bool:
        """Take a protected RTP packet; return whether it is authentic."""
        if self._srtp is None:
            self.drops["before_keys"] += 1
            return False
        plain = self._srtp.unprotect_rtp(data)
        if plain is None:
            return False
        try:
            packet = unpack_rtp(plain)
        except WireError:
            self.drops["malformed_rtp"] += 1
            return True
        level, is_voice, transport_sequence = (
            self._extensions.read(packet) if packet.extensions else _NO_EXTENSIONS
        )
        self._rtp.handle_packet(packet, transport_sequence=transport_sequence, now=now)
        if packet.payload_type != self._payload_type and packet.payload_type != self._red:
            self._handle_other(packet, now)
            return True
        self.packets_in += 1
        if self.first_in_at is None:
            self.first_in_at = now
        self.uplink.handle_packet(packet, level=level, is_voice=is_voice, now=now)
        if self._resends is not None:
            self._ask(now)
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
        while (event := self._rtp.poll_event()) is not None:
            match event:
                case ReportReceived():
                    self._take_report(event, now)
                case RetransmissionRequested(sequence_numbers=numbers) if self._resends is not None:
                    self._transmits.extend(self._resends.take(numbers))
                case _:
                    pass  # A source's goodbye may be followed by another source: DTLS and consent end calls.
        return True

    def handle_timeout(self, *, now: float) -> None:
        """Send the report that is due, and give up on packets that are overdue."""
        self.uplink.handle_timeout(now=now)
        self._keys.handle_timeout(now=now)
        self._ask(now)
        self._rtp.handle_timeout(now=now)
        self._pump_reports()

    def close(self, *, now: float) -> None:
        """Say goodbye (RTCP BYE) and stop."""
        self._rtp.close(now=now)
        self._pump_reports()
        self.frame_seconds = None

    def set_round_trip(self, seconds: float) -> None:
        """Take note of how long the way to the client and back is, until reports tell."""
        self.uplink.set_round_trip(seconds)
        self.downlink.set_round_trip(seconds)

    # Output

    def next_packets(self, *, missed: int, now: float) -> Sequence[bytes]:
        """Return the protected packets of the slot that has begun: mostly one, none when none is due.

        Slots that were missed in a stall before it are skipped, never sent in a burst.
        """
        srtp, downlink = self._srtp, self.downlink
        if srtp is None or self.frame_seconds is None:
            return ()
        if missed:
            self.slots_missed += missed
            self._rtp.skip(downlink.skip(missed))
        packets: list[bytes] = []
        while True:
            payload, ticks, is_onset = downlink.next_payload()
            if payload:
                packets.append(self._protect_payload(srtp, payload, ticks, is_onset, now))
            else:
                self._rtp.skip(ticks)
            if downlink.is_slot_over:
                return packets

    def poll_transmit(self) -> bytes | None:
        """Return the next protected packet."""
        return self._transmits.popleft() if self._transmits else None

    def poll_audio(self) -> AudioFrame | EncodedFrame | None:
        """Return the client's voice, as the uplink has it next."""
        return self.uplink.poll_frame()

    def poll_press(self) -> KeyPress | None:
        """Return the next key of a telephone that the user has pressed."""
        return self._keys.poll_press()

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        frame, report = self.uplink.poll_timeout(), self._rtp.poll_timeout()
        due = report if frame is None else frame if report is None else min(frame, report)
        key = self._keys.poll_timeout()
        return due if key is None else key if due is None else min(due, key)

    def statistics(self) -> MediaStatistics:
        """Return how the audio fares."""
        rtp, uplink = self._rtp.statistics(), self.uplink.statistics()
        return MediaStatistics(
            jitter_ms=uplink.jitter_ms,
            depth_ms=uplink.depth_ms,
            target_ms=uplink.target_ms,
            drift_ppm=uplink.drift_ppm,
            packets_lost=rtp.packets_lost,
            round_trip_ms=None if rtp.round_trip is None else round(rtp.round_trip * 1000, 1),
            remote_loss=rtp.remote_fraction_lost,
        )

    def all_drops(self) -> dict[str, int]:
        """Return the counts of what went no further anywhere on the way in, by reason."""
        srtp = self._srtp.statistics().dropped if self._srtp else {}
        return {
            **self.drops,
            **({"telephone_event": self._keys.refused} if self._keys.refused else {}),
            **{f"srtp_{reason}": count for reason, count in srtp.items() if count},
            **self.uplink.drops,
        }

    # Internals

    def _handle_other(self, packet: RtpPacket, now: float) -> None:
        """Take a packet that is no audio; where it tells of a key, no audio is missing at its number."""
        if not self._keys.takes(packet.payload_type):
            self.drops["payload_type"] += 1
            return
        self._keys.handle_packet(packet, now=now)
        self.uplink.handle_packet(packet._replace(payload=b""), now=now)
        self.has_more = True

    def _ask(self, now: float) -> None:
        """Ask the client for what the uplink misses."""
        if missing := self.uplink.poll_missing():
            self._rtp.request(missing, now=now)
            self._pump_reports()

    def _take_report(self, report: ReportReceived, now: float) -> None:
        self.downlink.handle_report(
            highest_sequence=report.highest_sequence, round_trip=report.round_trip, now=now
        )
        if report.round_trip is not None:
            self.uplink.set_round_trip(report.round_trip)
        if self._adaptation is not None:
            settings = self._adaptation.handle_report(report.fraction_lost, report.round_trip, now=now)
            if settings is not None:
                self._adapt(settings)

    def _adapt(self, settings: EncoderSettings) -> None:
        """Send as the path to the client has it best."""
        self.codec.adapt(settings)
        red = self._audio.red if settings.is_redundant else None
        if red is None:
            self._redundancy = None
        elif self._redundancy is None:
            self._redundancy = RedEncoder(self._audio.payload_type)
        self._sender.payload_type = self._audio.payload_type if red is None else red

    def _protect_payload(
        self, srtp: SrtpSession, payload: bytes, ticks: int, is_onset: bool, now: float
    ) -> bytes:
        sender = self._sender
        sequence_number = sender.sequence_number
        if self._redundancy is not None:
            payload = self._redundancy.encode(payload, timestamp=sender.timestamp)
        packet = srtp.protect_rtp(sender.next_packet(payload, samples=ticks, marker=is_onset, now=now))
        self.downlink.note_sent(sequence_number, now=now)
        if self._resends is not None:
            self._resends.note(sequence_number, packet)
        if not self.packets_out:
            self.first_out_at = now
        self.packets_out += 1
        return packet

    def _pump_reports(self) -> None:
        while (compound := self._rtp.poll_transmit()) is not None:
            if self._srtp is not None:
                self._transmits.append(self._srtp.protect_rtcp(compound))
                self.has_more = True
