"""What a call's shell drives, whichever API its client speaks."""

from typing import NamedTuple, Protocol

from voicegate.realtime.action import Action
from voicegate.realtime.agent_event import AgentReport
from voicegate.realtime.notice import CallNotice
from voicegate.wire.json_value import JSON

__all__ = ["ClientSession", "ServerEventOut"]


class ServerEventOut(NamedTuple):
    """An event for clients."""

    text: str
    source: str | None
    """The connection it is for; None: all that are attached."""


class ClientSession(Protocol):
    """A client's session. A core: no I/O, no clock; what arrives never raises.

    Drain rule: after each ``attach``, ``handle_*`` or ``add_output``, ``poll_event`` and ``poll_action`` to
    None, and ``poll_timeout``.
    """

    # Input

    def attach(self, source: str) -> None:
        """Take a connection of the client, by a name of its own; it is greeted with the session."""

    def detach(self, source: str) -> None:
        """Forget a connection."""

    def handle_text(self, text: str, *, source: str, now: float) -> None:
        """Take an event of the client."""

    def handle_notice(self, notice: CallNotice, *, now: float) -> None:
        """Take what the media side has seen."""

    def handle_report(self, report: AgentReport, *, now: float) -> None:
        """Take what the agent has done."""

    def release_agent(self, *, now: float) -> None:
        """Take it that the agent has gone: the next one on the call takes part, or does not."""

    def add_output(self, response_id: str | None, pcm: bytes, *, now: float) -> None:
        """Take audio of the agent, for clients that get it in events.

        For others it says that there is going to be audio: nothing is lost if it is only called, without
        samples, for the first of each response.
        """

    def handle_timeout(self, *, now: float) -> None:
        """Let time pass."""

    def expire(self) -> None:
        """Tell the client that its session has lasted long enough; `EndCall` follows."""

    # Output

    def poll_event(self) -> ServerEventOut | None:
        """Return the next event for clients."""

    def poll_action(self) -> Action | None:
        """Return the next thing to do for the call."""

    def poll_timeout(self) -> float | None:
        """Return when to call `handle_timeout`."""

    def describe(self) -> dict[str, JSON]:
        """Return the session as it is now."""
