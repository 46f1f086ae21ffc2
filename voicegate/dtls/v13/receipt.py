"""What of the peer's flight has come, and whether it is to be told (RFC 9147 §7)."""

from typing import Final

from voicegate.dtls.v13.message import Ack, RecordNumber

__all__ = ["Receipt"]

_MAX_RECORDS: Final = 32
"""Record numbers to acknowledge, the latest; a flight has a few records, each of which may come again."""


class Receipt:
    """The records of the flight that is coming in, and when the next acknowledgement is due."""

    def __init__(self) -> None:
        self._numbers: dict[RecordNumber, None] = {}
        self.is_owed = False
        """Whether to acknowledge at the end of this datagram."""
        self.due_at: float | None = None
        """When to acknowledge if nothing else comes."""

    def __len__(self) -> int:
        return len(self._numbers)

    def note(self, number: RecordNumber) -> None:
        """Remember a record that was kept whole."""
        if len(self._numbers) == _MAX_RECORDS:
            del self._numbers[next(iter(self._numbers))]
        self._numbers[number] = None

    def clear(self) -> None:
        """Begin with the next flight: all of this one is acknowledged."""
        self._numbers.clear()
        self.is_owed = False
        self.due_at = None

    def acknowledge(self) -> Ack:
        """Make the acknowledgement; nothing is due any more."""
        self.is_owed = False
        self.due_at = None
        return Ack(record_numbers=tuple(self._numbers))
