"""What G.711 and G.722 have in common: a byte for each RTP tick, no copies, nothing to set."""

from abc import ABC, abstractmethod
from typing import Final

from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES, fade
from voicegate.audio.resample import RateBridge
from voicegate.errors import WireError

__all__ = ["ByteCodec"]


class ByteCodec(ABC):
    """One call's codec, both ways; see `voicegate.audio.Codec`.

    Args:
        name: The encoding name of SDP.
        codec_rate: Samples per second that the codec itself works at.
    """

    clock_rate: Final = 8000

    def __init__(self, name: str, *, codec_rate: int) -> None:
        self.name: Final = name
        self._codec_rate = codec_rate
        self._frame_bytes = codec_rate // FRAMES_PER_SECOND * SAMPLE_BYTES
        self._bridge = RateBridge(codec_rate, codec_rate)
        self._last = bytes(self._frame_bytes)

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
        self._bridge = RateBridge(self._codec_rate, sample_rate)

    def adapt(self, settings: object) -> None:  # noqa: B027 - it is whole
        """Change nothing: there is nothing to set."""

    def duration(self, payload: bytes) -> int:
        """Return the RTP ticks of a payload, one for each byte.

        Errors: WireError when there are none.
        """
        if not payload:
            raise WireError(f"an empty {self.name} payload")
        return len(payload)

    def decode(self, payload: bytes) -> bytes:
        """Return the samples of a payload.

        Errors: WireError when there are none.
        """
        self.duration(payload)
        pcm = self._expand(payload)
        self._last = pcm[-self._frame_bytes :]
        return self._bridge.from_codec(pcm)

    def conceal(self, samples: int, *, following: bytes = b"") -> bytes:  # noqa: ARG002 - it carries no FEC
        """Repeat what was heard last, at half the volume each time."""
        pcm, self._last = fade(self._last, self._bridge.codec_samples(samples))
        return self._bridge.from_codec(pcm)

    @abstractmethod
    def _expand(self, payload: bytes) -> bytes:
        """Return the samples of a payload, at the codec's rate."""
