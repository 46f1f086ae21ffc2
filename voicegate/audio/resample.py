"""Another sampling rate, by libsoxr.

libsoxr's engine for fixed ratios works in blocks: samples come out in bursts, at its quality HQ 37 to 175 ms
behind what went in, and LQ, which is quicker (20 to 60 ms), is 8 dB too quiet at 85 % of the band. Its engine
for ratios that may vary has short filters instead: after the first frames, each 20 ms in give 20 ms out. So
that one is used, with a ratio that never varies. Measured on one core:

    from -> to (kHz)     48 -> 16   16 -> 48   24 -> 48   48 -> 24   48 -> 8   8 -> 48   16 -> 8   8 -> 16
    delay (ms)             12.5       15         10         5         27.5      30        15        30
    20 ms of sound (µs)     52        25         29        20         28        20         9        12
    band flat to 85 %, what does not fit into it below -80 dB; 43 kB for each direction

Opus needs none of this: libopus codes at any of these rates itself, without delay (`OpusCodec.use_rate`).
"""

from typing import Final

import numpy as np
import soxr

from voicegate.audio.pcm import SAMPLE_BYTES
from voicegate.errors import UsageError

__all__ = ["Resampler", "RateBridge", "SAMPLE_RATES", "require_rate"]

SAMPLE_RATES: Final = (8000, 16000, 24000, 48000)
"""What an agent may ask for: rates of telephones, of speech recognition, of speech synthesis, and of Opus."""


class Resampler:
    """A stream of samples at one rate to the same stream at another.

    What comes out is up to 30 ms behind what went in; with `flush`, it lasts as long to the sample.

    Errors: UsageError when a rate is none of `SAMPLE_RATES`.
    """

    __slots__ = ("_given", "_source_rate", "_stream", "_taken", "_target_rate")

    def __init__(self, source_rate: int, target_rate: int) -> None:
        require_rate(source_rate)
        require_rate(target_rate)
        self._source_rate = source_rate
        self._target_rate = target_rate
        self._taken = self._given = 0
        self._stream = None
        if source_rate != target_rate:
            self._stream = soxr.ResampleStream(source_rate, target_rate, 1, dtype="int16", vr=True)

    def process(self, pcm: bytes) -> bytes:
        """Take any number of samples and return those that are ready.

        Errors: UsageError when the last sample is incomplete.
        """
        if len(pcm) % SAMPLE_BYTES:
            raise UsageError(f"{len(pcm)} bytes of PCM end within a sample")
        if self._stream is None:
            return pcm
        samples = np.frombuffer(pcm, np.int16)
        ready = self._stream.resample_chunk(samples)
        self._taken += len(samples)
        self._given += len(ready)
        return bytes(ready.tobytes())

    def flush(self) -> bytes:
        """Return what is left; the next sample taken begins a new stream."""
        if self._stream is None:
            return b""
        rest = bytes(self._stream.resample_chunk(np.empty(0, np.int16), last=True).tobytes())
        # libsoxr rounds its way to the end, and may be a sample off.
        missing = (self._taken * self._target_rate // self._source_rate - self._given) * SAMPLE_BYTES
        self._stream.clear()
        self._taken = self._given = 0
        return rest[: max(0, missing)].ljust(missing, b"\0")


class RateBridge:
    """Both ways between the rate of a codec and the rate of its PCM on our side.

    For each frame in, a frame just as long comes out: what a resampler holds back at first is replaced by
    silence in front. Nothing is allocated for a direction that is not used, nor when the rates are the same.

    Errors: UsageError when a rate is none of `SAMPLE_RATES`.
    """

    __slots__ = ("_from_codec", "_to_codec", "codec_rate", "sample_rate")

    def __init__(self, codec_rate: int, sample_rate: int) -> None:
        require_rate(codec_rate)
        require_rate(sample_rate)
        self.codec_rate: Final = codec_rate
        self.sample_rate: Final = sample_rate
        self._to_codec: _FrameResampler | None = None
        self._from_codec: _FrameResampler | None = None

    def to_codec(self, pcm: bytes) -> bytes:
        """Return a frame of ours as the codec wants it.

        Errors: UsageError when that is no whole number of samples, at either rate.
        """
        if self._to_codec is None:
            self._to_codec = _FrameResampler(self.sample_rate, self.codec_rate)
        return self._to_codec.process(pcm)

    def from_codec(self, pcm: bytes) -> bytes:
        """Return a frame of the codec at our rate.

        Errors: UsageError when that is no whole number of samples, at either rate.
        """
        if self._from_codec is None:
            self._from_codec = _FrameResampler(self.codec_rate, self.sample_rate)
        return self._from_codec.process(pcm)

    def codec_samples(self, samples: int) -> int:
        """Return how many samples of the codec last as long as so many of ours."""
        return samples * self.codec_rate // self.sample_rate


class _FrameResampler:
    __slots__ = ("_ready", "_resampler", "_source_rate", "_target_rate")

    def __init__(self, source_rate: int, target_rate: int) -> None:
        self._source_rate = source_rate
        self._target_rate = target_rate
        self._resampler = Resampler(source_rate, target_rate)
        self._ready = bytearray()

    def process(self, pcm: bytes) -> bytes:
        if self._source_rate == self._target_rate:
            return self._resampler.process(pcm)
        samples, odd = divmod(len(pcm) // SAMPLE_BYTES * self._target_rate, self._source_rate)
        if odd:
            raise UsageError(
                f"{len(pcm)} bytes of PCM are no whole number of samples at {self._target_rate} Hz"
            )
        self._ready += self._resampler.process(pcm)
        wanted = samples * SAMPLE_BYTES
        frame = bytes(self._ready[:wanted])
        del self._ready[:wanted]
        return frame.rjust(wanted, b"\0")


def require_rate(sample_rate: int) -> None:
    """Refuse a rate that is none of `SAMPLE_RATES`.

    Errors: UsageError.
    """
    if sample_rate not in SAMPLE_RATES:
        raise UsageError(f"no sample rate of {sample_rate} Hz, only {SAMPLE_RATES}")
