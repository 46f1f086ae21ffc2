"""SPED: DTLS that travels inside connectivity checks and their answers, ahead of any path to send it on.

1. client -> us: a check with a DTLS datagram in it (DATA), or with checksums only (ACK): it speaks SPED
2. us -> client: its answer, with the checksums of what we have of it, and a datagram of our flight
3. the next check acknowledges that datagram by its checksum; until then answers repeat the flight by turns

We never ask, so all we have to say goes in answers, or as ordinary datagrams, which the client takes from
the first answer on. The client that our tests use does its half with the same class. Only what a verified
message says is acted on, which is for the caller to see to.

The draft is draft-hancke-webrtc-sped; how it is used stands in ``docs/ice.md``.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum
from struct import iter_unpack
from typing import Final
from zlib import crc32

from voicegate.ice.stun import AttributeType, Message
from voicegate.wire import PacketKind, classify

__all__ = ["MAX_EMBEDDED_LENGTH", "Sped", "SpedState"]

MAX_CHECKSUMS: Final = 4
"""In an ACK, by the draft: the datagrams that came last."""
MAX_EMBEDDED_LENGTH: Final = 1100
"""Bytes of a datagram that an answer carries: with an IPv6 address and `MAX_CHECKSUMS`, 1200 in all."""


class SpedState(Enum):
    """How far SPED has come, in order; it never goes back."""

    TENTATIVE = "tentative"
    """Negotiated, but nothing has come yet."""
    CONFIRMED = "confirmed"
    """The first message used it."""
    COMPLETE = "complete"
    """We have nothing more to embed; what the peer still embeds is acknowledged."""
    OFF = "off"
    """The first message didn't use it, and no other will."""


class Sped:
    """What is in the peer's messages, and what is to be put in ours."""

    def __init__(self) -> None:
        self.state = SpedState.TENTATIVE
        self.received = self.sent = self.refused = 0
        """Datagrams taken out of messages, put into them, and not taken since they are no DTLS."""
        self._checksums: deque[int] = deque(maxlen=MAX_CHECKSUMS)
        self._flight: tuple[bytes, ...] = ()
        self._acknowledged: set[int] = set()
        # What of the flight the peer may not have, by checksum; the first is the next in turn.
        self._pending: dict[int, bytes] = {}

    # Input

    def handle_message(self, message: Message) -> bytes | None:
        """Take what a verified check or answer says of SPED; return the DTLS datagram in it, if it is new."""
        data, acknowledgement = _attributes_of(message)
        is_used = data is not None or acknowledgement is not None
        if self.state is SpedState.TENTATIVE:
            self.state = SpedState.CONFIRMED if is_used else SpedState.OFF
        if self.state is SpedState.OFF:
            return None
        if acknowledgement is not None:
            self._acknowledge(acknowledgement)
        if data is None:
            return None
        if classify(data) is not PacketKind.DTLS:
            self.refused += 1
            return None
        self.received += 1
        # A repetition asks for our flight again, which the answer repeats.
        is_new = self._note(data)
        return data if is_new or not self._pending else None

    def note_datagram(self, data: bytes) -> None:
        """Take notice of a DTLS datagram that came by itself."""
        if self.state is SpedState.CONFIRMED:
            self._note(data)

    def embed(self, datagrams: Sequence[bytes]) -> None:
        """Replace the flight; the same one again changes nothing."""
        flight = tuple(datagrams)
        if self.state is SpedState.COMPLETE or flight == self._flight:
            return
        self._flight = flight
        fitting = {
            crc32(data): data
            for data in flight
            if classify(data) is PacketKind.DTLS and len(data) <= MAX_EMBEDDED_LENGTH
        }
        self._acknowledged &= fitting.keys()
        self._pending = {key: data for key, data in fitting.items() if key not in self._acknowledged}

    def end(self) -> None:
        """Embed nothing from now on."""
        if self.state is not SpedState.OFF:
            self.state = SpedState.COMPLETE
        self._pending.clear()

    # Output

    def answer(self, check: Message) -> tuple[tuple[int, bytes], ...]:
        """Return the attributes of the answer to a check: none unless it has any itself."""
        if self.state is SpedState.OFF or _attributes_of(check) == (None, None):
            return ()
        return self.next_attributes()

    def next_attributes(self) -> tuple[tuple[int, bytes], ...]:
        """Return the attributes of our next message."""
        checksums = b"".join(checksum.to_bytes(4, "big") for checksum in self._checksums)
        acknowledgement = (AttributeType.DTLS_IN_STUN_ACK, checksums)
        if not self._pending:
            return (acknowledgement,)
        turn = next(iter(self._pending))
        data = self._pending[turn] = self._pending.pop(turn)
        self.sent += 1
        return acknowledgement, (AttributeType.DTLS_IN_STUN_DATA, data)

    @property
    def pending(self) -> tuple[bytes, ...]:
        """What the peer has not acknowledged, the next in turn first."""
        return tuple(self._pending.values())

    # Internals

    def _note(self, data: bytes) -> bool:
        """Remember a datagram to acknowledge; return whether it is new."""
        checksum = crc32(data)
        # Checks repeat datagrams by turns; a repetition must not push another one out.
        is_new = checksum not in self._checksums
        if is_new:
            self._checksums.append(checksum)
        return is_new

    def _acknowledge(self, value: bytes) -> None:
        if len(value) % 4:
            return
        for (checksum,) in iter_unpack("!I", value):
            if self._pending.pop(checksum, None) is not None:
                self._acknowledged.add(checksum)


def _attributes_of(message: Message) -> tuple[bytes | None, bytes | None]:
    return message.get(AttributeType.DTLS_IN_STUN_DATA), message.get(AttributeType.DTLS_IN_STUN_ACK)
