"""The packets that left last, for a client that asks for them again (RFC 4585 §6.2.1)."""

from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["Resends"]

_KEPT: Final = 32
"""Packets, 640 ms of the usual ones: one asked for later would come too late to be heard."""

_MAX_CREDIT: Final = 16
"""Packets that may be sent again at once. Each packet sent earns one more, so that no client can make us send
more than twice of what we would."""


class Resends:
    """Protected packets by sequence number; sending the same bytes again is what SRTP allows."""

    __slots__ = ("_credit", "_kept")

    def __init__(self) -> None:
        self._kept: list[tuple[int, bytes] | None] = [None] * _KEPT
        self._credit = 0

    def note(self, sequence_number: int, packet: bytes) -> None:
        """Keep a packet that leaves."""
        self._kept[sequence_number % _KEPT] = (sequence_number, packet)
        if self._credit < _MAX_CREDIT:
            self._credit += 1

    def take(self, sequence_numbers: Iterable[int]) -> Iterator[bytes]:
        """Return those that are wanted again, are there, and may be sent."""
        for number in sequence_numbers:
            kept = self._kept[number % _KEPT]
            if self._credit and kept is not None and kept[0] == number:
                self._credit -= 1
                yield kept[1]
