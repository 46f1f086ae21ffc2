"""What an Opus packet (RFC 6716 §3) says without being decoded, and packets that say nothing."""

from typing import Final

from voicegate.errors import UsageError, WireError

__all__ = ["CLOCK_RATE", "MAX_PACKET_MS", "packet_samples", "silent_packet"]

CLOCK_RATE: Final = 48000
"""RTP timestamps of Opus count at 48 kHz whatever the sampling rate (RFC 7587 §4.1)."""

MAX_PACKET_MS: Final = 120
"""The longest packet, RFC 6716 §3.2.5 [R5]."""

# Audio frames in a packet are as long as the configuration number, the top five bits of the first byte, says
# (RFC 6716 §3.1, table 2): SILK, then hybrid, then CELT.
_FRAME_SAMPLES: Final[tuple[int, ...]] = (
    (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4
)
_SILENT_FRAME: Final = b"\xff\xfe"
_MAX_PACKET_SAMPLES: Final = CLOCK_RATE * MAX_PACKET_MS // 1000


def packet_samples(packet: bytes) -> int:
    """Return how long a packet is, in samples at 48 kHz, from its first two bytes (RFC 6716 §3.1).

    Errors: WireError when there are too few, or they say no frames, or more than 120 ms.
    """
    if not packet:
        raise WireError("an Opus packet has at least one byte")
    frame_samples = _FRAME_SAMPLES[packet[0] >> 3]
    code = packet[0] & 0x03
    if code < 3:
        return frame_samples if code == 0 else 2 * frame_samples
    if len(packet) < 2:
        raise WireError("an Opus packet of code 3 without its frame count")
    samples = (packet[1] & 0x3F) * frame_samples
    if not 0 < samples <= _MAX_PACKET_SAMPLES:
        raise WireError(f"an Opus packet of {samples} samples")
    return samples


def silent_packet(milliseconds: int) -> bytes:
    """Return a packet of 20 ms of silence, or a multiple up to 120, or of 10 or of 5 ms.

    Errors: UsageError for any other length.
    """
    # Full-band CELT frames, of which the first symbol says that they are silent.
    if milliseconds in (5, 10):
        return (b"\xe8" if milliseconds == 5 else b"\xf0") + _SILENT_FRAME
    frames, odd = divmod(milliseconds, 20)
    if odd or not 0 < milliseconds <= MAX_PACKET_MS:
        raise UsageError(f"no Opus packet of {milliseconds} ms")
    if frames == 1:
        return b"\xf8" + _SILENT_FRAME
    return bytes((0xFB, frames)) + frames * _SILENT_FRAME
