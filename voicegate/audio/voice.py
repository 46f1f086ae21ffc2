"""Where speech begins and ends, by WebRTC's detector (webrtcvad) behind a gate for quiet and steady sound.

webrtcvad alone takes most tones for speech, for ever. The gate asks that a frame be louder than the quietest
sound lately, so a loud tone is taken for speech when it begins, and for background after about ten seconds.
"""

from collections import deque
from typing import Final, NamedTuple, TypeAlias

import webrtcvad

from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES, audioop
from voicegate.errors import UsageError

__all__ = ["SpeechStarted", "SpeechStopped", "VoiceDetector", "VoiceEvent"]

DEFAULT_SILENCE_MS: Final = 600
"""A pause this long ends a turn: pauses within sentences are mostly shorter."""

_AGGRESSIVENESS: Final = 2
"""Of webrtcvad, 0 to 3: 3 begins to miss soft syllables."""

_SAMPLE_RATES: Final = (8000, 16000, 32000, 48000)
_WINDOW_FRAMES: Final = 5
_ONSET_FRAMES: Final = 4
"""Speech begins when 80 of the last 100 ms are voiced: a cough or a key is shorter."""

_MIN_NOISE: Final = 50.0
"""The quietest background assumed, as root mean square: -56 dBFS."""
_NOISE_RISE: Final = 10 ** (3 / 20 / FRAMES_PER_SECOND)
"""The estimate of the background falls at once and rises by 3 dB a second: pauses in speech undo that."""
_VOICE_OVER_NOISE: Final = 2.0
"""A voice is 6 dB above the background."""


class SpeechStarted(NamedTuple):
    """The user began to speak."""

    position: int
    """The first sample of the first voiced frame, counted from the first frame handled."""


class SpeechStopped(NamedTuple):
    """The user's turn is over."""

    position: int
    """The end of the last voiced frame, in samples."""


VoiceEvent: TypeAlias = SpeechStarted | SpeechStopped


class VoiceDetector:
    """Speech in one stream of 20 ms frames.

    Args:
        sample_rate: 8000, 16000, 32000 or 48000 Hz.
        silence_ms: how long a pause ends the turn.

    Errors: UsageError for another sample rate.
    """

    def __init__(self, *, sample_rate: int, silence_ms: int = DEFAULT_SILENCE_MS) -> None:
        if sample_rate not in _SAMPLE_RATES:
            raise UsageError(f"no speech detection at {sample_rate} Hz, only at {_SAMPLE_RATES}")
        self._sample_rate = sample_rate
        self._frame_samples = sample_rate // FRAMES_PER_SECOND
        self._silence_frames = max(1, silence_ms * FRAMES_PER_SECOND // 1000)
        self._vad = webrtcvad.Vad(_AGGRESSIVENESS)
        self._noise = _MIN_NOISE
        self._position = 0
        self._window: deque[bool] = deque(maxlen=_WINDOW_FRAMES)
        self._unvoiced = 0
        self._is_speaking = False

    @property
    def is_speaking(self) -> bool:
        """Whether speech has started and not stopped."""
        return self._is_speaking

    def handle_frame(self, pcm: bytes) -> VoiceEvent | None:
        """Take the next 20 ms.

        Errors: UsageError when it is not exactly one frame.
        """
        if len(pcm) != self._frame_samples * SAMPLE_BYTES:
            raise UsageError(f"{len(pcm)} bytes of PCM are not 20 ms at {self._sample_rate} Hz")
        self._position += self._frame_samples
        is_voiced = self._is_voiced(pcm)
        return self._await_stop(is_voiced) if self._is_speaking else self._await_start(is_voiced)

    def _await_start(self, is_voiced: bool) -> SpeechStarted | None:
        self._window.append(is_voiced)
        if self._window.count(True) < _ONSET_FRAMES:
            return None
        frames = len(self._window) - self._window.index(True)
        self._window.clear()
        self._unvoiced = 0
        self._is_speaking = True
        return SpeechStarted(self._position - frames * self._frame_samples)

    def _await_stop(self, is_voiced: bool) -> SpeechStopped | None:
        self._unvoiced = 0 if is_voiced else self._unvoiced + 1
        if self._unvoiced < self._silence_frames:
            return None
        self._is_speaking = False
        return SpeechStopped(self._position - self._unvoiced * self._frame_samples)

    def _is_voiced(self, pcm: bytes) -> bool:
        level = audioop.rms(pcm, SAMPLE_BYTES)
        self._noise = max(_MIN_NOISE, min(level, self._noise * _NOISE_RISE))
        # webrtcvad learns from what it hears, so it hears all but silence, which would only cost time.
        if level < _MIN_NOISE:
            return False
        return bool(self._vad.is_speech(pcm, self._sample_rate)) and level > self._noise * _VOICE_OVER_NOISE
