"""The seam between a call and its codec."""

from collections.abc import Mapping
from typing import Final, Protocol

from voicegate.audio.g711 import G711Codec
from voicegate.audio.opus import CLOCK_RATE, DEFAULT_BITRATE, OpusDecoder, OpusEncoder, packet_samples
from voicegate.audio.pcm import FRAMES_PER_SECOND
from voicegate.errors import WireError

__all__ = ["Codec", "OpusCodec", "open_codec"]

MIN_BITRATE: Final = 6000
"""Opus has no less (RFC 7587 §6.1)."""


class Codec(Protocol):
    """Both directions of one call: payloads in and out, PCM on our side."""

    @property
    def name(self) -> str:
        """The encoding name of SDP: ``opus``, ``PCMU`` or ``PCMA``."""

    @property
    def sample_rate(self) -> int:
        """Samples per second of the PCM."""

    @property
    def clock_rate(self) -> int:
        """Ticks per second of the RTP timestamps."""

    @property
    def frame_samples(self) -> int:
        """Samples of PCM in 20 ms."""

    @property
    def silence(self) -> bytes:
        """A payload of 20 ms of silence, for when there is nothing to say."""

    def duration(self, payload: bytes) -> int:
        """Return how long a payload is, in RTP ticks, without decoding it.

        Errors: WireError when it cannot be a payload of this codec.
        """

    def decode(self, payload: bytes) -> bytes:
        """Return the samples of a payload.

        Errors: WireError when it is corrupt.
        """

    def conceal(self, samples: int, *, following: bytes = b"") -> bytes:
        """Make up for lost samples; ``following`` is the payload right after them, which may carry a copy."""

    def encode(self, pcm: bytes) -> bytes:
        """Return the payload of a frame; empty when nothing needs to be sent (Opus DTX)."""


class OpusCodec:
    """Opus, as the client's format parameters (RFC 7587 §6.1) ask for it.

    We send mono at up to 32 kbit/s, since ``stereo`` and a higher ``maxaveragebitrate`` only permit more.
    Malformed values count as absent.
    """

    name: Final = "opus"
    sample_rate: Final = CLOCK_RATE
    clock_rate: Final = CLOCK_RATE
    frame_samples: Final = CLOCK_RATE // FRAMES_PER_SECOND
    silence: Final = b"\xf8\xff\xfe"

    def __init__(self, *, fmtp: Mapping[str, str]) -> None:
        wanted = _number(fmtp, "maxaveragebitrate", default=DEFAULT_BITRATE)
        self._encoder = OpusEncoder(
            bitrate=max(MIN_BITRATE, min(wanted, DEFAULT_BITRATE)),
            inband_fec=_number(fmtp, "useinbandfec", default=0) == 1,
            dtx=_number(fmtp, "usedtx", default=0) == 1,
        )
        self._decoder = OpusDecoder()
        self.encode = self._encoder.encode
        self.decode = self._decoder.decode

    def duration(self, payload: bytes) -> int:
        """Return how long a payload is, in samples.

        Errors: WireError when it cannot be Opus.
        """
        return packet_samples(payload)

    def conceal(self, samples: int, *, following: bytes = b"") -> bytes:
        """Make up for lost samples, from the copy in ``following`` where there is one.

        Errors: UsageError unless the loss is a multiple of 2.5 ms, up to 120 ms.
        """
        try:
            return self._decoder.decode_fec(following, samples)
        except WireError:
            return self._decoder.conceal(samples)


def open_codec(name: str, *, fmtp: Mapping[str, str] | None = None) -> Codec:
    """Return a codec for one call; ``fmtp`` are the format parameters of the client's SDP.

    Errors: UsageError when the name is none of ``opus``, ``PCMU``, ``PCMA``, or libopus is missing.
    """
    if name == OpusCodec.name:
        return OpusCodec(fmtp=fmtp or {})
    return G711Codec(name)


def _number(fmtp: Mapping[str, str], name: str, *, default: int) -> int:
    try:
        return int(fmtp.get(name, default))
    except ValueError:
        return default
