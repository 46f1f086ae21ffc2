"""The hop's socket as the transceiver has it: a `DatagramPort` that sends and receives runs of segments."""

import socket
import struct
from collections.abc import Iterable
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
        self._buffer = bytearray(datagram_limit + 1)
        self._room = socket.CMSG_SPACE(_RECEIVED_SIZE.size)

    def receive_batch(self) -> list[tuple[bytes, Address]]:
        """Take what has arrived, at most `BATCH_LIMIT` runs of segments, each datagram with its source."""
        if not self._receives_segments:
            return super().receive_batch()
        batch: list[tuple[bytes, Address]] = []
        view = memoryview(self._buffer)
        try:
            for _ in range(BATCH_LIMIT):
                length, control, _flags, source = self._socket.recvmsg_into([view], self._room)
                size = _segment_length(control) or length or 1
                batch += [
                    (bytes(view[at : min(at + size, length)]), source[:2])
                    for at in range(0, length or 1, size)
                ]
        except BlockingIOError:
            pass
        except OSError as error:
            self._count("receive", error)
        return batch

    def send_batch(self, batch: Iterable[tuple[bytes, Address]]) -> None:
        """Send datagrams, each to its address; those that the kernel refuses are lost and counted."""
        if not self._sends_segments:
            super().send_batch(batch)
            return
        by_address: dict[Address, list[bytes]] = {}
        for data, destination in batch:
            by_address.setdefault(destination, []).append(data)
        for destination, datagrams in by_address.items():
            # One long datagram among short ones would have them all padded; it goes alone.
            bound = 2 * sum(map(len, datagrams)) // len(datagrams)
            short = [data for data in datagrams if len(data) <= bound]
            self._send_run(short, destination)
            if len(short) < len(datagrams):
                super().send_batch((data, destination) for data in datagrams if len(data) > bound)

    def _send_run(self, datagrams: list[bytes], destination: Address) -> None:
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
