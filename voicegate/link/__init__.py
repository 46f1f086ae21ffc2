"""The link protocol: what a gateway and an agent of any language say to each other over a WebSocket.

Layer: core (sans-IO).
"""

from voicegate.link.format import FORMATS, AudioFormat, choose_format
from voicegate.link.frame import Frame, FrameKind, encode_frame, read_frames
from voicegate.link.hello import VERSION, AgentHello, GatewayHello
from voicegate.link.journal import Journal
from voicegate.link.layout import Kind, kind_of
from voicegate.link.pace import Pace

__all__ = [
    "FORMATS",
    "VERSION",
    "AgentHello",
    "AudioFormat",
    "Frame",
    "FrameKind",
    "GatewayHello",
    "Journal",
    "Kind",
    "Pace",
    "choose_format",
    "encode_frame",
    "kind_of",
    "read_frames",
]
