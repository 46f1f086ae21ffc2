"""G.711, PCMU and PCMA (RFC 3551 §4.5.14): a byte per sample at 8 kHz, for clients with nothing better."""

from typing import Final

from voicegate.audio.byte_codec import ByteCodec
from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES, audioop
from voicegate.errors import UsageError

__all__ = ["G711Codec"]

_SAMPLE_RATE: Final = 8000
_FRAME_SAMPLES: Final = _SAMPLE_RATE // FRAMES_PER_SECOND

# Encoder, decoder and the byte that means silence.
_LAWS: Final = {
    "PCMU": (audioop.lin2ulaw, audioop.ulaw2lin, b"\xff"),
    "PCMA": (audioop.lin2alaw, audioop.alaw2lin, b"\xd5"),
}


class G711Codec(ByteCodec):
    """One call's G.711, both ways.

    Errors: UsageError unless the name is PCMU or PCMA.
    """

    def __init__(self, name: str) -> None:
        if name not in _LAWS:
            raise UsageError(f"{name!r} is no G.711")
        super().__init__(name, codec_rate=_SAMPLE_RATE)
        self._encode, self._decode, self._silence = _LAWS[name]
        self.silence: Final = self._silence * _FRAME_SAMPLES

    def encode(self, pcm: bytes) -> bytes:
        """Return the payload for any number of samples.

        Errors: UsageError when that is no whole number of them at 8 kHz.
        """
        return self._encode(self._bridge.to_codec(pcm), SAMPLE_BYTES)

    def encode_silence(self, ticks: int) -> bytes:
        """Return a payload of silence, which is the same whatever came before."""
        return self._silence * ticks

    def _expand(self, payload: bytes) -> bytes:
        return self._decode(payload, SAMPLE_BYTES)
