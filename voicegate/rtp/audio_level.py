"""How loud a packet is, which its sender tells in a header extension (RFC 6464 §3): nothing need be decoded.

One byte: the voice flag in the top bit, the level below it.
"""

from typing import Final, NamedTuple, Self

from voicegate.errors import UsageError, WireError

__all__ = ["AUDIO_LEVEL_URI", "AudioLevel"]

AUDIO_LEVEL_URI: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
"""What the extension is called in SDP (RFC 6464 §4)."""

_SILENCE: Final = 127
_VOICE_FLAG: Final = 0x80


class AudioLevel(NamedTuple):
    """The loudness of the audio in one packet."""

    level: int
    """Decibels below the loudest possible (-dBov): 0 is overload, 127 is digital silence."""
    is_voice: bool
    """Whether the sender believes that this is speech; meaningless unless the SDP said ``vad=on``."""

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Take the value of the header extension apart.

        Errors: WireError.
        """
        if len(value) != 1:
            raise WireError(f"an audio level of {len(value)} bytes, 1 expected")
        return cls(value[0] & _SILENCE, value[0] >= _VOICE_FLAG)

    def encode(self) -> bytes:
        """Write the value of the header extension.

        Errors: UsageError when the level is not within 0..127.
        """
        if not 0 <= self.level <= _SILENCE:
            raise UsageError(f"an audio level of {self.level}, 0..127 possible")
        return bytes((self.level | _VOICE_FLAG if self.is_voice else self.level,))
