"""What an agent is told of its call, as values."""

from typing import NamedTuple, TypeAlias

import attrs

from voicegate.audio import SpeechStarted, SpeechStopped, TurnEnded
from voicegate.channel import DataChannel
from voicegate.realtime.agent_event import AgentNotice

__all__ = [
    "CallEvent",
    "ChannelClosed",
    "ChannelOpened",
    "Connected",
    "GoingAway",
    "Interrupted",
    "Interruption",
    "MarkPlayed",
    "TurnAnswered",
]


class Interruption(NamedTuple):
    """What an `AudioOutput.interrupt` cut short."""

    heard_ms: int
    """Milliseconds of the speech that the client has received: as of its reports, if it sends any."""
    dropped_ms: int
    """Milliseconds that were still queued and will never be heard."""


@attrs.frozen
class Connected:
    """Media can flow both ways; everything sent before was kept."""

    setup_ms: float
    """From the client's offer to here."""


@attrs.frozen
class GoingAway:
    """The server that has the call goes away, and takes no new ones: a good moment to come to an end.

    Said again when that changes, and to an agent that comes later.
    """

    seconds: float
    """For how long the call may go on; the server ends it then."""


@attrs.frozen
class ChannelOpened:
    """The client has opened a data channel, or confirmed one of ours."""

    channel: DataChannel


@attrs.frozen
class ChannelClosed:
    """A data channel was closed, by whichever end; its last messages can still be received."""

    channel: DataChannel


@attrs.frozen
class Interrupted:
    """The user began to speak while we did, and what was still to be said is dropped."""

    interruption: Interruption
    response_id: str | None
    """Of the response that was cut short."""


@attrs.frozen
class MarkPlayed:
    """All that was sent before a mark has left for the client."""

    name: str
    position_ms: int
    """How much of the present speech had been played out there."""


@attrs.frozen
class TurnAnswered:
    """How long the user waited for an answer; counted from the end of the last voiced frame."""

    first_audio_ms: int
    """Until the agent sent its first audio."""
    first_packet_ms: int
    """Until that left for the client."""


CallEvent: TypeAlias = (
    Connected
    | GoingAway
    | ChannelOpened
    | ChannelClosed
    | SpeechStarted
    | SpeechStopped
    | TurnEnded
    | Interrupted
    | MarkPlayed
    | TurnAnswered
    | AgentNotice
)
