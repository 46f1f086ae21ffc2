"""Batches of datagrams that stay where the kernel put them: received into slots, sent from there.

`Receiver` takes in, `Sender` sends to many addresses, `SegmentSender` to few. What crosses between them are
addresses in memory and lengths, so a datagram that is forwarded is never copied. Where a system lacks the
calls, `voicegate.datagram.plain` has the same classes on plain sockets.
"""

import errno
import socket
import struct
from collections import Counter
from typing import Final

import numpy as np
import numpy.typing as npt

from voicegate.datagram.kernel import (
    CONTROL,
    IOVEC,
    MESSAGE,
    NO_SEGMENTS,
    SOCKADDR,
    SOL_UDP,
    UDP_SEGMENT,
    address_of,
    receive_messages,
    send_messages,
    supports_gro,
    supports_gso,
)

__all__ = [
    "MAX_SEGMENTED_BYTES",
    "MAX_SEGMENTS",
    "Addresses",
    "Lengths",
    "Receiver",
    "SegmentSender",
    "Sender",
]

Addresses = npt.NDArray[np.uint64]
"""Where datagrams lie in memory."""
Lengths = npt.NDArray[np.integer]
"""Their lengths in bytes."""

MAX_SEGMENTS: Final = 64
"""Datagrams in one send: what every kernel with UDP_SEGMENT takes (UDPMAX_SEGMENTS)."""

MAX_SEGMENTED_BYTES: Final = 65_000
"""Bytes in one send, less than what one IP packet can say."""

_SO_TIMESTAMPNS: Final = 35
_ROOM_FOR_TIMESTAMP: Final = 64
_TIMESTAMP: Final = struct.Struct("=QiiQQ")
"""``cmsghdr`` and ``timespec``."""


_MESSAGE: Final = struct.Struct("=QI4xQQQQ")
"""The beginning of a `MESSAGE`: where it goes, what it is made of, and its control data."""


def _name_length(family: int) -> int:
    return 28 if family == socket.AF_INET6 else 16


class Receiver:
    """Takes datagrams from one non-blocking socket into slots of its own.

    Args:
        sock: The socket; stays its maker's to close.
        slots: Datagrams per call.
        limit: Longest datagram, in bytes, that is not to be cut. A longer one shows as one byte more.
        headroom: Bytes in front of each datagram, left alone, for a header.
        has_segments: Whether a slot may hold many datagrams of one size (UDP_GRO), if the system can.
    """

    def __init__(
        self, sock: socket.socket, *, slots: int, limit: int, headroom: int = 0, has_segments: bool = False
    ) -> None:
        self.errors: Counter[str] = Counter()
        """What the kernel refused, by errno name."""
        # Not a power of two, so that the beginnings of all slots don't compete for one set of the cache.
        self.stride: Final = -(-(headroom + limit + 1) // 64) * 64 + 64
        self.data: Final = np.zeros(slots * self.stride, np.uint8)
        """All slots, each ``stride`` bytes."""
        self.starts: Final = np.arange(slots) * self.stride + headroom
        """Where each slot's datagram begins in ``data``."""
        self.addresses: Final = self.starts.astype(np.uint64) + np.uint64(address_of(self.data))
        """Where it begins in memory."""
        self.names: Final = np.zeros(slots, SOCKADDR)
        """Where each datagram came from."""
        self.has_segments: Final = has_segments and supports_gro(sock)
        self._fd = sock.fileno()
        self._slots = slots
        self._iovec = np.zeros(slots, IOVEC)
        self._iovec["base"] = self.addresses
        self._iovec["length"] = limit + 1
        self._controls = np.zeros(slots, CONTROL)
        self._stamp = np.zeros(_ROOM_FOR_TIMESTAMP, np.uint8)
        self._messages = _make_messages(self.names, self._iovec, _name_length(sock.family))
        self._messages_address = address_of(self._messages)
        self._lengths = self._messages["length"]
        self._control_lengths = self._messages["control_length"]
        if self.has_segments:
            self._messages["control"] = _addresses_of(self._controls)
        else:
            # One datagram in a batch, the first and so the oldest, tells how long it lay in the kernel.
            self._messages["control"][0] = address_of(self._stamp)
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._room = self._control_room()
        self._control_lengths[:] = self._room

    def receive(self, at_most: int | None = None) -> int:
        """Take what has arrived, at most one datagram (or run of segments) per slot; return how many.

        Until the next call they are in the slots, their lengths in `lengths`.
        """
        at_most = self._slots if at_most is None else at_most
        if self.has_segments:
            self._control_lengths[:] = self._room
        else:
            self._control_lengths[0] = _ROOM_FOR_TIMESTAMP
        received = receive_messages(self._fd, self._messages_address, at_most)
        if received >= 0:
            return received
        if received != -errno.EAGAIN:
            self.errors[errno.errorcode.get(-received, "unknown")] += 1
        return 0

    def lengths(self, count: int) -> npt.NDArray[np.uint32]:
        """Return how long each of the last batch is; a view."""
        return self._lengths[:count]

    def segment_lengths(self, count: int) -> npt.NDArray[np.int64]:
        """Return how long the datagrams of each slot's run are; the last of a run may be shorter."""
        if not self.has_segments:
            return self._lengths[:count].astype(np.int64)
        sizes = self._controls["value"][:count].astype(np.int64)
        alone = self._control_lengths[:count] == 0
        return np.where(alone, self._lengths[:count], sizes)

    def received_at(self) -> float | None:
        """Return when the first of the last batch reached this machine, in seconds of the system's clock."""
        if self.has_segments or self._control_lengths[0] < _TIMESTAMP.size:
            return None
        _length, level, type_, seconds, nanoseconds = _TIMESTAMP.unpack_from(self._stamp.data)
        if (level, type_) != (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            return None
        return float(seconds + nanoseconds / 1e9)

    def _control_room(self) -> npt.NDArray[np.uint64]:
        room = np.zeros(self._slots, np.uint64)
        if self.has_segments:
            room[:] = CONTROL.itemsize
        else:
            room[0] = _ROOM_FOR_TIMESTAMP
        return room


class Sender:
    """Sends datagrams to many addresses from one non-blocking socket.

    Fill the first of ``addresses`` (in memory), ``lengths`` and ``names``, then `send`.
    """

    def __init__(self, sock: socket.socket, *, capacity: int) -> None:
        self.errors: Counter[str] = Counter()
        """What the kernel refused, by errno name."""
        self._fd = sock.fileno()
        self._iovec = np.zeros(capacity, IOVEC)
        self.names: Final = np.zeros(capacity, SOCKADDR)
        self.names["family"] = sock.family
        self.addresses: Final = self._iovec["base"]
        self.lengths: Final = self._iovec["length"]
        self._messages = _make_messages(self.names, self._iovec, _name_length(sock.family))
        self._messages_address = address_of(self._messages)

    def send(self, count: int) -> int:
        """Send the first ``count``; return how many the kernel refused. They are lost, and counted."""
        refused = 0
        at = 0
        while at < count:
            sent = send_messages(self._fd, self._messages_address + at * MESSAGE.itemsize, count - at)
            if sent > 0:
                at += sent
                continue
            lost = count - at if -sent in _FULL else 1
            self.errors[errno.errorcode.get(-sent, "unknown")] += lost
            refused += lost
            at += lost
        return refused


_FULL: Final = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM})
"""Errors that say nothing of the datagram: the next will not do better."""


class SegmentSender:
    """Sends datagrams to few addresses: those to one leave as segments of one send, padded to one length.

    `add` them, all of one address at a time, then `flush`. Padding is zeros, and stands behind what the
    datagram's own header says is its length.

    Args:
        sock: The socket; stays its maker's to close.
        capacity: Datagrams between two flushes.
        has_segments: Whether to use UDP_SEGMENT, if the system can.
    """

    def __init__(self, sock: socket.socket, *, capacity: int, has_segments: bool = True) -> None:
        self.errors: Counter[str] = Counter()
        """What the kernel refused, by errno name."""
        self.has_segments = has_segments and supports_gso(sock)
        self.segmented = 0
        """Sends of more than one datagram."""
        self._fd = sock.fileno()
        self._name_length = _name_length(sock.family)
        # Each datagram with its padding: two pieces.
        self._iovec = np.zeros(2 * capacity, IOVEC)
        self._iovec_address = address_of(self._iovec)
        # Columns are looked up once: by name it costs as much as what is done with them.
        self._bases, self._sizes = self._iovec["base"], self._iovec["length"]
        self._padding = np.zeros(MAX_SEGMENTED_BYTES, np.uint8)
        self._padding_address = np.uint64(address_of(self._padding))
        self._controls = np.zeros(capacity, CONTROL)
        self._controls["length"] = 18  # CMSG_LEN(2): UDP_SEGMENT is 16 bits
        self._controls["level"] = SOL_UDP
        self._controls["type"] = UDP_SEGMENT
        self._segment_sizes = self._controls["value"]
        self._controls_address = address_of(self._controls)
        self._messages = np.zeros(capacity, MESSAGE)
        self._messages["name_length"] = self._name_length
        self._messages_address = address_of(self._messages)
        self._message_bytes = self._messages.view(np.uint8).data
        self._count = 0
        self._pieces = 0
        self._counted: list[int] = []

    def add(self, addresses: Addresses, lengths: Lengths, *, name: int) -> None:
        """Add datagrams that go to one address; ``name`` is where its `SOCKADDR` lies."""
        count = len(lengths)
        if count == 1 or not self.has_segments:
            self._add_single(addresses, lengths, name)
            return
        longest = int(np.maximum.reduce(lengths))
        if longest == np.minimum.reduce(lengths):
            self._add_segments(addresses, lengths, longest, name)
            return
        # One long datagram among short ones would have them all padded; it goes alone.
        bound = 2 * int(np.add.reduce(lengths)) // count
        if longest <= bound:
            self._add_segments(addresses, lengths, longest, name)
            return
        is_short = lengths <= bound
        short = lengths[is_short]
        self._add_segments(addresses[is_short], short, int(np.maximum.reduce(short)), name)
        self._add_single(addresses[~is_short], lengths[~is_short], name)

    def flush(self) -> int:
        """Send all that was added; return how many the kernel refused. They are lost, and counted."""
        refused = 0
        at = 0
        while at < self._count:
            sent = send_messages(self._fd, self._messages_address + at * MESSAGE.itemsize, self._count - at)
            if sent > 0:
                at += sent
                continue
            if -sent in _FULL:
                lost = sum(self._counted[at:])
                at = self._count
            elif -sent in NO_SEGMENTS and self._counted[at] > 1:
                lost = self._send_apart(at)
                at += 1
            else:
                lost = self._counted[at]
                at += 1
            if lost:
                self.errors[errno.errorcode.get(-sent, "unknown")] += lost
                refused += lost
        self._count = self._pieces = 0
        self._counted.clear()
        return refused

    def _add_single(self, addresses: Addresses, lengths: Lengths, name: int) -> None:
        count = len(lengths)
        pieces = slice(self._pieces, self._pieces + count)
        self._bases[pieces] = addresses
        self._sizes[pieces] = lengths
        messages = self._messages[self._count : self._count + count]
        messages["name"] = name
        messages["iov"] = self._iovec_address + IOVEC.itemsize * np.arange(
            self._pieces, self._pieces + count, dtype=np.uint64
        )
        messages["iov_count"] = 1
        messages["control"] = 0
        messages["control_length"] = 0
        self._pieces += count
        self._count += count
        self._counted.extend([1] * count)

    def _add_segments(self, addresses: Addresses, lengths: Lengths, longest: int, name: int) -> None:
        longest = max(longest, 1)
        count, first = len(lengths), self._pieces
        pad = longest - lengths
        width = 2 if np.logical_or.reduce(pad) else 1
        end = first + width * count
        self._bases[first:end:width] = addresses
        self._sizes[first:end:width] = lengths
        if width == 2:
            self._bases[first + 1 : end : 2] = self._padding_address
            self._sizes[first + 1 : end : 2] = pad
        at_once = min(MAX_SEGMENTS, MAX_SEGMENTED_BYTES // longest)
        for start in range(0, count, at_once):
            segments = min(at_once, count - start)
            iov = self._iovec_address + IOVEC.itemsize * (first + width * start)
            control = control_length = 0
            if segments > 1:
                self._segment_sizes[self._count] = longest
                control = self._controls_address + CONTROL.itemsize * self._count
                control_length = CONTROL.itemsize
                self.segmented += 1
            _MESSAGE.pack_into(
                self._message_bytes,
                MESSAGE.itemsize * self._count,
                *(name, self._name_length, iov, width * segments, control, control_length),
            )
            self._count += 1
            self._counted.append(segments)
        self._pieces = end

    def _send_apart(self, at: int) -> int:
        """Send the segments of one message as datagrams of their own; return how many were refused."""
        message = self._messages[at : at + 1].copy()
        segments = self._counted[at]
        width = int(message["iov_count"][0]) // segments
        first = int(message["iov"][0])
        singles = np.repeat(message, segments)
        singles["iov"] = first + width * IOVEC.itemsize * np.arange(segments, dtype=np.uint64)
        singles["iov_count"] = width
        singles["control"] = singles["control_length"] = 0
        refused = at = 0
        while at < segments:
            sent = send_messages(self._fd, address_of(singles) + at * MESSAGE.itemsize, segments - at)
            at += max(sent, 1)
            refused += sent <= 0
        if refused < segments:
            # What single datagrams did not meet is this way's fault: a device, or an MTU, that will stay.
            self.has_segments = False
        return refused


def _make_messages(
    names: npt.NDArray[np.void], iovec: npt.NDArray[np.void], name_length: int
) -> npt.NDArray[np.void]:
    """Make one message for each name and piece of memory."""
    messages = np.zeros(len(names), MESSAGE)
    messages["name"] = _addresses_of(names)
    messages["name_length"] = name_length
    messages["iov"] = _addresses_of(iovec)
    messages["iov_count"] = 1
    return messages


def _addresses_of(array: npt.NDArray[np.void]) -> Addresses:
    """Return where each element lies in memory."""
    return np.arange(len(array), dtype=np.uint64) * np.uint64(array.itemsize) + np.uint64(address_of(array))
