"""A call without a network, a client or an engine: frames go in by hand, and slots are pulled by hand."""

from collections.abc import Callable
from typing import Any

import trio

from tests.channels import NoChannels
from voicegate.audio import open_codec
from voicegate.call import AudioFrame, Call, EncodedFrame, EndCause, Wants
from voicegate.sdp import AudioParameters
from voicegate.sdp.audio import CODECS
from voicegate.transceiver.control import MediaControl
from voicegate.transceiver.downlink import Downlink


def parameters(codec: str = "opus", **others: Any) -> AudioParameters:
    """Return what was negotiated."""
    known = CODECS[codec]
    settings: dict[str, Any] = {
        "fmtp": {},
        "direction": "sendrecv",
        "remote_ssrcs": (),
        "extensions": (),
        "has_rtcp_reduced_size": False,
        "packet_time_ms": None,
        **others,
    }
    return AudioParameters(
        mid="0",
        codec=codec,
        payload_type=known.payload_type,
        clock_rate=known.clock_rate,
        channels=known.channels,
        **settings,
    )


class Wish:
    """Stands for the uplink."""

    wants: Wants = "pcm"


class Line:
    """All that there is of a call from the codec up."""

    def __init__(
        self, codec: str = "opus", *, clock: Callable[[], float] | None = None, **others: Any
    ) -> None:
        audio = parameters(codec, **others)
        self._clock = clock
        self.time = 100.0
        """Without a clock."""
        self.codec = open_codec(codec)
        self.wish = Wish()
        self.downlink = Downlink(audio, self.codec)
        self.endings: list[tuple[EndCause, str]] = []
        self.control = MediaControl(
            self.downlink,
            self.wish,
            self.codec,
            clock=lambda: self.now,
            end=lambda cause, detail: self.endings.append((cause, detail)),
        )
        self.call = Call("rtc_u0_x", control=self.control, metadata={}, link=NoChannels())
        self.position = 0
        self.timestamp = 0xFFFFF000  # about to wrap
        self.sequence_number = 0xFFF0

    @property
    def now(self) -> float:
        return self._clock() if self._clock is not None else self.time

    def wanted(self) -> Wants:
        """Return what the uplink was told to hand on."""
        return self.wish.wants

    def hear(self, pcm: bytes, **said: Any) -> None:
        """Let the client say some frames at once."""
        size = 2 * self.codec.frame_samples
        for offset in range(0, len(pcm) - size + 1, size):
            frame = AudioFrame(pcm[offset : offset + size], self.codec.sample_rate, self.position, **said)
            self.position += self.codec.frame_samples
            self.control.handle_frame(frame, now=self.now)
        self.follow()

    def hear_packet(self, payload: bytes, ticks: int = 960, **said: Any) -> None:
        """Let a packet of the client's arrive, for whoever wants it undecoded."""
        self.control.handle_frame(EncodedFrame(payload, ticks, self.timestamp, **said), now=self.now)
        self.timestamp = (self.timestamp + ticks) & 0xFFFFFFFF
        self.follow()

    def play_slot(self) -> list[bytes]:
        """Return the payloads of a slot, of which those that are not empty are sent."""
        payloads: list[bytes] = []
        while not payloads or not self.downlink.is_slot_over:
            payload, _ticks, _is_onset = self.downlink.next_payload()
            payloads.append(payload)
            if payload:
                self.downlink.note_sent(self.sequence_number, now=self.now)
                self.sequence_number = (self.sequence_number + 1) & 0xFFFF
        self.follow()
        return payloads

    def play(self, slots: int) -> bytes:
        """Return what the client hears in so many slots, 20 ms apart, when its codec is G.711."""
        heard = b""
        for _ in range(slots):
            heard += b"".join(self.play_slot())
            self.time += 0.02
        return self.codec.decode(heard)

    def follow(self) -> None:
        """Hand on events, as the call's task does."""
        while (event := self.control.poll_event()) is not None:
            self.call.push_event(event)

    async def play_on(self) -> None:
        """Pull in real time, as the transceiver does."""
        while True:
            await trio.sleep(0.02)
            self.play_slot()

    @property
    def events(self) -> list[object]:
        """Take what the agent has been told."""
        events: list[object] = []
        while True:
            try:
                events.append(self.call.events.receive_nowait())
            except trio.WouldBlock:
                return events
