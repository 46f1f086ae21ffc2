"""Sounds to send through a call, and ways to tell whether they came back.

A steady tone proves little: an echo canceller or a noise suppressor may take it away, and a tone fits itself
at any delay. Use `chirp` or `speech_like` where a browser's own sound processing is on, and `correlate` to
recognise them.
"""

import base64
import io
import wave
from pathlib import Path
from typing import Final, NamedTuple, Self

import attrs

from voicegate.errors import UsageError, WireError

try:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray
except ImportError as error:  # pragma: no cover - numpy comes with the test dependencies
    raise ImportError("voicegate.testing.sound needs numpy: pip install numpy") from error

__all__ = [
    "Sound",
    "Match",
    "correlate",
    "recognise",
    "chirp",
    "noise_bursts",
    "silence",
    "speech_like",
    "tone",
]

RATE: Final = 48_000
"""Samples per second; what browsers and Opus work at."""

_FULL_SCALE: Final = 32_767
"""The largest sample of a 16-bit WAV."""

_QUIET: Final = 1e-6
"""Stretches with less than this share of the mean energy count as silent: nothing is recognised in them."""

_STRETCH_SECONDS: Final = 0.5
"""Long enough not to match by chance, short enough to lie between two disturbances."""

_INAUDIBLE: Final = 1e-4
"""The loudness below which a stretch of a recording is not worth recognising."""


def _as_samples(given: ArrayLike) -> NDArray[np.float32]:
    return np.asarray(given, np.float32)


@attrs.frozen(eq=False)
class Sound:
    """Mono sound.

    Attributes:
        samples: Between -1 and 1.
        rate: Samples per second.
    """

    samples: NDArray[np.float32] = attrs.field(converter=_as_samples)
    rate: int = attrs.field(default=RATE, kw_only=True)

    @classmethod
    def read_wav(cls, path: Path) -> Self:
        """Read a WAV file; several channels become their mean.

        Errors: WireError when it is not a WAV file of 16-bit samples.
        """
        return cls.decode(path.read_bytes())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the bytes of a WAV file; several channels become their mean.

        Errors: WireError when they are not a WAV file of 16-bit samples.
        """
        try:
            with wave.open(io.BytesIO(data)) as file:
                width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
                frames = file.readframes(file.getnframes())
        except (EOFError, RuntimeError, wave.Error) as error:  # RuntimeError: a chunk longer than its parent
            raise WireError(f"not a WAV file: {error!r}") from error
        if rate < 1 or width != 2 or len(frames) % (2 * channels):
            raise WireError(f"not whole 16-bit samples: {8 * width} bits, {rate} Hz, {channels} channels")
        samples = np.frombuffer(frames, "<i2").reshape(-1, channels).mean(axis=1) / _FULL_SCALE
        return cls(samples, rate=rate)

    @classmethod
    def from_base64(cls, text: str, *, rate: int) -> Self:
        """Read little-endian 32-bit floats in Base64, which is how the recorder hands a sound over."""
        return cls(np.frombuffer(base64.b64decode(text), "<f4"), rate=rate)

    @classmethod
    def from_pcm(cls, pcm: bytes, *, rate: int) -> Self:
        """Read 16-bit little-endian samples, as agents hear and speak them."""
        return cls(np.frombuffer(pcm, "<i2") / _FULL_SCALE, rate=rate)

    @property
    def pcm(self) -> bytes:
        """The sound as 16-bit little-endian samples; what is too loud is clipped."""
        return np.rint(np.clip(self.samples, -1, 1) * _FULL_SCALE).astype("<i2").tobytes()

    def encode(self) -> bytes:
        """Write the bytes of a WAV file of 16-bit samples; what is too loud is clipped."""
        target = io.BytesIO()
        with wave.open(target, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self.rate)
            file.writeframes(self.pcm)
        return target.getvalue()

    def write_wav(self, path: Path) -> None:
        """Write a WAV file of 16-bit samples; what is too loud is clipped."""
        path.write_bytes(self.encode())

    def __add__(self, other: "Sound") -> "Sound":
        """Put another sound after this one."""
        _require_same_rate(self, other)
        return Sound(np.concatenate([self.samples, other.samples]), rate=self.rate)

    def cut(self, start: float, stop: float) -> "Sound":
        """Take the part between two moments, in seconds from the beginning."""
        return Sound(self.samples[round(start * self.rate) : round(stop * self.rate)], rate=self.rate)

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.rate

    @property
    def loudness(self) -> float:
        """The root of the mean square, between 0 and 1; a full-scale tone has 0.707."""
        return (
            float(np.sqrt(np.mean(np.square(self.samples, dtype=np.float64)))) if len(self.samples) else 0.0
        )

    def tone_level(self, frequency: float) -> float:
        """Measure the amplitude, between 0 and 1, of a tone of this frequency in Hz."""
        window = np.hanning(len(self.samples))
        turns = np.arange(len(self.samples)) * (frequency / self.rate)
        return float(2 * abs(np.sum(self.samples * window * np.exp(-2j * np.pi * turns))) / window.sum())

    def dominant_frequency(self) -> float:
        """Find the strongest frequency in Hz, to the rate divided by the number of samples."""
        spectrum = np.abs(np.fft.rfft(self.samples * np.hanning(len(self.samples))))
        return float(np.argmax(spectrum) * self.rate / len(self.samples))


class Match(NamedTuple):
    """Where one sound is most like a part of another."""

    peak: float
    """Likeness between 0 and 1: 1 for the same sound, however loud and in either polarity."""
    lag: float
    """Seconds from the beginning of the whole to that of the part."""


def correlate(part: Sound, whole: Sound) -> Match:
    """Find where in ``whole`` a shorter sound is heard, by normalised cross-correlation.

    Errors: UsageError when the part is silent or longer than the whole, or their rates differ.
    """
    _require_same_rate(part, whole)
    count = len(whole.samples) - len(part.samples) + 1
    needle, hay = part.samples.astype(np.float64), whole.samples.astype(np.float64)
    needle_energy = float(needle @ needle)
    if count < 1 or needle_energy == 0.0:
        raise UsageError("the part to look for is silent, or longer than the whole")
    size = 1 << (len(hay) + len(needle) - 1).bit_length()
    products = np.fft.irfft(np.fft.rfft(hay, size) * np.conj(np.fft.rfft(needle, size)), size)[:count]
    running = np.concatenate([[0.0], np.cumsum(hay * hay)])
    energies = running[len(needle) :] - running[:count]
    quiet = energies <= _QUIET * max(running[-1] * len(needle) / len(hay), np.finfo(float).tiny)
    likeness = np.abs(products) / np.sqrt(np.where(quiet, np.inf, energies) * needle_energy)
    best = int(np.argmax(likeness))
    return Match(min(float(likeness[best]), 1.0), best / whole.rate)


def recognise(heard: Sound, spoken: Sound) -> Match:
    """Tell whether any stretch of what was heard is like anything that was spoken.

    One good stretch is enough, so that a lost packet, a jitter buffer that stretches time, or a browser short
    of CPU does no harm. Above 0.8 it is the same sound; other speech stays below 0.6.

    Returns:
        The best match; its lag is from the beginning of what was spoken to that of the recording; negative if
        the recording began first.

    Errors: UsageError when what was spoken is so short (0.75 s) that no stretch need lie within it.
    """
    if spoken.seconds < 1.5 * _STRETCH_SECONDS:
        raise UsageError(f"{spoken.seconds:.2f} s are too short to be recognised")
    starts = np.arange(0, heard.seconds - _STRETCH_SECONDS, _STRETCH_SECONDS / 2)
    matches = [Match(0.0, 0.0)]
    for start in starts.tolist():
        stretch = heard.cut(start, start + _STRETCH_SECONDS)
        if stretch.loudness > _INAUDIBLE:
            peak, lag = correlate(stretch, spoken)
            matches.append(Match(peak, lag - start))
    return max(matches)


def silence(seconds: float, *, rate: int = RATE) -> Sound:
    """Make silence."""
    return Sound(np.zeros(round(seconds * rate)), rate=rate)


def tone(frequency: float, seconds: float, *, level: float = 0.5, rate: int = RATE) -> Sound:
    """Make a steady tone: frequency in Hz, level its amplitude between 0 and 1."""
    return Sound(level * np.sin(2 * np.pi * frequency * _times(seconds, rate)), rate=rate)


def chirp(start: float, stop: float, seconds: float, *, level: float = 0.5, rate: int = RATE) -> Sound:
    """Make a tone that glides from one frequency to another, in Hz: unlike itself at any other moment."""
    times = _times(seconds, rate)
    cycles = start * times + (stop - start) * times**2 / (2 * seconds)
    return Sound(level * np.sin(2 * np.pi * cycles), rate=rate)


def noise_bursts(
    seconds: float,
    *,
    every: float = 0.25,
    length: float = 0.1,
    level: float = 0.5,
    seed: int = 1,
    rate: int = RATE,
) -> Sound:
    """Make bursts of white noise, each different, ``every`` so many seconds and ``length`` seconds long."""
    times = _times(seconds, rate)
    noise = np.random.default_rng(seed).uniform(-level, level, len(times))
    return Sound(np.where(times % every < length, noise, 0.0), rate=rate)


def speech_like(seconds: float, *, level: float = 0.5, seed: int = 1, rate: int = RATE) -> Sound:
    """Make something that voice detectors take for speech: four syllables a second, no two of them alike.

    Each syllable is a gliding voice pitch with its harmonics, weighted by two formants.
    """
    generator = np.random.default_rng(seed)
    syllables = [_syllable(generator, rate) for _ in range(int(seconds * 4) + 1)]
    voice = np.concatenate(syllables)[: round(seconds * rate)]
    return Sound(level * voice, rate=rate)


def _syllable(generator: np.random.Generator, rate: int) -> NDArray[np.float64]:
    """Make a quarter of a second of voice that swells and fades, with a peak of 1."""
    times = _times(0.25, rate)
    pitch, glide = generator.uniform(100, 200), generator.uniform(-120, 120)
    phase = 2 * np.pi * (pitch * times + glide * times**2)
    first, second = generator.uniform(300, 800), generator.uniform(900, 2500)
    voice = np.zeros(len(times))
    for harmonic in range(1, 25):
        frequency = harmonic * pitch
        weight = np.exp(-(((frequency - first) / 200) ** 2)) + 0.5 * np.exp(
            -(((frequency - second) / 300) ** 2)
        )
        voice += (weight + 0.02) * np.sin(harmonic * phase)
    voice *= np.sqrt(np.sin(np.pi * times / 0.25))
    voice /= np.abs(voice).max()
    return voice


def _times(seconds: float, rate: int) -> NDArray[np.float64]:
    return np.arange(round(seconds * rate)) / rate


def _require_same_rate(one: Sound, other: Sound) -> None:
    if one.rate != other.rate:
        raise UsageError(f"sounds of {one.rate} and {other.rate} samples per second do not compare")
