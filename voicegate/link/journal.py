"""What was sent and received in a session, so that another socket can go on where one broke.

Each end numbers what it sends by counting, and keeps it until the other says how much has arrived. When a
socket breaks, both say what they have, and what the other lacks is sent again: nothing is lost, and nothing
comes twice.

Input: `send`, `receive`, `acknowledge`, `resume`. Output: `poll_acknowledgement`. Layer: core (sans-IO).
"""

from collections import deque
from typing import Final

from voicegate.errors import WireError

__all__ = ["Journal"]

HELD_BYTES: Final = 8 * 1024 * 1024
"""Sent and not acknowledged; then sending waits. Half a second of 400 calls at 24 kHz."""

ACKNOWLEDGE_EVERY: Final = 32
"""Messages; a lone call's acknowledgements come about once a second."""

ACKNOWLEDGE_BYTES: Final = 262_144
"""Bytes after which one comes sooner, so that a fast sender need not wait."""


class Journal:
    """Both directions of one session, seen from one end."""

    def __init__(self) -> None:
        self.sent = 0
        """Messages."""
        self.received = 0
        """Messages."""
        self.held_bytes = 0
        """Of messages that may have to be sent again."""
        self._held: deque[bytes | str] = deque()
        self._acknowledged = 0
        self._unacknowledged_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether the other end has so much to acknowledge that it should get no more."""
        return self.held_bytes >= HELD_BYTES

    def send(self, message: bytes | str) -> None:
        """Note a message that is about to be sent."""
        self.sent += 1
        self._held.append(message)
        self.held_bytes += len(message)

    def can_resume(self, count: int) -> bool:
        """Whether all is still here that an end lacks which has received so many messages."""
        return self.sent - len(self._held) <= count <= self.sent

    def acknowledge(self, count: int) -> None:
        """Let go of what the other end has received.

        Errors: WireError for what can't be.
        """
        first = self.sent - len(self._held)
        if not self.can_resume(count):
            raise WireError(f"{count} messages acknowledged of {self.sent}, after {first}")
        for _ in range(count - first):
            self.held_bytes -= len(self._held.popleft())

    def receive(self, message: bytes | str) -> None:
        """Note a message that has arrived."""
        self.received += 1
        self._unacknowledged_bytes += len(message)

    def poll_acknowledgement(self, *, is_late: bool = False) -> int | None:
        """Return what to acknowledge, if it is time to: ``is_late`` after a while without."""
        waiting = self.received - self._acknowledged
        if (
            waiting >= (1 if is_late else ACKNOWLEDGE_EVERY)
            or self._unacknowledged_bytes >= ACKNOWLEDGE_BYTES
        ):
            self._acknowledged = self.received
            self._unacknowledged_bytes = 0
            return self.received
        return None

    def resume(self, count: int) -> list[bytes | str]:
        """Return what has to be sent again to an end that has received so many messages.

        Errors: WireError when that can't be.
        """
        self.acknowledge(count)
        # Its hello said what we have.
        self._acknowledged = self.received
        self._unacknowledged_bytes = 0
        return list(self._held)
