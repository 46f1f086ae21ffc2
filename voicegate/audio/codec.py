"""The seam between a call and its codec."""

from collections.abc import Mapping
from typing import Final, Protocol

from voicegate.audio.g711 import G711Codec
from voicegate.audio.g722 import G722Codec
from voicegate.audio.opus import DEFAULT_BITRATE, OpusDecoder, OpusEncoder, require_library
from voicegate.audio.opus_packet import CLOCK_RATE, packet_samples, silent_packet
from voicegate.audio.pcm import FRAMES_PER_SECOND
from voicegate.audio.resample import require_rate
from voicegate.errors import UsageError, WireError
from voicegate.rtp.opus_format import OpusFormat

__all__ = ["Codec", "CodecSettings", "OpusCodec", "open_codec"]

MIN_BITRATE: Final = 6000
"""Opus has no less (RFC 7587 §6.1)."""

_TICKS_PER_MS: Final = CLOCK_RATE // 1000


class CodecSettings(Protocol):
    """How to encode from now on, as `voicegate.audio.adaptation` finds it best."""

    @property
    def bitrate(self) -> int:
        """Bits per second."""

    @property
    def expected_loss_percent(self) -> int:
        """How many packets FEC has to make up for."""

    @property
    def has_fec(self) -> bool:
        """Whether packets carry a copy of the one before."""

    @property
    def has_dtx(self) -> bool:
        """Whether silence is left out."""

    @property
    def is_cbr(self) -> bool:
        """Whether all packets are as long as each other."""


class Codec(Protocol):
    """Both directions of one call: payloads in and out, PCM on our side."""

    @property
    def name(self) -> str:
        """The encoding name of SDP: ``opus``, ``G722``, ``PCMU`` or ``PCMA``."""

    @property
    def sample_rate(self) -> int:
        """Samples per second of the PCM: the codec's own until `use_rate`."""

    @property
    def clock_rate(self) -> int:
        """Ticks per second of the RTP timestamps."""

    @property
    def frame_samples(self) -> int:
        """Samples of PCM in 20 ms."""

    @property
    def silence(self) -> bytes:
        """A payload of 20 ms of silence, for when there is nothing to say."""

    def use_rate(self, sample_rate: int) -> None:
        """Take and give PCM at 8000, 16000, 24000 or 48000 Hz from now on; call it before there is any.

        Errors: UsageError for another rate.
        """

    def adapt(self, settings: CodecSettings) -> None:
        """Encode otherwise from now on; only Opus can."""

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

    def encode_silence(self, ticks: int) -> bytes:
        """Return a payload of so many ticks of silence, which fits behind what was encoded before."""


class OpusCodec:
    """Opus, as the client's format parameters (RFC 7587 §6.1) ask for it.

    We send mono at up to 32 kbit/s, since ``stereo`` and a higher ``maxaveragebitrate`` only permit more.
    Malformed values count as absent. Encoder and decoder are made when they are first needed: a call whose
    packets are passed on untouched has neither.

    Errors: UsageError when libopus is missing.
    """

    name: Final = "opus"
    clock_rate: Final = CLOCK_RATE
    silence: Final = silent_packet(20)

    def __init__(self, *, fmtp: Mapping[str, str]) -> None:
        require_library()
        self._format = OpusFormat.read(fmtp)
        wanted = self._format.maxaveragebitrate
        self._bitrate = DEFAULT_BITRATE if wanted is None else max(MIN_BITRATE, min(wanted, DEFAULT_BITRATE))
        self._settings: CodecSettings | None = None
        self._encoder: OpusEncoder | None = None
        self._decoder: OpusDecoder | None = None
        self.sample_rate = CLOCK_RATE
        self.frame_samples = CLOCK_RATE // FRAMES_PER_SECOND

    def use_rate(self, sample_rate: int) -> None:
        """Take and give PCM at another rate: libopus knows them all, and needs less time for lower ones.

        Errors: UsageError when it is none of 8000, 16000, 24000, 48000.
        """
        require_rate(sample_rate)
        if sample_rate != self.sample_rate:
            self._encoder = self._decoder = None
            self.sample_rate = sample_rate
            self.frame_samples = sample_rate // FRAMES_PER_SECOND

    def adapt(self, settings: CodecSettings) -> None:
        """Encode otherwise from the next frame on.

        Errors: UsageError when libopus refuses a setting.
        """
        self._settings = settings
        if self._encoder is not None:
            self._apply(self._encoder, settings)

    duration = staticmethod(packet_samples)

    def decode(self, payload: bytes) -> bytes:
        """Return the samples of a payload.

        Errors: WireError when libopus refuses it.
        """
        return (self._decoder or self._open_decoder()).decode(payload)

    def conceal(self, samples: int, *, following: bytes = b"") -> bytes:
        """Make up for lost samples, from the copy in ``following`` where there is one.

        Errors: UsageError unless the loss is a multiple of 2.5 ms, up to 120 ms.
        """
        decoder = self._decoder or self._open_decoder()
        try:
            return decoder.decode_fec(following, samples)
        except WireError:
            return decoder.conceal(samples)

    def encode(self, pcm: bytes) -> bytes:
        """Return the packet for 10, 20, 40 or 60 ms of samples; empty when DTX has nothing to send.

        Errors: UsageError for a length that Opus does not have.
        """
        return (self._encoder or self._open_encoder()).encode(pcm)

    def encode_silence(self, ticks: int) -> bytes:
        """Return a packet of silence, which is the same whatever came before.

        Errors: UsageError unless it is for 5, 10, or a multiple of 20 ms up to 120.
        """
        milliseconds, odd = divmod(ticks, _TICKS_PER_MS)
        if odd:
            raise UsageError(f"no Opus packet has {ticks} ticks")
        return silent_packet(milliseconds)

    def _open_decoder(self) -> OpusDecoder:
        self._decoder = OpusDecoder(sample_rate=self.sample_rate)
        return self._decoder

    def _open_encoder(self) -> OpusEncoder:
        self._encoder = OpusEncoder(
            sample_rate=self.sample_rate,
            bitrate=self._bitrate,
            inband_fec=self._format.useinbandfec,
            expected_loss_percent=0,  # until a report tells of loss: copies cost time and quality
            dtx=self._format.usedtx,
            constant_bitrate=self._format.cbr,
            max_playback_rate=self._format.maxplaybackrate,
        )
        if self._settings is not None:
            self._apply(self._encoder, self._settings)
        return self._encoder

    def _apply(self, encoder: OpusEncoder, settings: CodecSettings) -> None:
        encoder.adjust(
            bitrate=settings.bitrate,
            inband_fec=settings.has_fec,
            expected_loss_percent=settings.expected_loss_percent,
            dtx=settings.has_dtx,
            constant_bitrate=settings.is_cbr,
        )


def open_codec(name: str, *, fmtp: Mapping[str, str] | None = None) -> Codec:
    """Return a codec for one call; ``fmtp`` are the format parameters of the client's SDP.

    Errors: UsageError when the name is none of ``opus``, ``G722``, ``PCMU``, ``PCMA``, or libopus is missing.
    """
    if name == OpusCodec.name:
        return OpusCodec(fmtp=fmtp or {})
    if name == "G722":
        return G722Codec()
    return G711Codec(name)
