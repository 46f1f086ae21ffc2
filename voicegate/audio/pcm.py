"""What all sound here has in common, and the one place that imports ``audioop``.

``audioop`` is in the standard library up to Python 3.12, where importing it warns, and comes from audioop-lts
after that.
"""

import warnings
from array import array
from typing import Final

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

__all__ = ["FRAMES_PER_SECOND", "SAMPLE_BYTES", "audioop", "fade", "fade_out"]

SAMPLE_BYTES: Final = 2
FRAMES_PER_SECOND: Final = 50
"""Frames are 20 ms: what browsers send, and the default of RFC 7587 §6.1."""


def fade_out(pcm: bytes) -> bytes:
    """Bring samples down to silence in a straight line, from the first to the last."""
    samples = memoryview(pcm).cast("h")
    length = len(samples)
    return array("h", [sample * (length - index) // length for index, sample in enumerate(samples)]).tobytes()


def fade(last: bytes, samples: int) -> tuple[bytes, bytes]:
    """Make up lost samples out of the last frame, repeated at half the volume each time.

    Returns:
        The samples, and the frame that the next loss goes on with.
    """
    pcm = bytearray()
    while len(pcm) < samples * SAMPLE_BYTES:
        last = audioop.mul(last, SAMPLE_BYTES, 0.5)
        pcm += last
    return bytes(pcm[: samples * SAMPLE_BYTES]), last
