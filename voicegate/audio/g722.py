"""G.722 (RFC 3551 §4.5.2): wide-band speech at 64 kbit/s, for desk phones and the exchanges behind them.

Each byte holds two samples at 16 kHz, but its RTP clock runs at 8 kHz, by an old mistake that RFC 3551 keeps.
The work is done by the `G722` package: 15 µs to encode 20 ms, 11 to decode them.
"""

from typing import Any, Final

import G722

from voicegate.audio.byte_codec import ByteCodec
from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES
from voicegate.errors import UsageError

__all__ = ["G722Codec"]

_SAMPLE_RATE: Final = 16000
_BIT_RATE: Final = 64000
_TICKS: Final = ByteCodec.clock_rate // FRAMES_PER_SECOND
_TICK_BYTES: Final = 2 * SAMPLE_BYTES
"""PCM at 16 kHz that goes into a byte."""


class G722Codec(ByteCodec):
    """One call's G.722, both ways."""

    silence: Final = b"\xff" * _TICKS
    """Dies away after any sound, but puts the client's decoder out of step, so `encode_silence` is better."""

    def __init__(self) -> None:
        super().__init__("G722", codec_rate=_SAMPLE_RATE)
        self._encoder: Any = None
        self._decoder: Any = None

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

    def _expand(self, payload: bytes) -> bytes:
        if self._decoder is None:
            self._decoder = G722.G722(_SAMPLE_RATE, _BIT_RATE)
        pcm: bytes = self._decoder.decode(payload).tobytes()
        return pcm
