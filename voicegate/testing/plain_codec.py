"""A codec that changes nothing: its packets are samples, so that a test hears to the bit what was said."""

from typing import Final

from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES, fade
from voicegate.audio.resample import RateBridge
from voicegate.errors import WireError

__all__ = ["PlainCodec"]


class PlainCodec:
    """One call's codec, both ways; see `voicegate.audio.Codec`.

    Args:
        rate: Samples per second of its packets, and ticks of their timestamps.

    Errors: UsageError when the rate is none of 8000, 16000, 24000, 48000.
    """

    name: Final = "L16"

    def __init__(self, rate: int) -> None:
        self.clock_rate: Final = rate
        self.silence: Final = bytes(rate // FRAMES_PER_SECOND * SAMPLE_BYTES)
        self._bridge = RateBridge(rate, rate)
        self._last = self.silence

    @property
    def sample_rate(self) -> int:
        """Samples per second of the agent's PCM."""
        return self._bridge.sample_rate

    @property
    def frame_samples(self) -> int:
        """Samples of the agent's PCM in 20 ms."""
        return self.sample_rate // FRAMES_PER_SECOND

    def use_rate(self, sample_rate: int) -> None:
        """Take and give PCM at another rate, resampled.

        Errors: UsageError when it is none of 8000, 16000, 24000, 48000.
        """
        self._bridge = RateBridge(self.clock_rate, sample_rate)

    def adapt(self, settings: object) -> None:
        """Change nothing: there is nothing to set."""

    def duration(self, payload: bytes) -> int:
        """Return the ticks of a payload.

        Errors: WireError when these are no whole samples, or none.
        """
        if not payload or len(payload) % SAMPLE_BYTES:
            raise WireError(f"{len(payload)} bytes of samples")
        return len(payload) // SAMPLE_BYTES

    def decode(self, payload: bytes) -> bytes:
        """Return the samples of a payload, at the agent's rate.

        Errors: WireError when these are no whole samples, or none.
        """
        self.duration(payload)
        self._last = payload
        return self._bridge.from_codec(payload)

    def conceal(self, samples: int, *, following: bytes = b"") -> bytes:  # noqa: ARG002 - it carries no copy
        """Repeat what was heard last, at half the volume each time."""
        pcm, self._last = fade(self._last, self._bridge.codec_samples(samples))
        return self._bridge.from_codec(pcm)

    def encode(self, pcm: bytes) -> bytes:
        """Return the payload of a frame."""
        return self._bridge.to_codec(pcm)

    def encode_silence(self, ticks: int) -> bytes:
        """Return a payload of silence."""
        return bytes(ticks * SAMPLE_BYTES)
