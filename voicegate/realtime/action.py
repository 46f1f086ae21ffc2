"""What a session wants its call to do."""

from typing import Literal, TypeAlias

import attrs

from voicegate.realtime.agent_event import AgentNotice

__all__ = [
    "Action",
    "CancelResponse",
    "ClearInput",
    "ClearOutput",
    "CommitInput",
    "DetectSpeech",
    "Eagerness",
    "EndCall",
    "InputAppended",
    "MuteInput",
    "StopDetecting",
    "TellAgent",
]

Eagerness: TypeAlias = Literal["low", "medium", "high"]


@attrs.frozen
class TellAgent:
    """Hand a notice to the agent."""

    notice: AgentNotice


@attrs.frozen
class ClearOutput:
    """Drop all that is queued for the client; `OutputInterrupted` answers if there was anything."""


@attrs.frozen
class CancelResponse:
    """Take no more audio of a response; what is queued of it is played on."""

    response_id: str


@attrs.frozen(kw_only=True)
class DetectSpeech:
    """Detect the user's turns, in this way from now on."""

    silence_ms: int
    threshold: float
    """From 0, where all is speech, to 1."""
    prefix_ms: int
    """How much before the first voiced frame counts as the turn's."""
    barge_in: bool
    """Whether speech of the user interrupts ours."""
    eagerness: Eagerness | None
    """For semantic detection: how soon to take a pause for the end; None: by silence alone."""


@attrs.frozen
class StopDetecting:
    """The client says itself where a turn ends."""


@attrs.frozen
class CommitInput:
    """Take what was heard since the last commit for a turn; `TurnOver` answers."""


@attrs.frozen
class ClearInput:
    """Forget what was heard since the last commit."""


@attrs.frozen
class MuteInput:
    """Let the agent, and whoever looks for speech, hear silence; or let it hear the user again."""

    is_muted: bool


@attrs.frozen
class InputAppended:
    """Audio of a client that sends it in events."""

    pcm: bytes
    """16-bit mono samples, whatever the client's format is."""
    rate: int


@attrs.frozen
class EndCall:
    """End the call, for a reason that the client has been told."""

    code: str
    message: str


Action: TypeAlias = (
    TellAgent
    | ClearOutput
    | CancelResponse
    | DetectSpeech
    | StopDetecting
    | CommitInput
    | ClearInput
    | MuteInput
    | InputAppended
    | EndCall
)
