"""A flight: what one side sends before it waits, and what of it has arrived (RFC 9147 §5.8, §7)."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from voicegate.dtls.handshake import Message
from voicegate.dtls.record import HEADER_LENGTH
from voicegate.dtls.v13.message import RecordNumber
from voicegate.dtls.v13.record import OVERHEAD

__all__ = ["Flight", "Parcel"]

_MAX_RECORDS: Final = 256
"""Records that are remembered by what they carried; the peer acknowledges the latest copies."""


class Parcel(NamedTuple):
    """The content of one record: fragments of messages of one epoch."""

    epoch: int
    pieces: tuple[int, ...]
    data: bytes

    @property
    def record_length(self) -> int:
        """Bytes it takes in a datagram."""
        return len(self.data) + (OVERHEAD if self.epoch else HEADER_LENGTH)


class Flight:
    """Messages, cut into pieces once; each piece is sent until a record that carried it is acknowledged."""

    def __init__(self, messages: Sequence[Message], *, answers: int, mtu: int) -> None:
        """Cut messages for datagrams of up to ``mtu`` bytes.

        ``answers`` is the message_seq that ended the peer's flight before this one, or -1; if it comes again,
        ours was lost.
        """
        self.answers = answers
        self._mtu = mtu
        self._missing: dict[int, tuple[int, bytes]] = {}
        for message in messages:
            limit = mtu - (OVERHEAD if message.epoch else HEADER_LENGTH)
            for fragment in message.fragments(limit):
                self._missing[len(self._missing)] = message.epoch, fragment
        self._carried: dict[RecordNumber, tuple[int, ...]] = {}

    @property
    def is_acknowledged(self) -> bool:
        """Whether the peer has all of it."""
        return not self._missing

    def datagrams(self) -> Iterable[list[Parcel]]:
        """Lay out what is not acknowledged: as few datagrams, and in them as few records, as will do."""
        datagram: list[Parcel] = []
        room = self._mtu
        for index, (epoch, fragment) in self._missing.items():
            parcel = Parcel(epoch, (index,), fragment)
            if datagram and datagram[-1].epoch == epoch and len(fragment) <= room:
                last = datagram.pop()
                parcel = Parcel(epoch, (*last.pieces, index), last.data + fragment)
                room += last.record_length
            elif datagram and parcel.record_length > room:
                yield datagram
                datagram, room = [], self._mtu
            datagram.append(parcel)
            room -= parcel.record_length
        if datagram:
            yield datagram

    def note(self, number: RecordNumber, parcel: Parcel) -> None:
        """Remember which record a parcel went out in."""
        if len(self._carried) == _MAX_RECORDS:
            del self._carried[next(iter(self._carried))]
        self._carried[number] = parcel.pieces

    def acknowledge(self, numbers: Iterable[RecordNumber]) -> None:
        """Strike out what these records carried."""
        for number in numbers:
            for piece in self._carried.pop(number, ()):
                self._missing.pop(piece, None)
