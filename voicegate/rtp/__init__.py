"""RTP and RTCP: packets, header extensions, reception statistics, reports.

Layer: core (sans-IO).
"""

from voicegate.rtp.audio_level import AudioLevel
from voicegate.rtp.extended_report import (
    DelayReport,
    ExtendedReport,
    ReceiverReferenceTime,
    ReceiverReportDelay,
    StatisticsSummary,
    UnknownBlock,
)
from voicegate.rtp.feedback import GenericNack
from voicegate.rtp.header_extension import ExtensionReader, Extensions
from voicegate.rtp.opus_format import OpusFormat
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
from voicegate.rtp.session import (
    GoodbyeReceived,
    ReportReceived,
    RetransmissionRequested,
    RtpEvent,
    RtpSession,
    RtpStatistics,
)
from voicegate.rtp.telephone_event import KeyPress, KeyPresses, TelephoneEvent
from voicegate.rtp.transport_feedback import TransportFeedback

__all__ = [
    "AudioLevel",
    "DelayReport",
    "ExtendedReport",
    "ExtensionReader",
    "Extensions",
    "GenericNack",
    "Goodbye",
    "GoodbyeReceived",
    "KeyPress",
    "KeyPresses",
    "OpusFormat",
    "ReceiverReferenceTime",
    "ReceiverReport",
    "ReceiverReportDelay",
    "ReceptionStatistics",
    "ReportBlock",
    "ReportReceived",
    "RetransmissionRequested",
    "RtcpPacket",
    "RtpEvent",
    "RtpPacket",
    "RtpSender",
    "RtpSession",
    "RtpStatistics",
    "SenderReport",
    "SourceChunk",
    "SourceDescription",
    "StatisticsSummary",
    "TelephoneEvent",
    "TransportFeedback",
    "UnknownBlock",
    "UnknownPacket",
    "decode_compound",
    "encode_compound",
]
