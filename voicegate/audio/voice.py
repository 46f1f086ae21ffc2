"""What is speech, by WebRTC's detector (webrtcvad) behind a gate for quiet and steady sound.

webrtcvad alone takes most tones for speech, for ever. The gate asks that a frame be louder than the quietest
sound lately, so a loud tone is taken for speech when it begins, and for background after about ten seconds.
"""

from typing import Final

import webrtcvad

from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES, audioop
from voicegate.audio.resample import RateBridge
from voicegate.errors import UsageError

__all__ = ["VoiceDetector"]

_AGGRESSIVENESS: Final = 2
"""Of webrtcvad, 0 to 3: 3 begins to miss soft syllables."""

_SAMPLE_RATES: Final = (8000, 16000, 32000, 48000)
"""Of webrtcvad."""
_BRIDGED_RATE: Final = 24000
_BRIDGE_RATE: Final = 16000

_MIN_NOISE: Final = 50.0
"""The quietest background assumed, as root mean square: -56 dBFS."""
_NOISE_RISE: Final = 10 ** (3 / 20 / FRAMES_PER_SECOND)
"""The estimate of the background falls at once and rises by 3 dB a second: pauses in speech undo that."""
_VOICE_OVER_NOISE: Final = 2.0
"""A voice is 6 dB above the background."""


class VoiceDetector:
    """Tells speech from anything else, in one stream of 20 ms frames; a `voicegate.audio.turn.SpeechModel`.

    Args:
        sample_rate: 8000, 16000, 24000, 32000 or 48000 Hz.

    Errors: UsageError for another sample rate.
    """

    __slots__ = ("_bridge", "_frame_bytes", "_noise", "_sample_rate", "_vad")

    def __init__(self, *, sample_rate: int) -> None:
        self._bridge = RateBridge(_BRIDGED_RATE, _BRIDGE_RATE) if sample_rate == _BRIDGED_RATE else None
        self._sample_rate = _BRIDGE_RATE if self._bridge else sample_rate
        if self._sample_rate not in _SAMPLE_RATES:
            raise UsageError(
                f"no speech detection at {sample_rate} Hz, only at {(*_SAMPLE_RATES, _BRIDGED_RATE)}"
            )
        self._frame_bytes = sample_rate // FRAMES_PER_SECOND * SAMPLE_BYTES
        self._vad = webrtcvad.Vad(_AGGRESSIVENESS)
        self._noise = _MIN_NOISE

    def is_speech(self, pcm: bytes) -> bool:
        """Take the next 20 ms.

        Errors: UsageError when it is not exactly one frame.
        """
        if len(pcm) != self._frame_bytes:
            raise UsageError(f"{len(pcm)} bytes of PCM are not 20 ms, which are {self._frame_bytes}")
        if self._bridge is not None:
            pcm = self._bridge.from_codec(pcm)
        level = audioop.rms(pcm, SAMPLE_BYTES)
        self._noise = max(_MIN_NOISE, min(level, self._noise * _NOISE_RISE))
        # webrtcvad learns from what it hears, so it hears all but silence, which would only cost time.
        if level < _MIN_NOISE:
            return False
        return bool(self._vad.is_speech(pcm, self._sample_rate)) and level > self._noise * _VOICE_OVER_NOISE
