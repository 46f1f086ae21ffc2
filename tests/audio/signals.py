"""Sounds to test with, made up rather than recorded: PCM as the code takes it, and ways to compare it."""

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float64]

_FORMANTS = ((700, 90, 1.0), (1200, 110, 0.6), (2600, 160, 0.3))


def voice(seconds: float, *, sample_rate: int = 48000, peak: int = 12000) -> bytes:
    """Return a voice saying "ah" four times a second: pulses of about 110 Hz through three formants."""
    time = np.arange(int(seconds * sample_rate)) / sample_rate
    phase = np.cumsum(110 + 20 * np.sin(2 * np.pi * 0.7 * time)) / sample_rate
    pulses = (np.diff(np.floor(phase), prepend=0) > 0).astype(float)
    sound = np.zeros(len(time))
    ring = np.arange(sample_rate // 20) / sample_rate
    for frequency, bandwidth, gain in _FORMANTS:
        response = np.exp(-np.pi * bandwidth * ring) * np.sin(2 * np.pi * frequency * ring)
        sound += gain * np.convolve(pulses, response)[: len(time)]
    sound *= 0.5 - 0.5 * np.cos(2 * np.pi * 4 * time)
    return to_pcm(sound / np.abs(sound).max() * peak)


def tone(seconds: float, *, frequency: float = 440, sample_rate: int = 48000, peak: int = 8000) -> bytes:
    """Return a sine."""
    time = np.arange(int(seconds * sample_rate)) / sample_rate
    return to_pcm(peak * np.sin(2 * np.pi * frequency * time))


def noise(seconds: float, *, sample_rate: int = 48000, deviation: float = 300) -> bytes:
    """Return white noise, the same every time."""
    generator = np.random.default_rng(1)
    return to_pcm(deviation * generator.standard_normal(int(seconds * sample_rate)).clip(-4, 4))


def to_pcm(samples: Samples) -> bytes:
    return samples.astype("<i2").tobytes()


def to_samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def frames(pcm: bytes, frame_samples: int = 960) -> list[bytes]:
    size = 2 * frame_samples
    return [pcm[start : start + size] for start in range(0, len(pcm) - size + 1, size)]


def likeness(sent: bytes, heard: bytes) -> tuple[float, int]:
    """Return the best correlation of two sounds, 0 to 1, and by how many samples the second is behind."""
    a, b = to_samples(sent), to_samples(heard)
    size = 2 * max(len(a), len(b))
    correlation = np.fft.irfft(np.conj(np.fft.rfft(a, size)) * np.fft.rfft(b, size), size)
    lag = int(np.argmax(correlation))
    return float(correlation[lag] / (np.linalg.norm(a) * np.linalg.norm(b))), lag


def distance_db(expected: Samples, got: Samples) -> float:
    """Return the signal to noise ratio of one sound taken for another."""
    return float(10 * np.log10((expected**2).sum() / ((expected - got) ** 2).sum()))
