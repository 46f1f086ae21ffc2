"""The receiving half: what has arrived, what of it is told, and how much more may come."""

from typing import Final

from voicegate.errors import UsageError
from voicegate.sctp.chunk import Data, DataFlag, ForwardTsn, Sack
from voicegate.sctp.outbox import Outbox
from voicegate.sctp.reassembly import MAX_PIECES, Reassembly, Release
from voicegate.sctp.received import MAX_AHEAD, ReceivedTsns
from voicegate.sctp.statistic import DropReason
from voicegate.sctp.tsn import TSN_MASK, extend_tsn

__all__ = ["Inbound"]

_ACKNOWLEDGEMENT_DELAY: Final = 0.02
"""Seconds that a lone packet's acknowledgement waits for something to ride with. The 200 ms that RFC 9260
§6.2 allows would save nothing in a conversation of single messages, and would look like a slow path."""
_PACKETS_PER_ACKNOWLEDGEMENT: Final = 2
"""RFC 9260 §6.2."""
_SACK_HEADER_LENGTH: Final = 16
_IMMEDIATE: Final = int(DataFlag.IMMEDIATE)


class Inbound:
    """Takes DATA and FORWARD-TSN, hands out messages, and says when a SACK is due."""

    def __init__(self, *, outbox: Outbox, window: int, max_message_size: int) -> None:
        self._outbox = outbox
        self._size = window
        self._max_message_size = max_message_size
        self._received = ReceivedTsns(0)
        self._reassembly = Reassembly(max_message_size)
        self._held = 0
        self._delivered = 0
        self._advertised = window
        self._has_new = False
        self._packets = 0
        self.is_due = False
        """Whether a SACK is to go out now."""
        self.deadline: float | None = None
        """When a SACK is to go out at the latest."""

    def begin(self, *, initial_tsn: int) -> None:
        """Learn what the peer's INIT says."""
        self._received = ReceivedTsns(initial_tsn - 1)

    @property
    def cumulative_tsn(self) -> int:
        """Extended; all up to here has arrived or was given up."""
        return self._received.cumulative_tsn

    @property
    def unconsumed(self) -> int:
        """Bytes handed out and not consumed."""
        return self._delivered

    @property
    def has_oversized(self) -> bool:
        """Whether the peer sends a message longer than was agreed."""
        return self._reassembly.longest > self._max_message_size

    @property
    def is_pending(self) -> bool:
        """Whether there is something to tell, now or later."""
        return self.is_due or self.deadline is not None

    def handle_data(self, data: Data) -> None:
        """Take a chunk, of a stream that exists and with at least one byte."""
        received = self._received
        base = received.cumulative_tsn
        tsn = extend_tsn(data.tsn, reference=base)
        self._has_new = True
        if data.flags & _IMMEDIATE:
            self.is_due = True
        if tsn <= base or received.has(tsn):
            # The peer has not heard of it yet (RFC 9260 §6.2).
            self.is_due = True
            received.note_duplicate(data.tsn)
            self._outbox.drop(DropReason.DUPLICATE_DATA)
            return
        if (refusal := self._refusal(tsn - base, len(data.data))) is not None:
            self.is_due = True
            self._outbox.drop(refusal)
            return
        had_holes = received.has_holes
        received.add(tsn)
        if had_holes or received.has_holes:
            self.is_due = True
        self._held += len(data.data)
        release = self._reassembly.add(data, tsn, settled=base)
        if release.discarded:
            self._outbox.drop(DropReason.CONTRADICTING_FRAGMENT)
        self._release(release)

    def skip_data(self, data: Data) -> None:
        """Take a chunk as received and throw it away (RFC 9260 §6.5)."""
        base = self._received.cumulative_tsn
        tsn = extend_tsn(data.tsn, reference=base)
        self._has_new = self.is_due = True
        if tsn - base <= MAX_AHEAD and not self._received.has(tsn):
            self._received.add(tsn)

    def handle_forward_tsn(self, forward: ForwardTsn) -> None:
        """Stop waiting for what the peer has given up (RFC 3758 §3.6)."""
        self.is_due = True
        tsn = extend_tsn(forward.cumulative_tsn, reference=self._received.cumulative_tsn)
        if tsn > self._received.cumulative_tsn:
            self._received.forward(tsn)
            self._release(self._reassembly.forward(tsn, forward.streams))

    def end_packet(self, *, now: float) -> None:
        """Learn that a packet's chunks were all handled: decide about its acknowledgement."""
        if not self._has_new:
            return
        self._has_new = False
        self._packets += 1
        if self._packets >= _PACKETS_PER_ACKNOWLEDGEMENT:
            self.is_due = True
        else:
            self.deadline = now + _ACKNOWLEDGEMENT_DELAY

    def handle_timeout(self, *, now: float) -> None:
        """Let time pass."""
        if self.deadline is not None and now >= self.deadline:
            self.is_due = True

    def consume(self, length: int) -> None:
        """Give room back for bytes that the owner has passed on.

        Errors: UsageError for more than was handed out.
        """
        if not 0 <= length <= self._delivered:
            raise UsageError(f"{length} bytes consumed, {self._delivered} were received")
        self._delivered -= length
        # A peer that was told of little room has stopped, and would only come to ask now and then.
        if self._advertised <= self._size // 4 and self._room >= self._size // 2:
            self.is_due = True

    def reset(self, stream_ids: tuple[int, ...]) -> None:
        """Let streams begin anew."""
        self._held -= self._reassembly.reset(stream_ids)

    def take_sack(self) -> bytes:
        """Return the SACK to send, which is then no longer due."""
        self.is_due = False
        self.deadline = None
        self._packets = 0
        self._advertised = self._room
        duplicates = self._received.take_duplicates()
        room = self._outbox.mtu - _SACK_HEADER_LENGTH - 4 * len(duplicates)
        return Sack(
            self._received.cumulative_tsn & TSN_MASK,
            self._advertised,
            self._received.gaps((room - 12) // 4) if self._received.has_holes else (),
            duplicates,
        ).encode()

    @property
    def _room(self) -> int:
        return max(0, self._size - self._held - self._delivered)

    def _refusal(self, ahead: int, length: int) -> DropReason | None:
        """Say why a new chunk cannot be taken.

        What comes next in order is taken beyond the limits, as far as one message: it is what makes all that
        waits for it whole, so that the room can be given back.
        """
        if ahead > MAX_AHEAD:
            return DropReason.DATA_TOO_FAR_AHEAD
        is_next = ahead == 1
        size = self._size + self._max_message_size if is_next else self._size
        pieces = 2 * MAX_PIECES if is_next else MAX_PIECES
        if self._held + self._delivered + length > size or self._reassembly.pieces > pieces:
            return DropReason.WINDOW_EXCEEDED
        return None

    def _release(self, release: Release) -> None:
        self._held -= release.discarded
        messages = release.messages
        if messages:
            length = sum([len(message.data) for message in messages])
            self._held -= length
            self._delivered += length
            self._outbox.messages_received += len(messages)
            events = self._outbox.events
            events.extend(messages)
