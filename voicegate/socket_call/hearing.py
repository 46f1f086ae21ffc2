"""The client's voice as it comes in events: any lengths, at any speed, cut into frames; and whose turn it is.

Time is counted in the samples that came, not by a clock: a client may send a sentence at once.
"""

from collections import deque
from typing import Final, Literal, TypeAlias

from voicegate.audio import Resampler, SpeechModel, TurnDetector, TurnModel, VoiceDetector
from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES
from voicegate.audio.silero import SileroModel
from voicegate.audio.turn import TurnEvent
from voicegate.call import AudioFrame

__all__ = ["Detector", "Hearing"]

Detector: TypeAlias = Literal["webrtc", "silero"]

_PRE_ROLL_SECONDS: Final = 1


class Hearing:
    """One client's voice.

    Drain rule: after each `handle_audio` or `flush`, `poll_frame` until None, with `poll_event` after each.

    Args:
        sample_rate: Of the frames.
    """

    def __init__(self, *, sample_rate: int) -> None:
        self._rate = sample_rate
        self._source_rate = sample_rate
        self._resampler = Resampler(sample_rate, sample_rate)
        self._rest = bytearray()
        self._position = 0
        self._frames: deque[AudioFrame] = deque()
        self._turns: TurnDetector | None = None
        self._detector: Detector = "webrtc"
        self._silence_ms = 0
        self._turn_model: TurnModel | None = None

    @property
    def sample_rate(self) -> int:
        """Samples per second of the frames."""
        return self._rate

    @property
    def position_ms(self) -> int:
        """How much has been heard."""
        return self._position * 1000 // self._rate

    @property
    def is_in_turn(self) -> bool:
        """Whether a turn has been detected that is not over."""
        return self._turns is not None and self._turns.is_in_turn

    # Input

    def use_rate(self, sample_rate: int) -> None:
        """Give frames at another rate.

        Errors: UsageError when it is none of 8000, 16000, 24000, 48000.
        """
        self._resampler = Resampler(self._source_rate, sample_rate)
        self._position = self._position * sample_rate // self._rate
        self._rate = sample_rate
        self._rest.clear()
        if self._turns is not None:
            self._restart()

    def handle_audio(self, pcm: bytes, *, rate: int) -> None:
        """Take samples of any number."""
        if rate != self._source_rate:
            self.flush()
            self._resampler = Resampler(rate, self._rate)
            self._source_rate = rate
        self._cut(self._resampler.process(pcm))

    def flush(self) -> None:
        """Let what was begun be heard, up to the last sample: nothing may follow for long."""
        self._cut(self._resampler.flush())
        lacking = self._frame_bytes - len(self._rest)
        if self._rest:
            samples = len(self._rest) // SAMPLE_BYTES
            self._cut(bytes(lacking))
            # What was filled up lies on nobody's clock.
            self._position -= self._frame_bytes // SAMPLE_BYTES - samples

    def clear(self) -> None:
        """Forget what has not become a frame, and the turn that was begun."""
        self._resampler = Resampler(self._source_rate, self._rate)
        self._rest.clear()
        self.end_turn(is_certain=True)

    def detect_speech(self, *, silence_ms: int, turn_model: TurnModel | None, detector: Detector) -> None:
        """Find turns from now on.

        Errors: UsageError when silero is not installed.
        """
        self._silence_ms, self._turn_model, self._detector = silence_ms, turn_model, detector
        self._restart()

    def follow_turns(self, *, silence_ms: int) -> None:
        """Find turns by so much silence, with the models that were chosen, if any were."""
        if self._turns is None or silence_ms != self._silence_ms:
            self._silence_ms = silence_ms
            self._restart()

    def stop_detecting(self) -> None:
        """Find none any more."""
        self._turns = None

    def end_turn(self, *, is_certain: bool = False) -> None:
        """Let the turn be over: if the user has fallen silent, or because the client says so."""
        if self._turns is None:
            return
        if not is_certain:
            self._turns.end_turn()
        elif self._turns.is_in_turn:
            self._restart()

    # Output

    def poll_frame(self) -> AudioFrame | None:
        """Return the next 20 ms; what the detector says of them comes up with it."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        if self._turns is not None:
            self._turns.handle_audio(frame.pcm, position=frame.position)
        return frame

    def poll_event(self) -> TurnEvent | None:
        """Return the next event of the detector."""
        return self._turns.poll_event() if self._turns is not None else None

    def pre_roll(self, ms: int) -> bytes:
        """Return the last samples heard; none before speech is detected."""
        return self._turns.pre_roll(ms) if self._turns is not None else b""

    # Internals

    @property
    def _frame_bytes(self) -> int:
        return self._rate // FRAMES_PER_SECOND * SAMPLE_BYTES

    def _cut(self, pcm: bytes) -> None:
        self._rest += pcm
        size = self._frame_bytes
        while len(self._rest) >= size:
            self._frames.append(AudioFrame(bytes(self._rest[:size]), self._rate, self._position))
            self._position += size // SAMPLE_BYTES
            del self._rest[:size]

    def _restart(self) -> None:
        rate = self._rate
        is_silero = self._detector == "silero"
        model: SpeechModel = SileroModel(sample_rate=rate) if is_silero else VoiceDetector(sample_rate=rate)
        self._turns = TurnDetector(
            model, sample_rate=rate, silence_ms=self._silence_ms, turn_model=self._turn_model
        )
