"""G.711, PCMU and PCMA (RFC 3551 §4.5.14): a byte per sample at 8 kHz, for clients with nothing better."""

from typing import Final

from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES, audioop, fade
from voicegate.audio.resample import RateBridge
from voicegate.errors import UsageError, WireError

__all__ = ["G711Codec"]

_SAMPLE_RATE: Final = 8000
_FRAME_SAMPLES: Final = _SAMPLE_RATE // FRAMES_PER_SECOND
_FRAME_BYTES: Final = _FRAME_SAMPLES * SAMPLE_BYTES

# Encoder, decoder and the byte that means silence.
_LAWS: Final = {
    "PCMU": (audioop.lin2ulaw, audioop.ulaw2lin, b"\xff"),
    "PCMA": (audioop.lin2alaw, audioop.alaw2lin, b"\xd5"),
}


class G711Codec:
    """One call's G.711, both ways.

    Errors: UsageError unless the name is PCMU or PCMA.
    """

    clock_rate: Final = _SAMPLE_RATE

    def __init__(self, name: str) -> None:
        if name not in _LAWS:
            raise UsageError(f"{name!r} is no G.711")
        self.name: Final = name
        self._encode, self._decode, self._silence = _LAWS[name]
        self.silence: Final = self._silence * _FRAME_SAMPLES
        self._bridge = RateBridge(_SAMPLE_RATE, _SAMPLE_RATE)
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
            raise WireError("an empty G.711 payload")
        return len(payload)

    def decode(self, payload: bytes) -> bytes:
        """Return the samples of a payload.

        Errors: WireError when there are none.
        """
        self.duration(payload)
        pcm = self._decode(payload, SAMPLE_BYTES)
        self._last = pcm[-_FRAME_BYTES:]
        return self._bridge.from_codec(pcm)

    def conceal(self, samples: int, *, following: bytes = b"") -> bytes:  # noqa: ARG002 - G.711 carries no FEC
        """Repeat what was heard last, at half the volume each time."""
        pcm, self._last = fade(self._last, self._bridge.codec_samples(samples))
        return self._bridge.from_codec(pcm)

    def encode(self, pcm: bytes) -> bytes:
        """Return the payload for any number of samples.

        Errors: UsageError when that is no whole number of them at 8 kHz.
        """
        return self._encode(self._bridge.to_codec(pcm), SAMPLE_BYTES)

    def encode_silence(self, ticks: int) -> bytes:
        """Return a payload of silence, which is the same whatever came before."""
        return self._silence * ticks
