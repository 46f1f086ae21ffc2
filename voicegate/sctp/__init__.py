"""SCTP for WebRTC: messages in streams over DTLS, reliably or not, in order or not.

Layer: core (sans-IO).
"""

from voicegate.sctp.association import SctpAssociation
from voicegate.sctp.event import (
    AssociationClosed,
    AssociationEstablished,
    CloseCause,
    Event,
    MessageReceived,
    StreamsReset,
)
from voicegate.sctp.init import Init, decode_init
from voicegate.sctp.state import AssociationState
from voicegate.sctp.statistic import DropReason, Statistics
from voicegate.sctp.transfer import SEND_BUFFER

__all__ = [
    "SctpAssociation",
    "AssociationClosed",
    "AssociationEstablished",
    "AssociationState",
    "CloseCause",
    "DropReason",
    "Event",
    "Init",
    "MessageReceived",
    "SEND_BUFFER",
    "Statistics",
    "StreamsReset",
    "decode_init",
]
