"""The hop's socket as the transceiver has it: a `DatagramPort` that sends and receives runs of segments."""

import socket
import struct
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from voicegate.datagram.batch import MAX_SEGMENTED_BYTES, MAX_SEGMENTS
from voicegate.datagram.kernel import NO_SEGMENTS, SOL_UDP, UDP_GRO, UDP_SEGMENT, supports_gro, supports_gso
from voicegate.datagram.port import BATCH_LIMIT, DatagramPort
from voicegate.wire.path import Address

__all__ = ["SegmentPort"]

_SIZE: Final = struct.Struct("=H")
_RECEIVED_SIZE: Final = struct.Struct("=i")


class SegmentPort(DatagramPort):
    """A `DatagramPort` whose datagrams to one address leave padded to one length, in one system call.

    Only for protocols whose datagrams say their own length: zeros may stand behind what was sent. Where the
    system has no UDP_SEGMENT or UDP_GRO, it does what any `DatagramPort` does.
    """

    def __init__(self, address: Address, *, datagram_limit: int) -> None:
        super().__init__(address, datagram_limit=datagram_limit)
        self._sends_segments = supports_gso(self._socket)
        self._receives_segments = supports_gro(self._socket)
        self._view = memoryview(bytearray(datagram_limit + 1))
        self._buffers = [self._view]
        self._room = socket.CMSG_SPACE(_RECEIVED_SIZE.size)
        self._source: Address = ("", 0)

    def receive_batch(self) -> list[tuple[bytes, Address]]:
        """Take what has arrived, at most `BATCH_LIMIT` runs of segments, each datagram with its source."""
        if not self._receives_segments:
            return super().receive_batch()
        batch: list[tuple[bytes, Address]] = []
        for _ in range(BATCH_LIMIT):
            taken = self.receive_run()
            if taken is None:
                break
            run, size, source = taken
            batch += [(run[at : at + size], source) for at in range(0, len(run) or 1, size)]
        return batch

    def receive_run(self) -> tuple[bytes, int, Address] | None:
        """Take the next run of segments; see `DatagramPort.receive_run`."""
        if not self._receives_segments:
            return super().receive_run()
        try:
            length, control, _flags, source = self._socket.recvmsg_into(self._buffers, self._room)
        except BlockingIOError:
            return None
        except OSError as error:
            self._count("receive", error)
            return None
        if source[:2] != self._source:
            self._source = source[:2]  # One object for all runs in a row: it stays in the cache.
        return bytes(self._view[:length]), _segment_length(control) or length or 1, self._source

    def send_batch(self, batch: Iterable[tuple[bytes, Address]]) -> None:
        """Send datagrams, each to its address; those that the kernel refuses are lost and counted."""
        if not self._sends_segments:
            super().send_batch(batch)
            return
        by_address: dict[Address, list[bytes]] = {}
        for data, destination in batch:
            by_address.setdefault(destination, []).append(data)
        for destination, datagrams in by_address.items():
            self.send_run(datagrams, destination)

    def send_run(self, datagrams: Sequence[bytes], destination: Address) -> None:
        """Send datagrams to one address; see `DatagramPort.send_run`."""
        if not self._sends_segments:
            super().send_batch((data, destination) for data in datagrams)
            return
        sizes = list(map(len, datagrams))
        bound = 2 * sum(sizes) // (len(sizes) or 1)
        if max(sizes, default=0) <= bound:
            self._send_segments(datagrams, destination)
            return
        # One long datagram among short ones would have them all padded. It goes alone, but in its turn: what
        # a handshake has to say makes sense only in its order.
        for is_long, group in groupby(datagrams, key=lambda data: len(data) > bound):
            if is_long:
                super().send_batch((data, destination) for data in group)
            else:
                self._send_segments(list(group), destination)

    def _send_segments(self, datagrams: Sequence[bytes], destination: Address) -> None:
        size = max(map(len, datagrams), default=0)
        at_once = min(MAX_SEGMENTS, MAX_SEGMENTED_BYTES // max(size, 1))
        for start in range(0, len(datagrams), at_once):
            run = datagrams[start : start + at_once]
            if len(run) == 1 or not size:
                super().send_batch((data, destination) for data in run)
                continue
            control = [(SOL_UDP, UDP_SEGMENT, _SIZE.pack(size))]
            try:
                self._socket.sendmsg([data.ljust(size, b"\0") for data in run], control, 0, destination)
            except OSError as error:
                if error.errno in NO_SEGMENTS:
                    # A device without checksums, or a small MTU: it will not take segments later either.
                    self._sends_segments = False
                    super().send_batch((data, destination) for data in run)
                else:
                    self._count("send", error)


def _segment_length(control: list[tuple[int, int, bytes]]) -> int:
    for level, type_, value in control:
        if (level, type_) == (SOL_UDP, UDP_GRO) and len(value) >= _RECEIVED_SIZE.size:
            return int(_RECEIVED_SIZE.unpack_from(value)[0])
    return 0
