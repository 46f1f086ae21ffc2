"""How an association ends: in good order, or at once (RFC 9260 §9).

1. SHUTDOWN           ->   once all of ours has arrived
2.                    <-   SHUTDOWN ACK, once all of theirs has
3. SHUTDOWN COMPLETE  ->

or ABORT, by either.
"""

from typing import Final

from voicegate.errors import WireError
from voicegate.sctp.chunk import ChunkType, encode_chunk
from voicegate.sctp.outbox import Outbox
from voicegate.sctp.packet import Packet
from voicegate.sctp.parameter import CauseCode, Parameter, decode_parameters
from voicegate.sctp.round_trip import RoundTrip

__all__ = ["Ending", "describe_abort"]

_MAX_REPETITIONS: Final = 10
"""Of SHUTDOWN or SHUTDOWN ACK: Association.Max.Retrans of RFC 9260 §16."""
_MAX_LAST_WORDS: Final = 3
"""How often a peer that goes on is told that it is over."""
_MAX_REASON: Final = 256
"""Bytes of words, sent or kept."""
_MAX_CAUSES: Final = 4
"""Causes of an ABORT that are put into words."""
_SPOKEN: Final = (CauseCode.USER_ABORT, CauseCode.PROTOCOL_VIOLATION)
"""Causes whose value is text."""


class Ending:
    """Says the last things, with the timer T2."""

    def __init__(self, *, outbox: Outbox, round_trip: RoundTrip) -> None:
        self._outbox = outbox
        self._round_trip = round_trip
        self._repetitions = 0
        self._last_words = b""
        self._words_left = _MAX_LAST_WORDS
        self.is_remote = False
        """Whether it was the peer that wanted to end in good order."""
        self.deadline: float | None = None

    @property
    def has_failed(self) -> bool:
        """Whether the peer was told often enough."""
        return self._repetitions > _MAX_REPETITIONS

    def is_overdue(self, now: float) -> bool:
        """Tell whether T2 has run out."""
        return self.deadline is not None and now >= self.deadline

    def say(self, chunk: bytes, *, now: float) -> None:
        """Put SHUTDOWN or SHUTDOWN ACK into a packet, and wait."""
        if self.is_overdue(now):
            self._repetitions += 1
            self._round_trip.back_off()
        self._outbox.add(chunk)
        self.deadline = now + self._round_trip.timeout

    def complete(self) -> None:
        """Send SHUTDOWN COMPLETE."""
        self._say_last(encode_chunk(ChunkType.SHUTDOWN_COMPLETE))

    def abort(self, detail: str, *, code: CauseCode | None = None) -> None:
        """Send ABORT, if there is anybody to hear it."""
        if self._outbox.tag:
            reason = b"" if code is None else Parameter(code, detail.encode()[:_MAX_REASON]).encode()
            self._say_last(encode_chunk(ChunkType.ABORT, reason))

    def repeat(self, packet: Packet) -> None:
        """Tell a peer whose packet has come that it is over."""
        is_end = packet.chunks[0][0] in (ChunkType.ABORT, ChunkType.SHUTDOWN_COMPLETE)
        if self._last_words and self._words_left and not is_end:
            self._words_left -= 1
            self._outbox.send(self._last_words)

    def _say_last(self, chunk: bytes) -> None:
        self.deadline = None
        self._last_words = chunk
        self._outbox.seal()
        self._outbox.send(chunk)


def describe_abort(abort: bytes) -> str:
    """Put an ABORT's causes into words for a log."""
    try:
        causes = decode_parameters(abort[4:])
    except WireError:
        return "causes that cannot be read"
    words = []
    for code, value in causes[:_MAX_CAUSES]:
        text = value[:_MAX_REASON].decode(errors="replace") if code in _SPOKEN else ""
        words.append(f"cause {code}: {text}" if text else f"cause {code}")
    return ", ".join(words) or "no cause given"
