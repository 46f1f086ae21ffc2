"""`voicegate.datagram.batch` for systems without ``recvmmsg``: the same classes, a call per datagram."""

import ctypes
import errno
import socket
from collections import Counter
from typing import Final

import numpy as np
import numpy.typing as npt

from voicegate.datagram.kernel import SOCKADDR, address_of, decode_address, encode_address
from voicegate.wire.path import Address

__all__ = ["Receiver", "SegmentSender", "Sender"]


class Receiver:
    """Takes datagrams from one non-blocking socket into slots of its own; see `batch.Receiver`."""

    def __init__(
        self, sock: socket.socket, *, slots: int, limit: int, headroom: int = 0, has_segments: bool = False
    ) -> None:
        del has_segments  # there are none without the kernel's help
        self.errors: Counter[str] = Counter()
        self.stride: Final = -(-(headroom + limit + 1) // 64) * 64 + 64
        self.data: Final = np.zeros(slots * self.stride, np.uint8)
        self.starts: Final = np.arange(slots) * self.stride + headroom
        self.addresses: Final = self.starts.astype(np.uint64) + np.uint64(address_of(self.data))
        self.names: Final = np.zeros(slots, SOCKADDR)
        self.has_segments: Final = False
        self._socket = sock
        self._lengths = np.zeros(slots, np.uint32)
        memory = self.data.data
        self._slots = [memory[start : start + limit + 1] for start in self.starts.tolist()]

    def receive(self, at_most: int | None = None) -> int:
        """Take what has arrived, at most one datagram per slot; return how many."""
        slots = self._slots[:at_most]
        count = 0
        try:
            for count, slot in enumerate(slots):
                length, source = self._socket.recvfrom_into(slot)
                self._lengths[count] = length
                self.names[count] = encode_address(source[:2])[0]
        except BlockingIOError:
            return count
        except OSError as error:
            self.errors[errno.errorcode.get(error.errno or 0, "unknown")] += 1
            return count
        return len(slots)

    def lengths(self, count: int) -> npt.NDArray[np.uint32]:
        """Return how long each of the last batch is; a view."""
        return self._lengths[:count]

    def segment_lengths(self, count: int) -> npt.NDArray[np.int64]:
        """Return the same, since each slot holds one datagram."""
        return self._lengths[:count].astype(np.int64)

    def received_at(self) -> float | None:
        """Return None: nobody knows."""
        return None


class Sender:
    """Sends datagrams to many addresses from one non-blocking socket; see `batch.Sender`."""

    def __init__(self, sock: socket.socket, *, capacity: int) -> None:
        self.errors: Counter[str] = Counter()
        self.names: Final = np.zeros(capacity, SOCKADDR)
        self.names["family"] = sock.family
        self.addresses: Final = np.zeros(capacity, np.uint64)
        self.lengths: Final = np.zeros(capacity, np.uint64)
        self._socket = sock

    def send(self, count: int) -> int:
        """Send the first ``count``; return how many the kernel refused. They are lost, and counted."""
        return sum(
            not _send(self._socket, address, length, decode_address(name), self.errors)
            for address, length, name in zip(
                self.addresses[:count].tolist(),
                self.lengths[:count].tolist(),
                self.names[:count],
                strict=True,
            )
        )


class SegmentSender:
    """Sends datagrams to few addresses from one non-blocking socket; see `batch.SegmentSender`."""

    def __init__(self, sock: socket.socket, *, capacity: int, has_segments: bool = True) -> None:
        del capacity, has_segments
        self.errors: Counter[str] = Counter()
        self.has_segments = False
        self.segmented = 0
        self._socket = sock
        self._refused = 0

    def add(self, addresses: npt.NDArray[np.uint64], lengths: npt.NDArray[np.integer], *, name: int) -> None:
        """Send datagrams that go to one address; ``name`` is where its `SOCKADDR` lies."""
        to = decode_address(np.frombuffer(ctypes.string_at(name, SOCKADDR.itemsize), SOCKADDR)[0])
        for address, length in zip(addresses.tolist(), lengths.tolist(), strict=True):
            self._refused += not _send(self._socket, address, length, to, self.errors)

    def flush(self) -> int:
        """Return how many of those that were added the kernel refused. They are lost, and counted."""
        refused, self._refused = self._refused, 0
        return refused


def _send(sock: socket.socket, address: int, length: int, to: Address, errors: Counter[str]) -> bool:
    try:
        sock.sendto((ctypes.c_char * length).from_address(address), to)
    except OSError as error:
        errors[errno.errorcode.get(error.errno or 0, "unknown")] += 1
        return False
    return True
