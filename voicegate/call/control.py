"""The seam between a call and its media."""

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from voicegate.audio import TurnModel
from voicegate.call.event import Interruption
from voicegate.call.frame import AudioListener
from voicegate.realtime.agent_event import AgentReport

if TYPE_CHECKING:
    from voicegate.call.call import Agent

__all__ = ["CallControl", "OutputState"]


class OutputState(NamedTuple):
    """What becomes of the agent's speech."""

    queued_ms: int
    """Audio not sent yet, rounded up, and with all that this process has pushed: behind a link, too."""
    heard_ms: int
    """How much of the present speech the client has received."""
    response_id: str | None
    """Of the response that the present speech belongs to."""
    is_paused: bool


class CallControl(Protocol):
    """All that a `Call` asks of its media, which may be in this process or behind a link.

    Every method returns at once and none fails for what the client does. What comes back goes the other way:
    frames to the listener, events to `Call.push_event`.
    """

    @property
    def sample_rate(self) -> int:
        """Samples per second of the PCM, both ways."""

    @property
    def codec(self) -> str:
        """Of packets, both ways: ``opus``, ``g722``, ``pcmu`` or ``pcma``; ``pcm16`` where none has any."""

    @property
    def clock_rate(self) -> int:
        """Ticks per second, of which packets take so many."""

    def use_rate(self, sample_rate: int) -> None:
        """Resample both ways, from and to 8000, 16000, 24000 or 48000; called before any audio was sent."""

    # In

    def set_listener(self, listener: AudioListener | None) -> None:
        """Hand each frame to a listener from now on, as it wants it; None: nobody wants any."""

    def loop_back(self) -> None:
        """Send the client's packets straight back, and nothing to any listener."""

    def detect_speech(
        self,
        *,
        silence_ms: int,
        barge_in: bool,
        turn_model: TurnModel | None,
        detector: Literal["webrtc", "silero"],
    ) -> None:
        """Begin to emit `SpeechStarted`, `SpeechStopped` and `TurnEnded`, and `Interrupted` with barge-in."""

    def end_turn(self) -> None:
        """Emit `TurnEnded` now if the user has fallen silent, without waiting for more silence."""

    def pre_roll(self, ms: int) -> bytes:
        """Return the last samples heard, up to at least a second of them once speech is detected."""

    # Out

    def push_pcm(self, pcm: bytes, *, response_id: str | None) -> None:
        """Queue samples of any length."""

    def push_packet(self, payload: bytes, ticks: int, *, response_id: str | None) -> None:
        """Queue a packet that needs no encoding, so long on the RTP clock."""

    def clear(self) -> Interruption:
        """Drop all that is queued, and what still comes of the responses it belongs to."""

    def pause(self) -> None:
        """Fall silent, and keep what is queued."""

    def resume(self) -> None:
        """Go on where `pause` stopped."""

    def mark(self, name: str) -> None:
        """Emit `MarkPlayed` when all that was pushed before has been played; never if that is dropped."""

    def cancel_response(self, response_id: str) -> None:
        """Drop what is queued of a response, and what still comes of it."""

    def output_state(self) -> OutputState:
        """Return how things stand; behind a link, as they stood a moment ago."""

    # The conversation

    def report(self, event: AgentReport) -> None:
        """Take what the agent says beside its audio."""

    # The end

    def transfer(self, agent: "Agent | str") -> None:
        """Cancel the agent and give the call to another; a name is one that the operator has configured.

        Errors: UsageError for what cannot be found, as far as that is known here.
        """

    def hang_up(self, *, after: Literal["now", "drain"]) -> None:
        """End the call, now or when all that is queued has been played."""
