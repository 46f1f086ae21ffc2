"""Fragments into messages, and ordered messages into order.

Fragments of one message have consecutive TSNs (RFC 9260 §6.9). So what has come of it is kept as runs, each a
stretch without a hole that grows at either end, found by the TSN that it waits for there: a fragment costs
the same whatever else is held.
"""

from collections.abc import Iterable
from typing import Final

import attrs

from voicegate.sctp.chunk import Data, DataFlag
from voicegate.sctp.event import MessageReceived
from voicegate.sctp.received import MAX_AHEAD

__all__ = ["Reassembly", "MAX_PIECES", "Release"]

MAX_PIECES: Final = MAX_AHEAD
"""Runs and messages held at once. Each costs some 300 bytes beside its data, which the window does not count;
a peer that keeps to the protocol has no more than the TSNs it may be ahead."""

_BEGIN: Final = int(DataFlag.BEGIN)
_END: Final = int(DataFlag.END)
_WHOLE: Final = _BEGIN | _END
_UNORDERED: Final = int(DataFlag.UNORDERED)
_HALF: Final = 0x8000


@attrs.define(eq=False)
class _Run:
    first: int
    last: int
    """Extended TSNs."""
    stream_id: int
    sequence_number: int
    protocol_id: int
    is_unordered: bool
    has_begin: bool
    has_end: bool
    data: bytearray

    def continues(self, other: "_Run") -> bool:
        return (self.stream_id, self.sequence_number, self.is_unordered) == (
            other.stream_id,
            other.sequence_number,
            other.is_unordered,
        )


@attrs.define(eq=False)
class _Stream:
    next_sequence: int = 0
    waiting: dict[int, MessageReceived] = attrs.field(factory=dict)
    """Whole messages by sequence number, before which others are missing."""


@attrs.define(eq=False)
class Release:
    """What became of held data."""

    messages: list[MessageReceived] = attrs.field(factory=list)
    """To be handed out, in this order."""
    discarded: int = 0
    """Bytes thrown away."""


class Reassembly:
    """Holds what is not a whole message yet, or not yet the turn of."""

    def __init__(self, max_message_size: int) -> None:
        self._max_message_size = max_message_size
        self._streams: dict[int, _Stream] = {}
        self._growing_left: dict[int, _Run] = {}
        self._growing_right: dict[int, _Run] = {}
        """Runs without beginning or end, by the TSN that they wait for there."""
        self._waiting = 0
        self.longest = 0
        """Bytes of the longest message, whole or in parts, so far."""

    @property
    def pieces(self) -> int:
        """An upper bound for the runs and messages held."""
        return len(self._growing_left) + len(self._growing_right) + self._waiting

    def add(self, data: Data, tsn: int, *, settled: int) -> Release:
        """Take a fragment whose TSN is new.

        Args:
            data: The chunk.
            tsn: Its extended TSN.
            settled: All TSNs up to here have arrived or were given up.
        """
        flags = data.flags
        release = Release()
        if flags & _WHOLE == _WHOLE and not self._growing_left and not self._growing_right:
            self.longest = max(self.longest, len(data.data))
            message = MessageReceived(stream_id=data.stream_id, protocol_id=data.protocol_id, data=data.data)
            self._complete(message, None if flags & _UNORDERED else data.sequence_number, release)
            return release
        run = _Run(
            tsn,
            tsn,
            data.stream_id,
            data.sequence_number,
            data.protocol_id,
            bool(flags & _UNORDERED),
            bool(flags & _BEGIN),
            bool(flags & _END),
            bytearray(data.data),
        )
        left = self._growing_right.pop(tsn, None)
        right = self._growing_left.pop(tsn, None)
        if right is not None:
            if run.has_end or not run.continues(right):
                self._discard(right, release)
            else:
                run = self._join(run, right)
        if left is not None:
            if run.has_begin or not left.continues(run):
                self._discard(left, release)
            else:
                run = self._join(left, run)
        if not run.has_begin and run.first - 1 <= settled:
            # Nothing can come before it any more: its beginning was given up, or never was.
            self._discard(run, release)
        else:
            self._place(run, release)
        return release

    def forward(self, tsn: int, streams: Iterable[tuple[int, int]]) -> Release:
        """Stop waiting for TSNs up to ``tsn``, and in streams for messages up to a sequence number."""
        release = Release()
        for growing in (self._growing_right, self._growing_left):
            # Runs that wait at both ends leave both lists at once.
            for expected in [expected for expected in growing if expected <= tsn]:
                self._discard(growing[expected], release)
        # One entry counts for each stream, or a long list could make us search the same messages often.
        for stream_id, sequence_number in dict(streams).items():
            stream = self._stream(stream_id)
            ahead = sequence_number + 1 - stream.next_sequence & 0xFFFF
            if not 0 < ahead < _HALF:
                continue
            first = stream.next_sequence
            # What is there of the skipped messages is whole, and in order even so (RFC 3758 §3.6).
            skipped = sorted(
                (number for number in stream.waiting if number - first & 0xFFFF < ahead),
                key=lambda number: number - first & 0xFFFF,
            )
            release.messages.extend(stream.waiting.pop(number) for number in skipped)
            self._waiting -= len(skipped)
            stream.next_sequence = sequence_number + 1 & 0xFFFF
            self._hand_out(stream, release)
        return release

    def reset(self, stream_ids: Iterable[int]) -> int:
        """Begin streams anew; return the bytes thrown away, which only a peer that cheats leaves."""
        discarded = 0
        for stream_id in stream_ids:
            stream = self._streams.pop(stream_id, None)
            if stream is not None:
                self._waiting -= len(stream.waiting)
                discarded += sum(len(message.data) for message in stream.waiting.values())
        return discarded

    def _stream(self, stream_id: int) -> _Stream:
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = _Stream()
        return stream

    def _join(self, left: _Run, right: _Run) -> _Run:
        left.data += right.data
        left.last = right.last
        left.has_end = right.has_end
        return left

    def _place(self, run: _Run, release: Release) -> None:
        self.longest = max(self.longest, len(run.data))
        if run.has_begin and run.has_end:
            message = MessageReceived(
                stream_id=run.stream_id, protocol_id=run.protocol_id, data=bytes(run.data)
            )
            self._complete(message, None if run.is_unordered else run.sequence_number, release)
        # What grew at one end is still listed at the other, perhaps as the run that it has absorbed.
        if not run.has_begin:
            self._growing_left[run.first - 1] = run
        if not run.has_end:
            self._growing_right[run.last + 1] = run

    def _discard(self, run: _Run, release: Release) -> None:
        if not run.has_begin:
            self._growing_left.pop(run.first - 1, None)
        if not run.has_end:
            self._growing_right.pop(run.last + 1, None)
        release.discarded += len(run.data)

    def _complete(self, message: MessageReceived, sequence_number: int | None, release: Release) -> None:
        if len(message.data) > self._max_message_size:
            release.discarded += len(message.data)  # `longest` tells.
            return
        if sequence_number is None:
            release.messages.append(message)
            return
        stream = self._stream(message.stream_id)
        ahead = sequence_number - stream.next_sequence & 0xFFFF
        if ahead >= _HALF or sequence_number in stream.waiting:
            release.discarded += len(message.data)
        elif ahead:
            stream.waiting[sequence_number] = message
            self._waiting += 1
        else:
            stream.next_sequence = sequence_number + 1 & 0xFFFF
            release.messages.append(message)
            if stream.waiting:
                self._hand_out(stream, release)

    def _hand_out(self, stream: _Stream, release: Release) -> None:
        while (message := stream.waiting.pop(stream.next_sequence, None)) is not None:
            self._waiting -= 1
            stream.next_sequence = stream.next_sequence + 1 & 0xFFFF
            release.messages.append(message)
