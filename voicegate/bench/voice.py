"""What the callers of `voicegate bench calls` say: real Opus of something like speech, encoded beforehand."""

from pathlib import Path
from typing import Final

import numpy as np

from voicegate.audio import open_codec
from voicegate.testing.sound import speech_like

__all__ = ["PAYLOADS", "SILENT_BYTES", "write_voice"]

PAYLOADS: Final = 500
"""Ten seconds, said again and again."""

SILENT_BYTES: Final = 20
"""A payload that is shorter has no voice in it; ours have some 80 bytes each."""

_FULL_SCALE: Final = 32_767


def write_voice(path: Path) -> None:
    """Write the payloads one after the other, as the program in C reads them; no two of them are the same."""
    codec = open_codec("opus", fmtp={"cbr": "1"})
    pcm = np.rint(speech_like(PAYLOADS / 50 + 1).samples * _FULL_SCALE).astype("<i2").tobytes()
    size = 2 * codec.frame_samples
    # The first second settles the encoder; two frames that are the same could not be told apart.
    payloads = dict.fromkeys(codec.encode(pcm[at : at + size]) for at in range(0, len(pcm) - size + 1, size))
    spoken = [payload for payload in payloads if len(payload) >= SILENT_BYTES][-PAYLOADS:]
    path.write_bytes(b"".join(len(payload).to_bytes(2, "big") + payload for payload in spoken))
