"""The client's voice, in pieces."""

from typing import Literal, NamedTuple, Protocol, TypeAlias

__all__ = ["AudioFrame", "AudioListener", "EncodedFrame", "Wants"]


class AudioFrame(NamedTuple):
    """20 ms of the client's voice."""

    pcm: bytes
    """16-bit signed little-endian mono samples."""
    sample_rate: int
    position: int
    """Samples of this call before this frame, on the client's RTP clock: gaps count."""
    is_concealed: bool = False
    """True when the packet was lost and these samples are the codec's guess."""
    concealed_ms: int = 0
    """How many of its milliseconds are made up."""
    level: int | None = None
    """Loudness as the client says it (RFC 6464 §3): 0 is the loudest, 127 silence, in -dBov."""
    is_voice: bool | None = None
    """Whether the client takes it for speech (RFC 6464 §3)."""


class EncodedFrame(NamedTuple):
    """A packet of the client's voice that nobody has decoded."""

    payload: bytes
    """Of one packet; empty for what was lost: its ``ticks`` were missed."""
    ticks: int
    """Its length on the RTP clock."""
    timestamp: int
    """Of RTP, 32 bits."""
    level: int | None = None
    is_voice: bool | None = None


class AudioListener(Protocol):
    """Who takes the client's voice instead of `Call.audio_in`."""

    @property
    def is_encoded(self) -> bool:
        """True for `EncodedFrame`s, of which nothing is decoded; False for `AudioFrame`s."""

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        """Take a frame; called in the media loop of all calls, so it must neither block nor raise."""


Wants: TypeAlias = Literal["nothing", "pcm", "encoded"]
"""What an agent takes of the client's voice."""
