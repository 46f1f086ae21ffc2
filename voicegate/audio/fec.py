"""How much of the audio right before it an Opus packet carries again (in-band FEC)."""

from typing import Final

__all__ = ["fec_samples"]

# RFC 6716 §3.1, table 2: configurations 0 to 11 are SILK, to 15 hybrid, the rest CELT, which has no copies.
_SAMPLES: Final = (480, 960, 1920, 2880) * 3 + (480, 960) * 2
"""In a frame, at 48 kHz, by configuration."""
_MAX_SILK_SAMPLES: Final = 960
"""A longer frame is made of SILK frames of 20 ms."""

_STEREO: Final = 0x04
_TWO_BYTE_LENGTH: Final = 252


def fec_samples(packet: bytes) -> int:
    """Return how many samples right before a packet it has a copy of, by its own word.

    A SILK layer begins with a bit per SILK frame that says whether it is voiced, then one bit that says
    whether copies (LBRR frames) follow; for stereo the same again (RFC 6716 §4.2.3).
    """
    if not packet or packet[0] >> 3 >= len(_SAMPLES):
        return 0
    start = _first_frame(packet)
    if start >= len(packet):
        return 0
    samples = _SAMPLES[packet[0] >> 3]
    silk_frames = max(1, samples // _MAX_SILK_SAMPLES)
    flags = 0x80 >> silk_frames
    if packet[0] & _STEREO:
        flags |= 0x80 >> 2 * silk_frames + 1
    return samples if packet[start] & flags else 0


def _first_frame(packet: bytes) -> int:
    """Return where the first frame of a packet begins, maybe past its end (RFC 6716 §3.2)."""
    code = packet[0] & 0x03
    if code < 2:
        return 1
    if code == 2:
        return 1 + _length_size(packet, 1)
    if len(packet) < 2:
        return 2
    frames, position = packet[1] & 0x3F, 2
    if packet[1] & 0x40:
        # The length of the padding: 255 stands for 254 bytes and another length byte.
        while position < len(packet) and packet[position] == 0xFF:
            position += 1
        position += 1
    if packet[1] & 0x80:
        for _ in range(frames - 1):
            position += _length_size(packet, position)
    return position


def _length_size(packet: bytes, position: int) -> int:
    return 2 if position < len(packet) and packet[position] >= _TWO_BYTE_LENGTH else 1
