"""WebRTC data channels (RFC 8831) over an SCTP association, and their establishment protocol (RFC 8832).

Layer: core (sans-IO).
"""

from voicegate.datachannel.channel import Channel
from voicegate.datachannel.channels import DataChannels
from voicegate.datachannel.event import ChannelClosed, ChannelOpened, DataEstablished, DataFailed, Event
from voicegate.datachannel.message import Message
from voicegate.datachannel.statistic import DataChannelStatistics, DropReason

__all__ = [
    "Channel",
    "ChannelClosed",
    "ChannelOpened",
    "DataChannelStatistics",
    "DataChannels",
    "DataEstablished",
    "DataFailed",
    "DropReason",
    "Event",
    "Message",
]
