"""The agent's voice without any I/O or clock: what is queued comes out as one payload per slot."""

from typing import Final, NamedTuple

from voicegate.audio import Codec, PlayoutQueue
from voicegate.sdp import AudioParameters

__all__ = ["Downlink", "Outgoing"]

_TRAILING_SILENCE_FRAMES: Final = 10
"""Silent frames that are encoded after speech, so that the codec's state fades; then a canned one repeats.

With DTX the codec goes on: only it knows when a packet is due."""


class Outgoing(NamedTuple):
    """What leaves in one slot."""

    payload: bytes
    """Of one RTP packet; empty when the codec says that nothing needs to be sent (Opus DTX)."""
    ticks: int
    """Its length on the media clock."""
    is_onset: bool
    """Whether speech begins with it, so that the packet is to be marked (RFC 3551 §4.1)."""


class Downlink:
    """Playout queue and encoder of one call."""

    def __init__(self, audio: AudioParameters, codec: Codec) -> None:
        self.playout: Final = PlayoutQueue(sample_rate=codec.sample_rate)
        self.slot_ticks: Final = audio.clock_rate // 50
        """Length of a slot on the media clock."""
        self.slot_seconds: Final = 0.02
        self._codec = codec
        self._has_dtx = audio.fmtp.get("usedtx") == "1"
        self._silent_frames = 1  # so that the first speech is an onset, too

    def next_payload(self) -> Outgoing:
        """Take what leaves in the slot that has begun."""
        pcm = self.playout.pull()
        is_onset = pcm is not None and self._silent_frames > 0
        self._silent_frames = 0 if pcm is not None else self._silent_frames + 1
        if self._silent_frames > _TRAILING_SILENCE_FRAMES and not self._has_dtx:
            payload = self._codec.silence
        else:
            payload = self._codec.encode(pcm or bytes(2 * self._codec.frame_samples))
        return Outgoing(payload, self.slot_ticks, is_onset)
