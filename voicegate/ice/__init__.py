"""Interactive Connectivity Establishment (RFC 8445), the lite side: STUN, credentials, paths and consent.

Layer: core (sans-IO).
"""

from voicegate.ice.agent import (
    ConsentExpired,
    EmbeddedDatagram,
    Event,
    IceLiteAgent,
    IceStatistics,
    PathClosed,
    PathSelected,
    PathValidated,
    Refusal,
)
from voicegate.ice.credentials import Credentials, Keyring, OpenedUfrag, Route
from voicegate.ice.sped import MAX_EMBEDDED_LENGTH
from voicegate.ice.stun import Message

__all__ = [
    "MAX_EMBEDDED_LENGTH",
    "ConsentExpired",
    "Credentials",
    "EmbeddedDatagram",
    "Event",
    "IceLiteAgent",
    "IceStatistics",
    "Keyring",
    "Message",
    "OpenedUfrag",
    "PathClosed",
    "PathSelected",
    "PathValidated",
    "Refusal",
    "Route",
]
