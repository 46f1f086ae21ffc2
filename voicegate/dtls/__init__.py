"""DTLS for WebRTC: a handshake that proves who the peer is and yields SRTP's keys, then protected data.

Layer: core (sans-IO).

What both versions share is here; what is a version's own is in a sub-package.
"""

from voicegate.dtls.certificate import Certificate, Fingerprint
from voicegate.dtls.connection import ConnectionState, DtlsConnection, Role
from voicegate.dtls.event import (
    ApplicationData,
    Closed,
    Event,
    HandshakeCompleted,
    HandshakeFailed,
    HandshakeStarted,
    KeysReady,
)
from voicegate.dtls.failure import FailureCause
from voicegate.dtls.key_share import Group
from voicegate.dtls.record import ProtocolVersion
from voicegate.dtls.srtp import SrtpProfile
from voicegate.dtls.statistic import DropReason, Statistics

__all__ = [
    "DtlsConnection",
    "ApplicationData",
    "Certificate",
    "Closed",
    "ConnectionState",
    "DropReason",
    "Event",
    "FailureCause",
    "Fingerprint",
    "Group",
    "HandshakeCompleted",
    "HandshakeFailed",
    "HandshakeStarted",
    "KeysReady",
    "ProtocolVersion",
    "Role",
    "SrtpProfile",
    "Statistics",
]
