"""What a relay worker counts, in memory that its supervisor reads without asking.

One worker writes, and only adds or sets whole numbers of 8 bytes, which no reader sees half-written. So the
figures of a worker that hangs or is dead are as good as those of one that works.
"""

import mmap
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from itertools import chain
from typing import ClassVar, Final, Self

import attrs

from voicegate.errors import UsageError

__all__ = ["Counters", "Count", "Distribution", "DropReason", "RelayStatistics"]

_BATCH_BOUNDS: Final = tuple(1 << power for power in range(9))
"""Datagrams in a batch: 1 to 256, the largest."""

_QUEUEING_BOUNDS: Final = tuple(50e-6 * (1 << power) for power in range(16))
"""Seconds in the kernel's queue: from 50 microseconds, which a wake-up takes, to above a second."""


class _Counted(Enum):
    """Something that there is a counter for."""

    slot: int
    """Its place among the counters."""


class DropReason(_Counted):
    """Why a datagram went nowhere; first those from clients, then those from the hop, then either."""

    GARBAGE = "garbage"
    """Begins like no protocol of WebRTC, or is shorter than two bytes."""
    OVERSIZED = "oversized"
    """Longer than `voicegate.relay.router.MAX_CLIENT_DATAGRAM`."""
    MALFORMED_STUN = "malformed_stun"
    """Begins like STUN and isn't: truncated, or its lengths disagree."""
    NOT_BINDING_REQUEST = "not_binding_request"
    """STUN of another type. A transceiver is ICE-lite: it sends no requests, so nobody owes it a response,
    and an indication (a keepalive) says nothing that a check or media doesn't say better."""
    ADMISSION = "admission"
    """A check beyond what its source, its call, or all together may have looked at."""
    BAD_FINGERPRINT = "bad_fingerprint"
    """A check that was damaged on its way, or has no FINGERPRINT, which ICE demands (RFC 8445 §7.2.4)."""
    FOREIGN_UFRAG = "foreign_ufrag"
    """A check without a ufrag of ours."""
    BAD_INTEGRITY = "bad_integrity"
    """A check with a ufrag of ours by somebody who doesn't know the password."""
    UNKNOWN_TRANSCEIVER = "unknown_transceiver"
    """A verified check or a FLOW_MOVED that leads to one which isn't listed."""
    FLOW_LIMIT = "flow_limit"
    """A verified check for which the flow table has no room."""
    NO_FLOW = "no_flow"
    """DTLS, SRTP or SRTCP from a source that no verified check came from."""

    FOREIGN_HOP_SOURCE = "foreign_hop_source"
    """On the hop socket, but not from a listed transceiver."""
    MALFORMED_HOP = "malformed_hop"
    """From a transceiver, but not a hop datagram of our version."""
    UNEXPECTED_HOP_TYPE = "unexpected_hop_type"
    """From a transceiver, of a type that transceivers don't send."""
    FOREIGN_FLOW = "foreign_flow"
    """A transceiver disposing of a flow that doesn't lead to it."""
    NO_SOCKET = "no_socket"
    """For a client of a kind (IPv4, IPv6, stream) that this relay has no public address for."""
    STREAM_BACKLOG = "stream_backlog"
    """Audio for a TCP client that reads too slowly."""

    KERNEL_QUEUE = "kernel_queue"
    """Lost in the kernel, whose queue for a socket was full (SO_RXQ_OVFL)."""
    SEND_REFUSED = "send_refused"
    """Refused by the kernel: no buffers, no route, or an earlier ICMP error."""


class Count(_Counted):
    """What else is counted; gauges say so."""

    CHECKS_VERIFIED = "checks_verified"
    PACKETS_TO_TRANSCEIVERS = "packets_to_transceivers"
    """Clients' packets forwarded, checks included."""
    BYTES_TO_TRANSCEIVERS = "bytes_to_transceivers"
    """The clients' bytes in them."""
    PACKETS_TO_CLIENTS = "packets_to_clients"
    BYTES_TO_CLIENTS = "bytes_to_clients"
    FLOWS = "flows"
    """Gauge: flows now."""
    FLOWS_OPENED = "flows_opened"
    FLOWS_EXPIRED = "flows_expired"
    FLOWS_DISOWNED = "flows_disowned"
    """Found in the directory, and let go of by the transceiver there before it answered a check."""
    LOOKUPS_ASKED = "lookups_asked"
    """Unknown sources that the directory was asked about."""
    LOOKUPS_ANSWERED = "lookups_answered"
    LOOKUPS_FOUND = "lookups_found"
    LOOKUPS_UNLISTED = "lookups_unlisted"
    """Sources that the directory leads to a transceiver which isn't listed."""
    STREAMS = "streams"
    """Gauge: TCP and TLS connections now."""
    STREAMS_OPENED = "streams_opened"
    STREAMS_REFUSED = "streams_refused"
    """Connections closed by us: one too many, or what came first was not a client's check."""
    BATCHES_PUBLIC = "batches_public"
    """Batches received on public sockets."""
    BATCHES_HOP = "batches_hop"
    """Batches received on the hop socket."""
    GSO_SENDS = "gso_sends"
    """Sends that the kernel cut into datagrams (UDP_SEGMENT)."""
    GRO_RECEIVES = "gro_receives"
    """Receives that the kernel had put together (UDP_GRO)."""
    HEARTBEATS = "heartbeats"
    """Signs of life, one a second."""


_GAUGES: Final = (Count.FLOWS, Count.STREAMS)

for _slot, _member in enumerate(chain[_Counted](DropReason, Count)):
    _member.slot = _slot

_BATCH_SLOT: Final = len(DropReason) + len(Count)
"""Where the buckets of batch sizes begin; behind the last one stands the sum."""
_QUEUEING_SLOT: Final = _BATCH_SLOT + len(_BATCH_BOUNDS) + 2
_SLOTS: Final = _QUEUEING_SLOT + len(_QUEUEING_BOUNDS) + 2


@attrs.frozen(kw_only=True)
class Distribution:
    """Observations, counted by upper bound."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    """Observations up to each bound and above the one before; one more for those above the last."""
    total: float
    """The sum of all observations."""

    @property
    def observations(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def __add__(self, other: Self) -> Self:
        counts = tuple(map(sum, zip(self.counts, other.counts, strict=True)))
        return attrs.evolve(self, counts=counts, total=self.total + other.total)


@attrs.frozen(kw_only=True)
class RelayStatistics:
    """The figures of one worker, or of several together."""

    dropped: Mapping[str, int]
    """Datagrams by the value of `DropReason`; all reasons are there."""
    counts: Mapping[str, int]
    """The rest, by the value of `Count`; all are there."""
    batch_sizes: Distribution
    """Datagrams in a received batch."""
    queueing: Distribution
    """Seconds that sampled packets lay in the kernel."""

    @staticmethod
    def total(several: "Iterable[RelayStatistics]") -> "RelayStatistics":
        """Add the figures of several workers."""
        dropped, counts = Counter[str](), Counter[str]()
        batch_sizes, queueing = _distribution(_BATCH_BOUNDS), _distribution(_QUEUEING_BOUNDS)
        for each in (Counters().snapshot(), *several):
            dropped.update(each.dropped)
            counts.update(each.counts)
            batch_sizes += each.batch_sizes
            queueing += each.queueing
        return RelayStatistics(
            dropped=dict(dropped), counts=dict(counts), batch_sizes=batch_sizes, queueing=queueing
        )


class Counters:
    """The counters of one worker.

    Args:
        buffer: Memory to count in, `SIZE` bytes at least, such as that which other processes see too; None
            for private memory.

    Errors: UsageError when it is too small.
    """

    SIZE: ClassVar[int] = 8 * _SLOTS
    """Bytes."""

    def __init__(self, buffer: bytearray | memoryview | mmap.mmap | None = None) -> None:
        memory = memoryview(bytearray(self.SIZE) if buffer is None else buffer)
        if memory.nbytes < self.SIZE:
            raise UsageError(f"{memory.nbytes} bytes are too few for counters, which take {self.SIZE}")
        self._slots = memory[: self.SIZE].cast("q")

    def add(self, what: DropReason | Count, n: int = 1) -> None:
        """Count something ``n`` times."""
        self._slots[what.slot] += n

    def set(self, what: Count, value: int) -> None:
        """Set a gauge, or a count that is kept elsewhere."""
        self._slots[what.slot] = value

    def get(self, what: DropReason | Count) -> int:
        """Return one figure as it stands."""
        return self._slots[what.slot]

    def observe_batch(self, datagrams: int) -> None:
        """Count a received batch."""
        self._slots[_BATCH_SLOT + min((datagrams - 1).bit_length(), len(_BATCH_BOUNDS))] += 1
        self._slots[_QUEUEING_SLOT - 1] += datagrams

    def observe_queueing(self, seconds: float) -> None:
        """Count a packet that lay in the kernel for so long."""
        self._slots[_QUEUEING_SLOT + bisect_left(_QUEUEING_BOUNDS, seconds)] += 1
        self._slots[_SLOTS - 1] += round(seconds * 1e9)

    def snapshot(self) -> RelayStatistics:
        """Return all figures as they stand."""
        slots = self._slots.tolist()
        return RelayStatistics(
            dropped={reason.value: slots[reason.slot] for reason in DropReason},
            counts={count.value: slots[count.slot] for count in Count},
            batch_sizes=_distribution(_BATCH_BOUNDS, slots[_BATCH_SLOT:_QUEUEING_SLOT]),
            queueing=_distribution(_QUEUEING_BOUNDS, slots[_QUEUEING_SLOT:], unit=1e-9),
        )

    def take(self) -> RelayStatistics:
        """Return what a worker that is no more counted, without its gauges, and begin again at zero."""
        for gauge in _GAUGES:
            self.set(gauge, 0)
        taken = self.snapshot()
        self._slots[:] = memoryview(bytes(self.SIZE)).cast("q")
        return taken


def _distribution(
    bounds: tuple[float, ...], slots: list[int] | None = None, *, unit: float = 1
) -> Distribution:
    *counts, total = slots or [0] * (len(bounds) + 2)
    return Distribution(bounds=bounds, counts=tuple(counts), total=total * unit)
