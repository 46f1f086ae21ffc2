"""The packet path of a relay worker: whole batches from the public sockets to the hop, and back.

1. A batch is received into slots that have room for a hop header in front of each packet.
2. Media, which is nearly all there is, takes the flow table as a whole: one lookup for the batch, the headers
   written as columns, one send per transceiver from the slots where the packets lie.
3. Everything else (connectivity checks, noise, what belongs to no flow) goes to the `Router`, one by one; so
   do batches of few, for which whole columns are not worth it, and the packets of clients on TCP.
4. What transceivers send carries the client's address, which is all that the way back needs.

Under load this task does not wait for its sockets through Trio: it rests for a moment and takes what has come
meanwhile, since a wake-up costs more than a packet.
"""

import socket
import struct
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import trio

from voicegate.datagram import Receiver, SegmentSender, Sender, address_of, decode_address, encode_address
from voicegate.errors import UsageError
from voicegate.relay.counter import Count, Counters, DropReason
from voicegate.relay.flows import Client
from voicegate.relay.router import MAX_CLIENT_DATAGRAM, Router, ToClient
from voicegate.wire import PacketKind, classify
from voicegate.wire.hop import HEADER_LENGTH, HopType, encode
from voicegate.wire.path import MAPPED_PREFIX, Address, address_text

__all__ = ["Datapath", "Streams"]

_SLOTS: Final = 256
"""Packets taken from clients at once: enough to spread the cost of some thirty array operations."""

_RUNS: Final = 16
"""Runs of segments taken from transceivers at once; a run has 64 at most."""

_SEGMENTS: Final = 64 * _SLOTS // 2

_FEW: Final = 4
"""Packets in a batch below which one by one is cheaper."""

_ROUNDS: Final = 8
"""Batches from each socket before other tasks get their turn."""

_REST: Final = 0.00045
"""Seconds of rest after a small batch under load: with the kernel's slack, half a millisecond."""

_SMALL: Final = 64
"""Packets in a round below which a rest pays."""

_LOAD: Final = 2500.0
"""Packets per second from which on a rest brings at least one more."""

_LOAD_WINDOW: Final = 0.02
"""Seconds over which the load is measured."""

_ADDRESSES_KEPT: Final = 4096
"""Addresses of transceivers that are kept in the kernel's form; more than are listed at once."""

_SAMPLING: Final = 16
"""One batch in so many tells how long its first packet lay in the kernel."""

_HEADER: Final = np.dtype(
    [
        ("magic_and_type", "<u2"),
        ("length", ">u2"),
        ("flags", "u1"),
        ("reserved", "u1"),
        ("port", ">u2"),
        ("high", "=u8"),
        ("low", "=u8"),
    ]
)
"""`voicegate.wire.hop` as columns."""

_DATA: Final = int.from_bytes(encode(HopType.DATA, host=bytes(16), port=0)[:2], "little")
_HEADER_COLUMNS: Final = np.arange(HEADER_LENGTH)
_IS_MEDIA: Final = np.array(
    [
        classify(bytes([first, 0])) in {PacketKind.DTLS, PacketKind.RTP, PacketKind.RTCP}
        for first in range(256)
    ]
)
"""By first byte: what follows its flow. RTCP differs from RTP in the second byte only."""
_MEDIA: Final = bytes(np.flatnonzero(_IS_MEDIA).tolist())
"""Those first bytes. To delete them from all of a batch is the quickest way to see if there are others."""

# As methods they go through Python code of numpy's, which takes as long again.
_least: Final = np.minimum.reduce
_most: Final = np.maximum.reduce

_MAPPED: Final = np.uint64(0xFFFF0000)
"""Bytes 8 to 12 of an IPv4 address as IPv6 has it (RFC 4291 §2.5.5.2), as a little-endian number."""
_LOW_HALF: Final = np.uint64(0xFFFFFFFF)
_32: Final = np.uint64(32)

_SO_MEMINFO: Final = 55
_MEMORY: Final = struct.Struct("=9I")
"""Linux's ``sk_meminfo``; its last number is what SO_RXQ_OVFL would tell, without a word in each packet."""

_host_text: Final = lru_cache(maxsize=16_384)(address_text)


class Streams(Protocol):
    """The clients on TCP and TLS."""

    def send(self, client: Client, data: bytes) -> bool:
        """Send a packet to one of them, without waiting; False when it is not there."""


class Datapath:
    """Moves packets between the sockets of a worker; they stay their maker's to close.

    Args:
        router: Judges what is not plain media, and owns the flow table.
        public: Non-blocking UDP sockets that clients send to, one per family.
        hop: The one that transceivers send to.
        counters: What is counted; the router's, too.
        hop_offload: Whether to use UDP_SEGMENT and UDP_GRO on the hop, where the system has them.
        streams: Where clients on TCP and TLS are; may be set later.

    Errors: UsageError when there are two public sockets of one family.
    """

    def __init__(
        self,
        router: Router,
        *,
        public: Sequence[socket.socket],
        hop: socket.socket,
        counters: Counters,
        hop_offload: bool = True,
        streams: Streams | None = None,
    ) -> None:
        self.streams = streams
        self._router = router
        self._counters = counters
        self._hop = hop
        self._hop_in = Receiver(hop, slots=_SLOTS // 2, limit=0xFFFF, has_segments=hop_offload)
        self._has_runs = False
        self._hop_out = SegmentSender(hop, capacity=_SLOTS, has_segments=hop_offload)
        self._first_payload = address_of(self._hop_in.data) + HEADER_LENGTH
        self._sides: dict[socket.AddressFamily, _Side] = {}
        for sock in public:
            side = _Side(sock)
            if side.family in self._sides:
                raise UsageError("a relay has one public socket per family at most")
            self._sides[side.family] = side
        self._names: dict[Address, tuple[int, npt.NDArray[np.void]]] = {}
        self._sources: dict[bytes, Address] = {}
        # Predecessors had the same sockets, and have counted theirs.
        self._dropped = {sock: _count_dropped(sock) for sock in (hop, *public)}
        self._is_loaded = False
        self._measured_from = 0.0
        self._measured = 0

    async def run(self) -> None:
        """Move packets for ever."""
        async with trio.open_nursery() as nursery:
            for sock in (self._hop, *(side.socket for side in self._sides.values())):
                nursery.start_soon(self._watch, sock)

    def handle_frames(self, frames: Sequence[bytes], client: Client, now: float) -> None:
        """Take packets of a client on TCP or TLS."""
        host, port, is_stream = client
        for frame in frames:
            out = self._router.handle_client_datagram(frame, host, port, is_stream=is_stream, now=now)
            if out is not None:
                self._send_on_hop(out.data, out.address)

    def tend(self) -> None:
        """Count what the kernel dropped before we took it, and keep caches small; call it once a second."""
        for sock, counted in self._dropped.items():
            dropped = _count_dropped(sock)
            self._counters.add(DropReason.KERNEL_QUEUE, (dropped - counted) & 0xFFFFFFFF)
            self._dropped[sock] = dropped
        if max(len(self._names), len(self._sources)) > _ADDRESSES_KEPT:
            self._names.clear()
            self._sources.clear()

    # Turns

    async def _watch(self, sock: socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(sock)
            # All sockets have their turn, whichever woke us: what is small alone makes a batch together.
            self.take_turn(clock=trio.current_time)

    def take_turn(self, *, clock: Callable[[], float]) -> None:
        """Move what has come, and while there is much of it, what comes meanwhile; bounded."""
        for _ in range(_ROUNDS):
            now = clock()
            moved = self._pump_hop(now)
            for side in self._sides.values():
                moved += self._pump(side, now)
            self._measure(moved, now)
            if not moved:
                return
            if moved < _SMALL:
                if not self._is_loaded:
                    return
                time.sleep(_REST)

    def _measure(self, moved: int, now: float) -> None:
        self._measured += moved
        if (elapsed := now - self._measured_from) >= _LOAD_WINDOW:
            self._is_loaded = self._measured >= _LOAD * elapsed
            self._measured, self._measured_from = 0, now

    # From clients

    def _pump(self, side: "_Side", now: float) -> int:
        count = side.receiver.receive()
        if not count:
            return 0
        self._counters.add(Count.BATCHES_PUBLIC)
        self._counters.observe_batch(count)
        side.batches += 1
        if side.batches % _SAMPLING == 0 and (received_at := side.receiver.received_at()) is not None:
            self._counters.observe_queueing(time.clock_gettime(time.CLOCK_REALTIME) - received_at)
        if count < _FEW:
            self._judge(side, range(count), now)
        else:
            self._forward(side, count, now)
        return count

    def _judge(self, side: "_Side", rows: Sequence[int], now: float) -> None:
        """Let the router decide on packets one by one."""
        for row in rows:
            host, port, _ = side.client(row)
            out = self._router.handle_client_datagram(side.packet(row), host, port, now=now)
            if out is not None:
                self._send_on_hop(out.data, out.address)

    def _forward(self, side: "_Side", count: int, now: float) -> None:
        """Forward a batch: its media as a whole."""
        lengths = side.receiver.lengths(count)
        rows: slice | npt.NDArray[np.intp] = slice(count)
        is_all_media = not side.first[:count].tobytes().translate(None, _MEDIA)
        if not is_all_media or _least(lengths) < 2 or _most(lengths) > MAX_CLIENT_DATAGRAM:
            is_media = _IS_MEDIA[side.first[:count]] & (lengths >= 2) & (lengths <= MAX_CLIENT_DATAGRAM)
            self._judge(side, np.flatnonzero(~is_media).tolist(), now)
            rows = np.flatnonzero(is_media)
            if not len(rows):
                return
            lengths = lengths[rows]
        high, low, tail = side.keys(rows)
        numbers = self._router.flows.route(high, low, tail, now=now)
        if _least(numbers) < 0:
            has_flow = numbers >= 0
            everyone = np.arange(count)[rows]
            for row in everyone[~has_flow].tolist():
                self._router.note_no_flow(side.client(row), now=now)
            rows, numbers, low, lengths = (
                everyone[has_flow],
                numbers[has_flow],
                low[has_flow],
                lengths[has_flow],
            )
            if not len(rows):
                return
            high = high if isinstance(high, int) else high[has_flow]
        side.write_headers(rows, lengths, high, low)
        self._counters.add(Count.PACKETS_TO_TRANSCEIVERS, len(lengths))
        self._counters.add(Count.BYTES_TO_TRANSCEIVERS, int(np.add.reduce(lengths)))
        self._send_batch(side.header_addresses[rows], lengths + HEADER_LENGTH, numbers)

    def _send_batch(
        self,
        addresses: npt.NDArray[np.uint64],
        lengths: npt.NDArray[np.integer],
        numbers: npt.NDArray[np.intp],
    ) -> None:
        """Send hop datagrams, each to the transceiver of its flow."""
        out = self._hop_out
        first = int(numbers[0])
        if first == _least(numbers) == _most(numbers):
            out.add(addresses, lengths, name=self._name(first))
        else:
            order = np.argsort(numbers, kind="stable")
            numbers = numbers[order]
            cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
            for start, end in pairwise(cuts):
                rows = order[start:end]
                out.add(addresses[rows], lengths[rows], name=self._name(int(numbers[start])))
        before = out.segmented
        if refused := out.flush():
            self._counters.add(DropReason.SEND_REFUSED, refused)
        self._counters.add(Count.GSO_SENDS, out.segmented - before)

    def _name(self, number: int) -> int:
        """Return where the socket address of a transceiver lies, by its number in the flow table."""
        address = self._router.destination(number)
        entry = self._names.get(address)
        if entry is None:
            name = encode_address(address)
            entry = self._names[address] = (address_of(name), name)
        return entry[0]

    def _send_on_hop(self, data: bytes, address: Address) -> None:
        try:
            self._hop.sendto(data, address)
        except OSError:
            self._counters.add(DropReason.SEND_REFUSED)

    # From transceivers

    def _pump_hop(self, now: float) -> int:
        receiver = self._hop_in
        # After a batch of runs the next is one, too; else each slot has brought one datagram.
        messages = receiver.receive(_RUNS if self._has_runs else None)
        if not messages:
            return 0
        self._counters.add(Count.BATCHES_HOP)
        lengths = receiver.lengths(messages).astype(np.int64)
        sizes = np.maximum(receiver.segment_lengths(messages), 1)
        starts = receiver.starts[:messages]
        sources = self._sources_of(messages)
        known = np.array([source is not None for source in sources])
        if not known.all():
            self._counters.add(DropReason.FOREIGN_HOP_SOURCE, int(messages - known.sum()))
            lengths, sizes, starts = lengths[known], sizes[known], starts[known]
            sources = [source for source in sources if source is not None]
        owner = np.arange(len(sources))
        self._has_runs = bool((lengths > sizes).any())
        if self._has_runs:
            runs = -(-lengths // sizes)
            self._counters.add(Count.GRO_RECEIVES, int((runs > 1).sum()))
            owner = np.repeat(owner, runs)
            nth = np.arange(len(owner)) - np.repeat(np.cumsum(runs) - runs, runs)
            before = nth * sizes[owner]
            starts = starts[owner] + before
            lengths = np.minimum(sizes[owner], lengths[owner] - before)
        for row in range(len(starts)) if len(starts) < _FEW else self._return(starts, lengths):
            start = int(starts[row])
            data = receiver.data[start : start + int(lengths[row])].tobytes()
            self._judge_hop(data, sources[owner[row]], now)
        return max(len(starts), 1)

    def _sources_of(self, messages: int) -> list[Address | None]:
        """Return which listed transceiver each message is from; None for one that is not listed."""
        raw = self._hop_in.names[:messages].tobytes()
        size = len(raw) // messages
        if raw == raw[:size] * messages:
            return [self._source(raw[:size], 0)] * messages
        return [self._source(raw[at : at + size], at // size) for at in range(0, len(raw), size)]

    def _source(self, name: bytes, row: int) -> Address | None:
        address = self._sources.get(name)
        if address is None:
            address = decode_address(self._hop_in.names[row])
            if not self._router.is_transceiver(address):
                return None
            self._sources[name] = address
        # Listed when it was first seen, but perhaps no longer.
        return address if self._router.is_transceiver(address) else None

    def _return(self, starts: npt.NDArray[np.intp], lengths: npt.NDArray[np.int64]) -> Sequence[int]:
        """Send the media of a batch of hop datagrams to its clients; return which are for the router."""
        data = self._hop_in.data
        headers = data[starts[:, np.newaxis] + _HEADER_COLUMNS].view(_HEADER)[:, 0]
        payload_lengths = headers["length"].astype(np.int64)
        is_media = (
            (headers["magic_and_type"] == _DATA)
            & (headers["flags"] == 0)
            & (payload_lengths <= lengths - HEADER_LENGTH)
            & _IS_MEDIA[data[starts + HEADER_LENGTH]]
        )
        low = headers["low"]
        is_v4 = ((low & _LOW_HALF) == _MAPPED) & (headers["high"] == 0)
        for family, is_family in ((socket.AF_INET, is_v4), (socket.AF_INET6, ~is_v4)):
            chosen = is_media & is_family
            count = int(np.count_nonzero(chosen))
            if not count:
                continue
            side = self._sides.get(family)
            if side is None:
                self._counters.add(DropReason.NO_SOCKET, count)
                continue
            rows: slice | npt.NDArray[np.bool_] = slice(None) if count == len(starts) else chosen
            sender = side.sender
            sender.addresses[:count] = starts[rows] + self._first_payload
            sender.lengths[:count] = payload_lengths[rows]
            sender.names["port"][:count] = headers["port"][rows]
            if family == socket.AF_INET:
                sender.names["v4"][:count] = low[rows] >> _32
            else:
                sender.names["high"][:count] = headers["high"][rows]
                sender.names["low"][:count] = low[rows]
            refused = sender.send(count)
            if refused:
                self._counters.add(DropReason.SEND_REFUSED, refused)
            self._counters.add(Count.PACKETS_TO_CLIENTS, count)
            self._counters.add(Count.BYTES_TO_CLIENTS, int(payload_lengths[rows].sum()))
        return np.flatnonzero(~is_media).tolist()

    def _judge_hop(self, data: bytes, source: Address, now: float) -> None:
        """Let the router decide on one hop datagram."""
        out = self._router.handle_hop_datagram(data, source, now=now)
        if isinstance(out, ToClient):
            if out.is_stream:
                client = (out.host, out.port, True)
                is_sent = self.streams is not None and self.streams.send(client, out.data)
            else:
                is_sent = self._send_to_client(out)
            if not is_sent:
                self._counters.add(DropReason.NO_SOCKET)
        elif out is not None:
            self._send_on_hop(out.data, out.address)

    def _send_to_client(self, out: ToClient) -> bool:
        host = _host_text(out.host)
        side = self._sides.get(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if side is None:
            return False
        try:
            side.socket.sendto(out.data, (host, out.port))
        except OSError:
            self._counters.add(DropReason.SEND_REFUSED)
        return True


def _count_dropped(sock: socket.socket) -> int:
    """Return how many datagrams the kernel had no room for since the socket was made; 0 if it doesn't say."""
    try:
        return int(_MEMORY.unpack_from(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMORY.size))[8])
    except (OSError, struct.error):
        return 0


class _Side:
    """One public socket: what came in lies in its slots, each with a hop header in front."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket: Final = sock
        self.family: Final = socket.AddressFamily(sock.family)
        self.batches = 0
        self.receiver: Final = Receiver(sock, slots=_SLOTS, limit=MAX_CLIENT_DATAGRAM, headroom=HEADER_LENGTH)
        self.sender: Final = Sender(sock, capacity=_SEGMENTS)
        data, stride, slots = self.receiver.data, self.receiver.stride, (_SLOTS,)
        headers = np.ndarray(slots, _HEADER, data, offset=0, strides=(stride,))
        headers["magic_and_type"] = _DATA
        headers["low"] = _MAPPED
        # Columns are looked up once: by name it costs as much as what is done with them.
        self._header_columns = headers["length"], headers["port"], headers["high"], headers["low"]
        names = self.receiver.names
        self._ports, self._v4, self._high, self._low = (names[it] for it in ("port", "v4", "high", "low"))
        self.header_addresses: Final = self.receiver.addresses - np.uint64(HEADER_LENGTH)
        self.first: Final = np.ndarray(slots, np.uint8, data, offset=HEADER_LENGTH, strides=(stride,))
        """The first byte of each packet."""

    def packet(self, row: int) -> bytes:
        """Return what is in a slot."""
        start = int(self.receiver.starts[row])
        return self.receiver.data[start : start + int(self.receiver.lengths(row + 1)[row])].tobytes()

    def client(self, row: int) -> Client:
        """Return whose packet is in a slot."""
        raw = self.receiver.names[row].tobytes()
        host = MAPPED_PREFIX + raw[4:8] if self.family == socket.AF_INET else raw[8:24]
        return host, int.from_bytes(raw[2:4], "big"), False

    def keys(
        self, rows: slice | npt.NDArray[np.intp]
    ) -> tuple[npt.NDArray[np.uint64] | int, npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
        """Return the flow table's keys of packets: the two halves of the address, and the port."""
        tail = self._ports[rows].astype(np.uint32)
        if self.family == socket.AF_INET6:
            return self._high[rows], self._low[rows], tail
        return 0, self._v4[rows].astype(np.uint64) << _32 | _MAPPED, tail

    def write_headers(
        self,
        rows: slice | npt.NDArray[np.intp],
        lengths: npt.NDArray[np.integer],
        high: npt.NDArray[np.uint64] | int,
        low: npt.NDArray[np.uint64],
    ) -> None:
        """Write the hop headers in front of packets."""
        to_lengths, to_ports, to_high, to_low = self._header_columns
        to_lengths[rows] = lengths
        to_ports[rows] = self._ports[rows]
        to_low[rows] = low
        if not isinstance(high, int):
            to_high[rows] = high
