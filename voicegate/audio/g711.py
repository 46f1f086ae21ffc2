"""G.711, PCMU and PCMA (RFC 3551 §4.5.14): a byte per sample at 8 kHz, for clients with nothing better."""

from typing import Final

from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES, audioop
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

    sample_rate: Final = _SAMPLE_RATE
    clock_rate: Final = _SAMPLE_RATE
    frame_samples: Final = _FRAME_SAMPLES

    def __init__(self, name: str) -> None:
        if name not in _LAWS:
            raise UsageError(f"{name!r} is no G.711")
        self.name: Final = name
        self._encode, self._decode, silence = _LAWS[name]
        self.silence: Final = silence * _FRAME_SAMPLES
        self._last = bytes(_FRAME_BYTES)

    def duration(self, payload: bytes) -> int:
        """Return the samples in a payload.

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
        return pcm

    def conceal(self, samples: int, *, following: bytes = b"") -> bytes:  # noqa: ARG002 - G.711 carries no FEC
        """Repeat what was heard last, at half the volume each time."""
        pcm = bytearray()
        while len(pcm) < samples * SAMPLE_BYTES:
            self._last = audioop.mul(self._last, SAMPLE_BYTES, 0.5)
            pcm += self._last
        return bytes(pcm[: samples * SAMPLE_BYTES])

    def encode(self, pcm: bytes) -> bytes:
        """Return the payload for any number of samples.

        Errors: UsageError when the last one is incomplete.
        """
        if len(pcm) % SAMPLE_BYTES:
            raise UsageError(f"{len(pcm)} bytes of PCM end within a sample")
        return self._encode(pcm, SAMPLE_BYTES)
