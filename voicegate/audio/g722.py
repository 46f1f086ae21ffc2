"""G.722 (RFC 3551 §4.5.2): wide-band speech at 64 kbit/s, for desk phones and the exchanges behind them.

Each byte holds two samples at 16 kHz, but its RTP clock runs at 8 kHz, by an old mistake that RFC 3551 keeps.
The work is done by the `G722` package: 15 µs to encode 20 ms, 11 to decode them.
"""

from typing import Any, Final

import G722

from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES, fade
from voicegate.audio.resample import RateBridge
from voicegate.errors import UsageError, WireError

__all__ = ["G722Codec"]

_SAMPLE_RATE: Final = 16000
_CLOCK_RATE: Final = 8000
_BIT_RATE: Final = 64000
_TICKS: Final = _CLOCK_RATE // FRAMES_PER_SECOND
_FRAME_BYTES: Final = _SAMPLE_RATE // FRAMES_PER_SECOND * SAMPLE_BYTES
_TICK_BYTES: Final = 2 * SAMPLE_BYTES
"""PCM at 16 kHz that goes into a byte."""


class G722Codec:
    """One call's G.722, both ways."""

    name: Final = "G722"
    clock_rate: Final = _CLOCK_RATE
    silence: Final = b"\xff" * _TICKS
    """Dies away after any sound, but puts the client's decoder out of step, so `encode_silence` is better."""

    def __init__(self) -> None:
        self._bridge = RateBridge(_SAMPLE_RATE, _SAMPLE_RATE)
        self._encoder: Any = None
        self._decoder: Any = None
        self._last = bytes(_FRAME_BYTES)

    @property
    def sample_rate(self) -> int:
        """Samples per second of the PCM."""
        return self._bridge.sample_rate

    @property
    def frame_samples(self) -> int:
        """Samples of PCM in 20 ms."""
        return self.sample_rate // FRAMES_PER_SECOND

    def use_rate(self, sample_rate: int) -> None:
        """Take and give PCM at another rate, resampled.

        Errors: UsageError when it is none of 8000, 16000, 24000, 48000.
        """
        self._bridge = RateBridge(_SAMPLE_RATE, sample_rate)

    def adapt(self, settings: object) -> None:
        """Change nothing: there is nothing to set."""

    def duration(self, payload: bytes) -> int:
        """Return the RTP ticks of a payload, one for each byte.

        Errors: WireError when there are none.
        """
        if not payload:
            raise WireError("an empty G.722 payload")
        return len(payload)

    def decode(self, payload: bytes) -> bytes:
        """Return the samples of a payload.

        Errors: WireError when there are none.
        """
        self.duration(payload)
        if self._decoder is None:
            self._decoder = G722.G722(_SAMPLE_RATE, _BIT_RATE)
        pcm: bytes = self._decoder.decode(payload).tobytes()
        self._last = pcm[-_FRAME_BYTES:]
        return self._bridge.from_codec(pcm)

    def conceal(self, samples: int, *, following: bytes = b"") -> bytes:  # noqa: ARG002 - G.722 carries no FEC
        """Repeat what was heard last, at half the volume each time."""
        pcm, self._last = fade(self._last, self._bridge.codec_samples(samples))
        return self._bridge.from_codec(pcm)

    def encode(self, pcm: bytes) -> bytes:
        """Return the payload for any even number of samples at 16 kHz.

        Errors: UsageError when it is none.
        """
        pcm = self._bridge.to_codec(pcm)
        if len(pcm) % _TICK_BYTES:
            raise UsageError(f"{len(pcm)} bytes of PCM are no whole number of G.722's pairs of samples")
        return self._encode(pcm)

    def encode_silence(self, ticks: int) -> bytes:
        """Return the payload for silence; encoded, since each byte builds on all before it."""
        return self._encode(bytes(ticks * _TICK_BYTES))

    def _encode(self, pcm: bytes) -> bytes:
        if self._encoder is None:
            self._encoder = G722.G722(_SAMPLE_RATE, _BIT_RATE)
        payload: bytes = self._encoder.encode(memoryview(pcm).cast("h"))
        return payload
