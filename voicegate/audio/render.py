"""From what came, or did not, to frames of 20 ms: decoding, in-band FEC and concealment."""

from typing import Final

from voicegate.audio.codec import Codec
from voicegate.audio.fec import fec_samples
from voicegate.audio.frame import FrameCutter
from voicegate.audio.pcm import SAMPLE_BYTES
from voicegate.audio.receive import Lost, Received
from voicegate.errors import WireError

__all__ = ["Renderer"]

_QUANTA_PER_SECOND: Final = 400
"""Codecs make up multiples of 2.5 ms."""
_MAX_DTX_BYTES: Final = 2
"""Opus packets this short carry no audio: the encoder has gone silent, and may send nothing for long."""


class Renderer:
    """Decodes one call's audio into a `FrameCutter`."""

    def __init__(self, codec: Codec) -> None:
        self.frames: Final = FrameCutter(codec.sample_rate)
        self.sample_rate = codec.sample_rate
        self.clock_rate: Final = codec.clock_rate
        self.concealed = 0.0
        """Seconds made up in place of what was lost."""
        self.fec_recovered = 0
        """Lost packets of which the next one had a copy."""
        self.refused = 0
        """Packets that the codec could not decode."""
        self.level: int | None = None
        self.is_voice: bool | None = None
        self.is_pausing = False
        """Whether the last packet announced that none may follow for a while."""
        self._codec = codec
        self._has_begun = False
        self._is_opus = codec.name == "opus"

    def follow_rate(self) -> None:
        """Take note that the codec's PCM may have got another sample rate."""
        if self.sample_rate != self._codec.sample_rate:
            self.sample_rate = self._codec.sample_rate
            self.frames.use_rate(self.sample_rate)

    def samples(self, ticks: int) -> int:
        """Return how many samples some ticks are."""
        return ticks * self.sample_rate // self.clock_rate

    def render(self, item: Received | Lost) -> None:
        """Turn an item into samples; the cutter has to be where it begins."""
        if isinstance(item, Lost):
            self._render_lost(item)
            return
        self.level = item.level
        self.is_voice = item.is_voice
        self.is_pausing = self._is_opus and len(item.payload) <= _MAX_DTX_BYTES
        try:
            pcm = self._codec.decode(item.payload)
        except WireError:
            self.refused += 1
            # Before the first sound there is nothing to make it up from.
            if self._has_begun:
                self._make_up(item.ticks)
            return
        self._has_begun = True
        self.frames.push(pcm)

    def fill(self) -> int:
        """Complete a frame for which nothing came; return how many samples that took."""
        samples = self.frames.lacking
        quantum = self.sample_rate // _QUANTA_PER_SECOND
        pcm = self._codec.conceal(-(-samples // quantum) * quantum)
        self.frames.insert(pcm[: samples * SAMPLE_BYTES])
        return samples

    def _render_lost(self, item: Lost) -> None:
        copied = min(item.ticks, fec_samples(item.following)) if self._is_opus else 0
        self._make_up(item.ticks - copied)
        if copied:
            self.fec_recovered += 1
            self.frames.push(self._codec.conceal(self.samples(copied), following=item.following))

    def _make_up(self, ticks: int) -> None:
        samples = self.samples(ticks - ticks % (self.clock_rate // _QUANTA_PER_SECOND))
        if samples:
            self.concealed += samples / self.sample_rate
            self.frames.push(self._codec.conceal(samples), is_made_up=True)
