"""Messages that wait for their turn, and whose turn it is."""

from collections import deque
from heapq import heappop, heappush

import attrs

__all__ = ["OutboundMessage", "SendQueue"]


@attrs.define(kw_only=True, eq=False)
class OutboundMessage:
    """A message to be sent, and how far it has got."""

    stream_id: int
    protocol_id: int
    data: bytes = attrs.field(repr=False)
    is_ordered: bool = True
    max_retransmits: int | None = None
    deadline: float | None = None
    priority: int = 256
    sequence_number: int = 0
    offset: int = 0
    """Bytes that were put into fragments."""
    is_abandoned: bool = False
    first_tsn: int = 0
    """Extended; of the first fragment."""

    @property
    def remaining(self) -> int:
        """Bytes that are in no fragment yet."""
        return len(self.data) - self.offset

    def is_expired(self, now: float) -> bool:
        """Tell whether its lifetime is over."""
        return self.deadline is not None and now >= self.deadline


@attrs.define(eq=False)
class _Stream:
    messages: deque[OutboundMessage] = attrs.field(factory=deque)
    finish: float = 0.0
    next_sequence: int = 0


class SendQueue:
    """Gives the streams their turns, message by message.

    Fragments of a message must follow one another (RFC 9260 §6.9), so a message once begun is finished. Then
    comes the stream whose next message would end first if all sent at once, each with a speed in proportion
    to its priority: weighted fair queueing, which with equal priorities shares the bytes out evenly.
    """

    def __init__(self) -> None:
        self._streams: dict[int, _Stream] = {}
        self._turns: list[tuple[float, int, int]] = []
        self._order = 0
        self._virtual = 0.0
        self._current: OutboundMessage | None = None
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return self._current is None and not self._turns

    def push(self, message: OutboundMessage) -> None:
        """Queue a message."""
        self._length += 1
        stream = self._streams.get(message.stream_id)
        if stream is None:
            stream = self._streams[message.stream_id] = _Stream()
        stream.messages.append(message)
        if len(stream.messages) == 1:
            self._wait(stream)

    def peek(self) -> OutboundMessage | None:
        """Return the message whose turn it is; the same one until it is popped."""
        if self._current is None and self._turns:
            self._virtual, _order, stream_id = heappop(self._turns)
            stream = self._streams[stream_id]
            self._current = stream.messages.popleft()
            if stream.messages:
                self._wait(stream)
        return self._current

    def pop(self) -> None:
        """Be done with the message whose turn it is: wholly in fragments, or given up."""
        self._current = None
        self._length -= 1

    def take_sequence(self, stream_id: int) -> int:
        """Return the next message's sequence number in its stream."""
        stream = self._streams[stream_id]
        number = stream.next_sequence
        stream.next_sequence = number + 1 & 0xFFFF
        return number

    def is_waiting(self, stream_id: int) -> bool:
        """Tell whether a stream has something that is not yet wholly in fragments."""
        if self._current is not None and self._current.stream_id == stream_id:
            return True
        stream = self._streams.get(stream_id)
        return stream is not None and bool(stream.messages)

    def reset(self, stream_id: int) -> None:
        """Begin a stream anew, with the first sequence number."""
        if stream_id in self._streams:
            self._streams[stream_id].next_sequence = 0

    def _wait(self, stream: _Stream) -> None:
        message = stream.messages[0]
        stream.finish = max(self._virtual, stream.finish) + len(message.data) / message.priority
        self._order += 1
        heappush(self._turns, (stream.finish, self._order, message.stream_id))
