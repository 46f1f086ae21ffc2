"""Sound: codecs, resampling, the queue that plays out, the buffer that orders what arrives, speech detection.

PCM is 16-bit signed little-endian mono `bytes` everywhere, and a frame is 20 ms of it. C gets the samples as
they lie in memory, so the machine has to be little-endian too, as are all that the libraries have wheels for.

Layer: core (sans-IO).
"""

from voicegate.audio.codec import Codec, CodecSettings, OpusCodec, open_codec
from voicegate.audio.g711 import G711Codec
from voicegate.audio.g722 import G722Codec
from voicegate.audio.opus import OpusDecoder, OpusEncoder
from voicegate.audio.opus_packet import packet_samples
from voicegate.audio.playout import PlayoutQueue
from voicegate.audio.receive import Lost, ReceiveBuffer, Received, ReceiveStatistics
from voicegate.audio.resample import SAMPLE_RATES, Resampler
from voicegate.audio.turn import (
    SpeechModel,
    SpeechStarted,
    SpeechStopped,
    TurnDetector,
    TurnEnded,
    TurnModel,
)
from voicegate.audio.voice import VoiceDetector

__all__ = [
    "Codec",
    "CodecSettings",
    "G711Codec",
    "G722Codec",
    "Lost",
    "OpusCodec",
    "OpusDecoder",
    "OpusEncoder",
    "PlayoutQueue",
    "ReceiveBuffer",
    "ReceiveStatistics",
    "Received",
    "Resampler",
    "SAMPLE_RATES",
    "SpeechModel",
    "SpeechStarted",
    "SpeechStopped",
    "TurnDetector",
    "TurnEnded",
    "TurnModel",
    "VoiceDetector",
    "open_codec",
    "packet_samples",
]
