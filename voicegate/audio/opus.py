"""Opus (RFC 6716) by libopus.

opuslib finds and loads the library, makes its states and sets its controls. Its own encode and decode copy
every sample through Python lists, and its encoder properties are partly broken, so here frames go straight to
the C functions, through buffers that each codec keeps. See docs/adr/0004-opus-binding.md.
"""

import ctypes
import ctypes.util
import importlib
import importlib.util
import warnings
import weakref
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from voicegate.audio.opus_packet import CLOCK_RATE, MAX_PACKET_MS, packet_samples
from voicegate.audio.pcm import SAMPLE_BYTES
from voicegate.errors import UsageError, WireError

__all__ = ["OpusDecoder", "OpusEncoder", "require_library"]

DEFAULT_BITRATE: Final = 32_000
"""Bits per second: full-band mono speech (RFC 7587 §3.1.1 has 28-40 kbit/s for it) with room for FEC."""

DEFAULT_EXPECTED_LOSS_PERCENT: Final = 15
"""Below this, libopus 1.3 at our bit rate leaves FEC out or falls back to wide-band to afford it."""

DEFAULT_COMPLEXITY: Final = 3
"""Of 0 to 10: see docs/adr/0016-opus-complexity.md."""

MAX_ENCODED_BYTES: Final = 1200
"""A packet has to fit into one datagram on any path; libopus encodes down to it."""

_CHANNELS: Final = 1
_APPLICATION_VOIP: Final = 2048
_SIGNAL_VOICE: Final = 3001
_SIGNAL_MUSIC: Final = 3002
_LEAST_MUSIC_RATE: Final = 24_000
"""Below this playback rate, SILK is the better coder at any bit rate."""

# libopus' names of the audio bandwidths, by the sampling rate that they fill.
_BANDWIDTHS: Final = ((8000, 1101), (12000, 1102), (16000, 1103), (24000, 1104))
_FULL_BAND: Final = 1105


class OpusDecoder:
    """One stream of packets to PCM; packets of stereo come out mixed down.

    Errors: UsageError when libopus cannot be found, or does not know the sample rate.
    """

    __slots__ = ("__weakref__", "_decode", "_max_samples", "_pcm", "_state", "_view")

    def __init__(self, *, sample_rate: int = CLOCK_RATE) -> None:
        library = _load()
        try:
            self._state = library.decoder.create_state(sample_rate, _CHANNELS)
        except library.error as error:
            raise UsageError(f"Opus has no sample rate of {sample_rate} Hz") from error
        weakref.finalize(self, library.decoder.destroy, self._state)
        self._decode = library.decode
        self._max_samples = sample_rate * MAX_PACKET_MS // 1000
        self._pcm = ctypes.create_string_buffer(self._max_samples * SAMPLE_BYTES)
        self._view = memoryview(self._pcm)

    def decode(self, packet: bytes) -> bytes:
        """Return the samples of a packet, up to 120 ms.

        Errors: WireError when libopus refuses it.
        """
        # To libopus an empty packet means a lost one.
        if not packet:
            raise WireError("an Opus packet has at least one byte")
        samples = self._decode(self._state, packet, len(packet), self._pcm, self._max_samples, 0)
        if samples < 0:
            raise WireError(f"libopus refuses a packet of {len(packet)} bytes (error {samples})")
        return self._view[: samples * SAMPLE_BYTES].tobytes()

    def conceal(self, samples: int) -> bytes:
        """Return what libopus thinks a lost packet of so many samples may have sounded like.

        Errors: UsageError unless the loss is a multiple of 2.5 ms, up to 120 ms.
        """
        return self._replace(None, samples)

    def decode_fec(self, packet: bytes, samples: int) -> bytes:
        """Return the samples lost right before ``packet``, from the copy that it may carry (RFC 6716 §2.1.7).

        What the copy does not reach, or all when there is none, is concealed. Decode ``packet`` itself after.

        Errors: WireError when libopus refuses the packet; UsageError as for `conceal`.
        """
        packet_samples(packet)
        return self._replace(packet, samples)

    def _replace(self, packet: bytes | None, samples: int) -> bytes:
        if not 0 < samples <= self._max_samples:
            raise UsageError(f"cannot make up {samples} samples, only 1 to {self._max_samples}")
        length = len(packet) if packet else 0
        made = self._decode(self._state, packet, length, self._pcm, samples, 1 if packet else 0)
        if made == _BAD_ARGUMENT:
            raise UsageError(f"{samples} samples are no multiple of 2.5 ms")
        if made < 0:
            raise WireError(f"libopus refuses the FEC of a packet of {length} bytes (error {made})")
        return self._view[: made * SAMPLE_BYTES].tobytes()


class OpusEncoder:
    """PCM to one stream of packets, set up for speech to one listener.

    Args:
        sample_rate: 8000, 12000, 16000, 24000 or 48000 Hz.
        bitrate: bits per second on average, 6000 to 510000.
        complexity: 0 to 10, the more the slower.
        inband_fec: let each packet carry a coarse copy of the one before.
        expected_loss_percent: how much of the bit rate that copy may take.
        dtx: in silence, produce a packet only now and then.
        constant_bitrate: make all packets the same size.
        max_playback_rate: Hz that the listener can hear; nothing is spent on what is above.

    Errors: UsageError when libopus cannot be found or refuses a setting.
    """

    __slots__ = ("__weakref__", "_can_be_music", "_encode", "_packet", "_state", "_view")

    def __init__(
        self,
        *,
        sample_rate: int = CLOCK_RATE,
        bitrate: int = DEFAULT_BITRATE,
        complexity: int = DEFAULT_COMPLEXITY,
        inband_fec: bool = True,
        expected_loss_percent: int = DEFAULT_EXPECTED_LOSS_PERCENT,
        dtx: bool = False,
        constant_bitrate: bool = False,
        max_playback_rate: int = CLOCK_RATE,
    ) -> None:
        library = _load()
        try:
            self._state = library.encoder.create_state(sample_rate, _CHANNELS, _APPLICATION_VOIP)
        except library.error as error:
            raise UsageError(f"Opus has no sample rate of {sample_rate} Hz") from error
        weakref.finalize(self, library.encoder.destroy, self._state)
        bandwidth = next((name for rate, name in _BANDWIDTHS if max_playback_rate <= rate), _FULL_BAND)
        self._can_be_music = max_playback_rate >= _LEAST_MUSIC_RATE
        self._set(set_complexity=complexity, set_max_bandwidth=bandwidth)
        self.adjust(
            bitrate=bitrate,
            inband_fec=inband_fec,
            expected_loss_percent=expected_loss_percent,
            dtx=dtx,
            constant_bitrate=constant_bitrate,
        )
        self._encode = library.encode
        self._packet = ctypes.create_string_buffer(MAX_ENCODED_BYTES)
        self._view = memoryview(self._packet)

    def adjust(
        self, *, bitrate: int, inband_fec: bool, expected_loss_percent: int, dtx: bool, constant_bitrate: bool
    ) -> None:
        """Go on with other settings, from the next frame on and without a break in the sound.

        Copies and DTX are SILK's. Where neither is wanted the sound is declared to be music, for then libopus
        leaves SILK out: speech sounds as good in a third of the time, see docs/adr/0016-opus-complexity.md.

        Errors: UsageError when libopus refuses one.
        """
        needs_silk = dtx or (inband_fec and expected_loss_percent > 0) or not self._can_be_music
        self._set(
            set_signal=_SIGNAL_VOICE if needs_silk else _SIGNAL_MUSIC,
            set_bitrate=bitrate,
            set_inband_fec=int(inband_fec),
            set_packet_loss_perc=expected_loss_percent,
            set_dtx=int(dtx),
            set_vbr=int(not constant_bitrate),
        )

    def encode(self, pcm: bytes) -> bytes:
        """Return the packet for 2.5, 5, 10, 20, 40 or 60 ms of samples; empty when DTX has nothing to send.

        Errors: UsageError for any other length.
        """
        samples, odd = divmod(len(pcm), SAMPLE_BYTES)
        length = self._encode(self._state, pcm, samples, self._packet, MAX_ENCODED_BYTES)
        if length < 0 or odd:
            raise UsageError(f"{len(pcm)} bytes of PCM are no Opus frame")
        # opus_encode: a packet of two bytes or less need not be transmitted.
        return self._view[:length].tobytes() if length > 2 else b""

    def _set(self, **settings: int) -> None:
        library = _load()
        try:
            for name, value in settings.items():
                library.encoder.encoder_ctl(self._state, getattr(library.control, name), value)
        except library.error as error:
            raise UsageError(f"libopus refuses a setting of this encoder: {error}") from error


# --- The library ---

_BAD_ARGUMENT: Final = -1


class _Library(NamedTuple):
    """libopus, by way of opuslib's modules."""

    decoder: Any
    encoder: Any
    control: Any
    error: type[Exception]
    decode: Callable[[Any, bytes | None, int, Any, int, int], int]
    encode: Callable[[Any, bytes, int, Any, int], int]


def require_library() -> None:
    """Load libopus now, rather than with the first encoder or decoder.

    Errors: UsageError when there is none.
    """
    _load()


@cache
def _load() -> _Library:
    """Import opuslib, which looks for the library while being imported.

    Errors: UsageError when there is no library, or it cannot be loaded; the next call tries again.
    """
    location = _locate()
    find_library = ctypes.util.find_library
    vars(ctypes.util)["find_library"] = lambda _name: location
    try:
        with warnings.catch_warnings():
            # opuslib compares numbers with `is not`.
            warnings.simplefilter("ignore", SyntaxWarning)
            api = importlib.import_module("opuslib.api")
            decoder = importlib.import_module("opuslib.api.decoder")
            encoder = importlib.import_module("opuslib.api.encoder")
            control = importlib.import_module("opuslib.api.ctl")
            exceptions = importlib.import_module("opuslib.exceptions")
    except OSError as error:
        raise UsageError(f"cannot load the Opus library {location}: {error}") from error
    finally:
        vars(ctypes.util)["find_library"] = find_library
    # Indexing makes function objects of our own: opuslib's keep the argument types it gave them.
    decode = api.libopus["opus_decode"]
    decode.argtypes = (
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int32,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_int,
    )
    encode = api.libopus["opus_encode"]
    encode.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int32)
    return _Library(decoder, encoder, control, exceptions.OpusError, decode, encode)


def _locate() -> str:
    """Return the system's libopus, otherwise the one inside opuslib-next-bundled."""
    if name := ctypes.util.find_library("opus"):
        return name
    package = importlib.util.find_spec("opuslib_next")
    if package is not None and package.origin is not None:
        bundled = Path(package.origin).with_name("_native") / "libopus.so"
        if bundled.exists():
            return str(bundled)
    raise UsageError(
        "no Opus library on this machine: `apt install libopus0`, "
        "or `pip install 'voicegate-server[bundled-opus]'`"
    )
