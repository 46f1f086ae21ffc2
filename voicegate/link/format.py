"""Which sound an agent takes and gives, by names that both ends know."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import attrs

from voicegate.link.frame import FrameKind

__all__ = ["DEFAULT_FORMAT", "FORMATS", "PCM_KINDS", "AudioFormat", "choose_format"]

DEFAULT_FORMAT: Final = "pcm16/24000"
"""For an agent that says nothing: what most models of speech take and give."""

PCM_KINDS: Final[Mapping[int, FrameKind]] = {
    8000: FrameKind.PCM16_8000,
    16_000: FrameKind.PCM16_16000,
    24_000: FrameKind.PCM16_24000,
    48_000: FrameKind.PCM16_48000,
}
"""By samples a second."""

_OPUS_RATE: Final = 48_000


@attrs.frozen
class AudioFormat:
    """How the sound of a call is written, both ways."""

    name: str
    kind: FrameKind
    sample_rate: int
    """Samples a second of the PCM that it is made of, or could be."""

    @property
    def law(self) -> Literal["PCMU", "PCMA"] | None:
        """The name of a G.711."""
        return {FrameKind.PCMU: "PCMU", FrameKind.PCMA: "PCMA"}.get(self.kind)  # type: ignore[return-value]


FORMATS: Final[Mapping[str, AudioFormat]] = {
    known.name: known
    for known in (
        *(AudioFormat(f"pcm16/{rate}", kind, rate) for rate, kind in PCM_KINDS.items()),
        AudioFormat("opus", FrameKind.PACKET, _OPUS_RATE),
        AudioFormat("pcmu", FrameKind.PCMU, 8000),
        AudioFormat("pcma", FrameKind.PCMA, 8000),
    )
}
"""By name; besides, ``pcm16`` is PCM at the rate of a call's own codec."""


def choose_format(wanted: Sequence[str], *, codec: str, sample_rate: int) -> AudioFormat:
    """Return the first that a call can have.

    Args:
        wanted: Names, the best first; names that are not known are passed over.
        codec: The call's.
        sample_rate: Samples a second of its PCM.
    """
    for name in wanted:
        known = FORMATS.get(f"pcm16/{sample_rate}" if name == "pcm16" else name)
        if known is not None and (known.kind is not FrameKind.PACKET or codec == known.name):
            return known
    return FORMATS[DEFAULT_FORMAT]
