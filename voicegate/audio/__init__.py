"""Sound: Opus and G.711, the queue that plays out, the buffer that orders what arrives, speech detection.

PCM is 16-bit signed little-endian mono `bytes` everywhere, and a frame is 20 ms of it. C gets the samples as
they lie in memory, so the machine has to be little-endian too, as are all that the libraries have wheels for.

Layer: core (sans-IO).
"""

from voicegate.audio.codec import Codec, OpusCodec, open_codec
from voicegate.audio.g711 import G711Codec
from voicegate.audio.opus import OpusDecoder, OpusEncoder, packet_samples
from voicegate.audio.playout import PlayoutQueue
from voicegate.audio.receive import Lost, ReceiveBuffer, Received, ReceiveStatistics
from voicegate.audio.voice import SpeechStarted, SpeechStopped, VoiceDetector

__all__ = [
    "Codec",
    "G711Codec",
    "Lost",
    "OpusCodec",
    "OpusDecoder",
    "OpusEncoder",
    "PlayoutQueue",
    "ReceiveBuffer",
    "ReceiveStatistics",
    "Received",
    "SpeechStarted",
    "SpeechStopped",
    "VoiceDetector",
    "open_codec",
    "packet_samples",
]
