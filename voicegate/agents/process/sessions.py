"""The calls of one link, as the media process has them."""

from typing import Final

from voicegate.agents.process.session import Session

__all__ = ["Sessions"]

PHASES: Final = 4
"""Outputs are reported on every fourth tick, once a frame of 20 ms, a quarter of them at a time."""


class Sessions:
    """Calls by their numbers; and those of them whose output may have changed.

    Args:
        phases: On every which `report` each is asked.
    """

    def __init__(self, *, phases: int = PHASES) -> None:
        self._sessions: dict[int, Session] = {}
        self._phases = phases
        self._busy: tuple[set[Session], ...] = tuple(set() for _ in range(phases))
        self._turn = 0

    def __len__(self) -> int:
        return len(self._sessions)

    async def run(self, session: Session) -> None:
        """Have a call answered.

        Errors: AgentProcessError.
        """
        self._sessions[session.number] = session
        try:
            await session.run()
        finally:
            del self._sessions[session.number]
            self._busy[session.number % self._phases].discard(session)

    def find(self, number: int) -> Session | None:
        """Return a call that is not over."""
        return self._sessions.get(number)

    def handle(self, number: int, message: object) -> bool:
        """Do what the agent wants of a call; False if it is over.

        Errors: WireError for what no agent can want.
        """
        session = self._sessions.get(number)
        if session is None:
            return False
        session.handle(message)
        self._busy[number % self._phases].add(session)
        return True

    def restart(self) -> None:
        """Let another agent have all calls."""
        for session in self._sessions.values():
            session.restart()

    def close(self, fault: str) -> None:
        """End all calls."""
        for session in self._sessions.values():
            session.end(fault)

    def report(self) -> bool:
        """Tell the agents how far their speech is; return whether there may soon be more to tell."""
        self._turn += 1
        busy = self._busy[self._turn % self._phases]
        busy.difference_update([session for session in busy if not session.report()])
        return any(self._busy)
