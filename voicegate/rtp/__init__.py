"""RTP and RTCP: packets, header extensions, reception statistics, reports.

Layer: core (sans-IO).
"""

from voicegate.rtp.audio_level import AudioLevel
from voicegate.rtp.packet import RtpPacket
from voicegate.rtp.reception import ReceptionStatistics
from voicegate.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceChunk,
    SourceDescription,
    UnknownPacket,
    decode_compound,
    encode_compound,
)
from voicegate.rtp.sender import RtpSender
from voicegate.rtp.session import GoodbyeReceived, RtpSession, RtpStatistics

__all__ = [
    "AudioLevel",
    "Goodbye",
    "GoodbyeReceived",
    "ReceiverReport",
    "ReceptionStatistics",
    "ReportBlock",
    "RtcpPacket",
    "RtpPacket",
    "RtpSender",
    "RtpSession",
    "RtpStatistics",
    "SenderReport",
    "SourceChunk",
    "SourceDescription",
    "UnknownPacket",
    "decode_compound",
    "encode_compound",
]
