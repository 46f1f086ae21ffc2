"""The ear of a call: it finds the user's turns in whatever the uplink has, decoding no more than it must."""

from typing import Final, Literal, NamedTuple

from voicegate.audio import Codec, SpeechModel, TurnDetector, VoiceDetector
from voicegate.audio.pcm import SAMPLE_BYTES
from voicegate.audio.silero import SileroModel
from voicegate.audio.turn import DEFAULT_SILENCE_MS, LevelGate, TurnModel
from voicegate.call import AudioFrame, EncodedFrame
from voicegate.errors import WireError

__all__ = ["PLAIN_HEARING", "SILENT_SECONDS", "Ear", "Hearing"]

SILENT_SECONDS: Final = 0.2
"""A client that sends nothing for so long is silent (DTX, a muted microphone); jitter is mostly less."""


class Hearing(NamedTuple):
    """How speech is detected."""

    silence_ms: int
    turn_model: TurnModel | None
    detector: Literal["webrtc", "silero"]
    threshold: float | None = None
    """For what can be told where speech begins; None for what is best."""


PLAIN_HEARING: Final = Hearing(DEFAULT_SILENCE_MS, None, "webrtc")
"""What an agent has that asks for nothing particular."""


class Ear:
    """Follows one stream of audio; what it finds is with `turns`.

    Args:
        codec: of the packets, and of the rate.
        hearing: how to detect speech.
        is_deaf: whether to take nothing for speech, and only follow how far the audio has come.
    """

    def __init__(self, codec: Codec, hearing: Hearing, *, is_deaf: bool = False) -> None:
        self.position_ms = 0
        """The end of what was heard, on the client's RTP clock."""
        self.is_deaf: Final = is_deaf
        self._hearing = hearing
        self._gate = LevelGate()
        self.first_timestamp: int | None = None
        """Of RTP, for packets that nobody has decoded."""
        self.position = 0
        """The same in samples."""
        self.heard_at = 0.0
        """When that was."""
        self.use_codec(codec)

    def use_codec(self, codec: Codec) -> None:
        """Begin anew, at the rate that the codec has now."""
        self._codec = codec
        rate = codec.sample_rate
        self.turns = TurnDetector(
            self._open_model(rate),
            sample_rate=rate,
            silence_ms=self._hearing.silence_ms,
            turn_model=self._hearing.turn_model,
        )

    def go_on_from(self, other: "Ear") -> None:
        """Know how far the audio has come."""
        self.position_ms, self.position = other.position_ms, other.position
        self.first_timestamp, self.heard_at = other.first_timestamp, other.heard_at

    def hear(self, frame: AudioFrame | EncodedFrame, now: float) -> None:
        """Take the next frame."""
        is_quiet = self._gate.is_quiet(frame.level) or self.is_deaf
        rate = self._codec.sample_rate
        if isinstance(frame, AudioFrame):
            pcm, position = frame.pcm, frame.position
        else:
            pcm = self._decode(frame, is_quiet=is_quiet)
            position = self._ticks(frame) * rate // self._codec.clock_rate
        self.turns.handle_audio(pcm, position=position, is_quiet=is_quiet)
        self.heard_at, self.position = now, position + len(pcm) // SAMPLE_BYTES
        self.position_ms = self.position * 1000 // rate

    def handle_timeout(self, now: float) -> bool:
        """Take it for silence when nothing has come for a while; return whether that is so."""
        silent_for = now - self.heard_at
        if silent_for < SILENT_SECONDS:
            return False
        position = self.position + int(silent_for * self._codec.sample_rate)
        self.turns.handle_silence(until=position)
        self.position_ms = position * 1000 // self._codec.sample_rate
        return True

    def _open_model(self, rate: int) -> SpeechModel:
        detector, threshold = self._hearing.detector, self._hearing.threshold
        if self.is_deaf or detector == "webrtc":
            return VoiceDetector(sample_rate=rate)
        if threshold is None:
            return SileroModel(sample_rate=rate)
        return SileroModel(sample_rate=rate, threshold=threshold)

    def _decode(self, frame: EncodedFrame, *, is_quiet: bool) -> bytes:
        if frame.payload and not is_quiet:
            try:
                return self._codec.decode(frame.payload)
            except WireError:
                pass  # Whoever hears the packet will find out.
        return bytes(frame.ticks * self._codec.sample_rate // self._codec.clock_rate * SAMPLE_BYTES)

    def _ticks(self, frame: EncodedFrame) -> int:
        if self.first_timestamp is None:
            self.first_timestamp = frame.timestamp
        return (frame.timestamp - self.first_timestamp) & 0xFFFFFFFF
