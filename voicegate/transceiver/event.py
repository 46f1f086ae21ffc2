"""What a call core tells its owner: how far the call has come, what happened, what was counted."""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple, TypeAlias

import attrs

from voicegate.call import EndCause
from voicegate.datachannel import ChannelClosed, ChannelOpened
from voicegate.wire import Path

__all__ = [
    "CallStatistics",
    "DataProgressed",
    "Ended",
    "Event",
    "KeyPressed",
    "MediaReady",
    "PathAdded",
    "PathRemoved",
    "Phase",
    "State",
]


class State(Enum):
    """How far a call has come."""

    AWAITING_CHECK = "awaiting_check"
    AWAITING_CLIENT_HELLO = "awaiting_client_hello"
    HANDSHAKING = "handshaking"
    CONNECTED = "connected"
    CLOSED = "closed"


class Phase(Enum):
    """Milestones of a call, each reached at most once."""

    FIRST_CHECK = "first_check"
    CLIENT_HELLO = "client_hello"
    KEYS_READY = "keys_ready"
    """We may send what is protected; with DTLS 1.3 before the client is verified."""
    DTLS_COMPLETED = "dtls_completed"
    FIRST_AUDIO_OUT = "first_audio_out"
    FIRST_AUDIO_IN = "first_audio_in"
    DATA_READY = "data_ready"
    """The SCTP association stands."""
    FIRST_MESSAGE_IN = "first_message_in"


@attrs.frozen
class PathAdded:
    """Datagrams from ``path`` belong to this call from now on."""

    path: Path


@attrs.frozen
class PathRemoved:
    """Datagrams from ``path`` no longer belong to this call."""

    path: Path


@attrs.frozen
class MediaReady:
    """The client is verified; audio can flow both ways."""


@attrs.frozen
class KeyPressed:
    """The user has pressed a key of a telephone (DTMF)."""

    key: str
    duration_ms: int


@attrs.frozen
class DataProgressed:
    """A packet of the data channels came: there may be messages, or room to send some."""


@attrs.frozen
class Ended:
    """The call is over for a reason of the network's or the client's; nothing follows."""

    cause: EndCause
    detail: str


Event: TypeAlias = (
    PathAdded | PathRemoved | MediaReady | KeyPressed | ChannelOpened | ChannelClosed | DataProgressed | Ended
)


class CallStatistics(NamedTuple):
    """Counts since the call began."""

    datagrams_in: int
    datagrams_out: int
    audio_packets_in: int
    audio_packets_out: int
    slots_missed: int
    """Frames that did not leave since the process stood still for their whole slot."""
    concealed_ms: int
    """Of the client's audio, made up in place of what was lost."""
    fec_recovered: int
    red_recovered: int
    nack_recovered: int
    """Lost packets that a copy in the next one (twice), or asking for them again, made good."""
    compressed_ms: int
    expanded_ms: int
    """By how much the client's audio was shortened and lengthened."""
    overflow_ms: int
    discarded_ms: int
    live_dropped: int
    """What the agent said and nobody heard, see `voicegate.transceiver.downlink.DownlinkStatistics`."""
    messages_in: int
    messages_out: int
    drops: Mapping[str, int]
    """Datagrams that went no further, by reason."""
