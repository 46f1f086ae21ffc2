"""What the media side of a call tells its session. Positions are milliseconds of the call's audio in."""

from typing import TypeAlias

import attrs

__all__ = [
    "CallNotice",
    "InputDtmf",
    "OutputBegan",
    "OutputDrained",
    "OutputInterrupted",
    "ServerLeaving",
    "SpeechBegan",
    "SpeechEnded",
    "TurnOver",
]


@attrs.frozen
class SpeechBegan:
    """The user began to speak, or went on after a pause."""

    position_ms: int
    """Before the first voiced frame."""


@attrs.frozen
class SpeechEnded:
    """The user fell silent: a pause, or the end of the turn."""

    position_ms: int
    """The end of the last voiced frame."""


@attrs.frozen
class TurnOver:
    """The user waits for an answer."""

    position_ms: int
    """The end of the last voiced frame, or of the audio if the client committed it."""


@attrs.frozen
class OutputBegan:
    """The first packet of a speech has left."""

    response_id: str | None


@attrs.frozen
class OutputDrained:
    """All that was sent of a speech has been played."""

    response_id: str | None
    played_ms: int


@attrs.frozen
class OutputInterrupted:
    """What was still to be said of a speech is dropped: by barge-in, by the client or by the agent."""

    response_id: str | None
    heard_ms: int
    dropped_ms: int


@attrs.frozen
class InputDtmf:
    """A key of a telephone was pressed."""

    digit: str
    duration_ms: int


@attrs.frozen
class ServerLeaving:
    """The server goes away."""

    seconds: float
    """For how long the call may go on."""
    source: str | None = None
    """The connection that is to be told; None: all."""


CallNotice: TypeAlias = (
    SpeechBegan
    | SpeechEnded
    | TurnOver
    | OutputBegan
    | OutputDrained
    | OutputInterrupted
    | InputDtmf
    | ServerLeaving
)
