"""The flow table: which transceiver the packets of a client go to.

It knows transceivers by id, not by address: one that moves takes its flows along without a step here.

A flow is opened by a verified connectivity check and starts unconfirmed; it is confirmed when the
transceiver answers that check. A confirmed flow is never overwritten by a check alone: where the check
leads becomes its challenger, and takes the flow over when it has answered, or when the present transceiver
lets go. Confirmed flows are handed out as rows for the directory, which gives them back (`restore`) to a
relay that has forgotten them.

A flow is a row of arrays. So whole batches are routed at once, a million flows need no objects, and what
looks through the table (`expire`, renewal of rows) looks at a stretch of it per call.

Attacks: a caller with valid credentials opens flows without end; he sends his check from a forged address,
to move somebody else's media to his own call. Wanted: bounded memory, room for others, and no move before
a transceiver agreed. Construction: limits in all and per source, a short life while unconfirmed, the
challenger. Left out: proof that the client is at its address; a forged check that is answered moves media
until the victim's next check.
"""

import math
import struct
import sys
from collections.abc import Container
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from voicegate.errors import UsageError
from voicegate.relay.address_table import AddressTable, Words

__all__ = [
    "FlowTable",
    "CONFIRMED_LIFETIME",
    "Client",
    "FLOW_LIMIT",
    "ROW_RENEWAL",
    "SOURCE_LIMIT",
    "UNCONFIRMED_LIFETIME",
]

Client: TypeAlias = tuple[bytes, int, bool]
"""A client as the relay sees it: 16-byte address, port, whether over TCP or TLS. Plain, as it is built per
packet."""

FLOW_LIMIT: Final = 65_536
"""Flows in one worker: some 15 MB, and many for each call that a core can carry. A million work as well."""

SOURCE_LIMIT: Final = FLOW_LIMIT // 4
"""Flows of one source (IPv4 address, or IPv6 /64, which any subscriber has), so that one alone can't take
the table. Not less, since an office, a mobile operator's NAT and a load generator are one source each."""

CONFIRMED_LIFETIME: Final = 60.0
"""Seconds without a packet from the client. Twice the 30 s of consent (RFC 7675 §5.1), so that the
transceiver, which knows more, decides first; clients check every 2.5 s (libwebrtc) to 5 s (RFC 7675 §5.1)."""

UNCONFIRMED_LIFETIME: Final = 10.0
"""Seconds for the transceiver's first answer: it takes milliseconds, and clients repeat their checks."""

ROW_RENEWAL: Final = 20.0
"""Seconds until the row of a flow in use is written again; the directory keeps it for three times that."""

_BUCKETS: Final = 1 << 21
"""Of the table's hash, at least: 8 MB, with which 10 000 flows cost a batch hardly more than 100."""

_EXPIRY_STRETCH: Final = 32_768
_ENDS_AT_ONCE: Final = 1024
"""Flows looked at, and flows ended, by one `expire`, which so takes about half a millisecond at most."""

_RENEWAL_STRETCH: Final = 8192
"""Flows looked at by one `poll_rows`; at twenty calls a second a million take seven seconds."""

_NEVER: Final = -math.inf

_HOST: Final = struct.Struct("=QQ")
_MAPPED_MASK: Final = int.from_bytes(b"\xff\xff\xff\xff" + bytes(4), sys.byteorder)
_MAPPED_LOW: Final = int.from_bytes(b"\x00\x00\xff\xff" + bytes(4), sys.byteorder)
"""IPv4 is mapped into IPv6: the high word is 0, and half of the low one is this."""


class FlowTable:
    """Client to transceiver, bounded and expiring. Memory is allocated once, and touched as flows come.

    Args:
        flow_limit: Flows in all.
        source_limit: Flows of one source.
        seed: 16 bytes that clients don't know, for the hash.
    """

    def __init__(
        self, *, flow_limit: int = FLOW_LIMIT, source_limit: int = SOURCE_LIMIT, seed: bytes = bytes(16)
    ) -> None:
        self.opened = 0
        """Flows ever opened or restored."""
        self.expired = 0
        """Flows ever ended by silence."""
        self.disowned = 0
        """Flows ever restored that the transceiver they led to let go of before it answered a check."""
        self._flow_limit = flow_limit
        self._source_limit = source_limit
        rows = flow_limit + 1
        self._clients = AddressTable(flow_limit, seed=seed, buckets=max(_BUCKETS, 8 * flow_limit))
        # By the row of the client. Row 0 is that of unknown clients.
        self._destinations = np.zeros(rows, np.intp)  # numbers; 0 where there is no flow
        self._destinations[0] = -1
        self._challengers = np.zeros(rows, np.int32)  # numbers; 0 where nobody waits
        self._confirmed = np.zeros(rows, np.bool_)
        self._hearsay = np.zeros(rows, np.bool_)  # restored, and not confirmed by an answer since
        self._checked_at = np.zeros(rows)  # when a check, or its answer, last prolonged the flow
        self._seen_at = np.zeros(rows)  # when a packet last came, which prolongs confirmed flows only
        self._written_at = np.zeros(rows)  # when the row was last handed out, or never
        self._queued = np.zeros(rows, np.bool_)
        self._source = np.zeros(rows, np.int32)  # row of the source

        self._sources = AddressTable(flow_limit, seed=seed)
        self._source_flows = np.zeros(rows, np.int32)  # by the row of the source

        self._numbers: dict[int, int] = {}
        self._ids: list[int | None] = [None]

        self._to_write = _Queue(flow_limit, np.int32)
        self._to_delete = _Queue(flow_limit, [("high", np.uint64), ("low", np.uint64), ("tail", np.uint32)])
        self._next_to_expire = 1
        self._next_to_renew = 1

    def __len__(self) -> int:
        return len(self._clients)

    def lookup(self, client: Client, *, now: float) -> int | None:
        """Return the transceiver that a packet of this client goes to, and keep a confirmed flow alive.

        An unconfirmed flow carries packets too, but they don't prolong it: only its check proved anything.
        """
        row = self._find(client)
        if not row:
            return None
        self._seen_at[row] = now
        return self._ids[self._destinations.item(row)]

    def route(
        self, high: Words | int, low: Words, tail: NDArray[np.uint32], *, now: float
    ) -> NDArray[np.intp]:
        """Look up a whole batch: return the number of each packet's `destination`, -1 for no flow.

        Args:
            high: First words of the addresses, or one for all (0 is that of all IPv4 addresses).
            low: Last words of the addresses.
            tail: Ports, and bit 16 for clients over TCP or TLS.
            now: When the packets came.
        """
        rows = self._clients.find_all(high, low, tail)
        self._seen_at[rows] = now
        return self._destinations[rows]

    def destination(self, number: int) -> int:
        """Return the transceiver id of a number, which stays the same while the id is retained.

        Errors: UsageError when the number is nobody's.
        """
        id_ = self._ids[number] if 0 < number < len(self._ids) else None
        if id_ is None:
            raise UsageError(f"no transceiver has the number {number}")
        return id_

    def is_confirmed(self, client: Client) -> bool:
        """Tell whether the client has a flow on which a transceiver has answered."""
        return bool(self._confirmed[self._find(client)])

    def open(self, client: Client, transceiver: int, *, now: float) -> bool:
        """Note that a verified check of this client leads to this transceiver; False for want of room."""
        row = self._find(client)
        if not row:
            return self._insert(client, transceiver, now) != 0
        number = self._number(transceiver)
        if self._destinations.item(row) == number or not self._confirmed.item(row):
            self._destinations[row] = number
            self._checked_at[row] = now
        else:
            self._challengers[row] = number
        return True

    def confirm(self, client: Client, transceiver: int, *, now: float) -> None:
        """Note that this transceiver answered a check of this client."""
        row = self._find(client)
        number = self._numbers.get(transceiver)
        if not row or number is None:
            return
        if self._challengers.item(row) == number:
            self._destinations[row] = number
            self._challengers[row] = 0
            self._queue(row)
        elif self._destinations.item(row) != number:
            return
        if not self._confirmed.item(row):
            self._confirmed[row] = True
            self._queue(row)
        self._hearsay[row] = False
        self._checked_at[row] = now

    def restore(self, client: Client, transceiver: int, *, now: float) -> bool:
        """Take a flow from the directory, confirmed as it was; a flow that is there already stays as it is.

        Returns:
            False for want of room.
        """
        if self._find(client):
            return True
        # A row that waits to be deleted takes room, or else there might be more of them than can wait.
        if len(self) + len(self._to_delete) >= self._flow_limit:
            return False
        row = self._insert(client, transceiver, now)
        if row:
            self._confirmed[row] = True
            self._hearsay[row] = True
            self._written_at[row] = now
            # Its age is unknown, and a deletion may still be on its way.
            self._queue(row)
        return row != 0

    def move(self, client: Client, transceiver: int, *, to: int) -> bool:
        """Re-point a flow; only the transceiver that it leads to may. False when it doesn't lead there."""
        row = self._find(client)
        if not row or self._ids[self._destinations.item(row)] != transceiver:
            return False
        number = self._number(to)
        self._destinations[row] = number
        self._hearsay[row] = False
        if self._challengers.item(row) == number:
            self._challengers[row] = 0
        if self._confirmed.item(row):
            self._queue(row)
        return True

    def drop(self, client: Client, transceiver: int) -> bool:
        """Take this transceiver off a flow, which ends unless a challenger waits.

        Returns:
            False when the flow doesn't lead to it.
        """
        row = self._find(client)
        number = self._numbers.get(transceiver)
        if not row or number is None:
            return False
        if self._challengers.item(row) == number:
            self._challengers[row] = 0
            return True
        if self._destinations.item(row) != number:
            return False
        self.disowned += self._hearsay.item(row)
        self._release(np.array([row]))
        return True

    def retain(self, transceivers: Container[int]) -> None:
        """Take all transceivers but these off their flows: whoever comes next is somebody else."""
        gone = {id_: number for id_, number in self._numbers.items() if id_ not in transceivers}
        if not gone:
            return
        is_gone = np.zeros(len(self._ids), np.bool_)
        is_gone[list(gone.values())] = True
        challengers = self._challengers[: self._clients.end]
        challengers[is_gone[challengers]] = 0
        self._release(is_gone[self._destinations[1 : self._clients.end]].nonzero()[0] + 1)
        for id_, number in gone.items():
            del self._numbers[id_]
            self._ids[number] = None

    def expire(self, now: float) -> None:
        """End flows that have been silent for too long, as far as one look at a part of the table goes."""
        start, stop = self._stretch(self._next_to_expire, _EXPIRY_STRETCH)
        # Most flows need no second look: clients check every few seconds.
        is_old = now - self._checked_at[start:stop] > UNCONFIRMED_LIFETIME
        old = is_old.nonzero()[0] + start
        seen_at = np.maximum(self._checked_at[old], self._seen_at[old])
        silent = old[~self._confirmed[old] | (now - seen_at > CONFIRMED_LIFETIME)]
        silent, self._next_to_expire = _cut(silent, _ENDS_AT_ONCE, stop)
        # Their rows lapse by themselves, since a client that another worker has now has its row from there.
        self._written_at[silent] = _NEVER
        self._end(silent)
        self.expired += len(silent)

    def poll_rows(self, *, now: float, limit: int) -> list[tuple[Client, int | None]]:
        """Return what to tell the directory now, at most ``limit`` rows: a flow's transceiver, or None.

        Told are flows confirmed or moved, those in use whose row is due for renewal, and with None the end of
        those that were told before, unless by silence. It is not all told at once: call it again, some twenty
        times a second.
        """
        rows: list[tuple[Client, int | None]] = [
            (_client(*key), None) for key in self._to_delete.pop(limit).tolist()
        ]
        # Deletions first: so a client's new row comes after the end of its old one, and since only rows that
        # were written are deleted, there are never more of both than the table has flows.
        due = self._to_write.pop(limit - len(rows)).astype(np.intp)
        self._queued[due] = False
        rows += self._write(due[self._confirmed[due]], now)
        rows += self._write(self._due_for_renewal(limit - len(rows), now), now)
        return rows

    def _write(self, rows: NDArray[np.intp], now: float) -> list[tuple[Client, int | None]]:
        self._written_at[rows] = now
        return [
            (_client(*self._clients.key(row)), self._ids[number])
            for row, number in zip(rows.tolist(), self._destinations[rows].tolist(), strict=True)
        ]

    def _due_for_renewal(self, limit: int, now: float) -> NDArray[np.intp]:
        start, stop = self._stretch(self._next_to_renew, _RENEWAL_STRETCH)
        written_at = self._written_at[start:stop]
        active_at = np.maximum(self._checked_at[start:stop], self._seen_at[start:stop])
        is_due = self._confirmed[start:stop] & (written_at > _NEVER)
        is_due &= (now - written_at >= ROW_RENEWAL) & (active_at > written_at)
        due, self._next_to_renew = _cut(is_due.nonzero()[0] + start, limit, stop)
        return due

    def _stretch(self, start: int, length: int) -> tuple[int, int]:
        """Return the rows to look at next, from the first on again after the last."""
        end = self._clients.end
        start = start if start < end else 1
        return start, min(start + length, end)

    def _queue(self, row: int) -> None:
        """Have a row written."""
        if not self._queued.item(row):
            self._queued[row] = True
            self._to_write.push(np.array([row]))

    def _forget(self, rows: NDArray[np.intp]) -> None:
        """Have these rows deleted, those of them that were written."""
        written = rows[self._written_at[rows] > _NEVER]
        keys = np.empty(len(written), self._to_delete.dtype)
        keys["high"], keys["low"], keys["tail"] = self._clients.keys(written)
        self._to_delete.push(keys)
        self._written_at[written] = _NEVER

    def _release(self, rows: NDArray[np.intp]) -> None:
        """Take their transceivers off these flows, which fall to their challengers, or end."""
        is_challenged = self._challengers[rows] > 0
        self._end(rows[~is_challenged])
        rows = rows[is_challenged]
        self._forget(rows)
        self._destinations[rows] = self._challengers[rows]
        self._challengers[rows] = 0
        self._checked_at[rows] = np.maximum(self._checked_at[rows], self._seen_at[rows])
        self._confirmed[rows] = False
        self._hearsay[rows] = False

    def _end(self, rows: NDArray[np.intp]) -> None:
        self._forget(rows)
        self._destinations[rows] = 0
        self._confirmed[rows] = False
        self._checked_at[rows] = math.inf  # looks young to `expire`
        self._clients.remove_all(rows)
        sources = self._source[rows]
        np.subtract.at(self._source_flows, sources, 1)
        left = np.sort(sources[self._source_flows[sources] == 0]).astype(np.intp)
        # Each once. Not by `np.unique`, whose first call takes ten milliseconds for imports.
        self._sources.remove_all(left[np.diff(left, prepend=0) > 0])

    def _insert(self, client: Client, transceiver: int, now: float) -> int:
        """Make room for a flow and fill it in; return its row, or 0."""
        high, low, tail = _key(client)
        source_key = (0, low, 0) if not high and low & _MAPPED_MASK == _MAPPED_LOW else (high, 0, 0)
        source = self._sources.find(*source_key)
        if self._source_flows.item(source) >= self._source_limit:
            return 0
        row = self._clients.insert(high, low, tail)
        if not row:
            return 0
        source = source or self._sources.insert(*source_key)
        self._source_flows[source] += 1
        self._source[row] = source
        self._destinations[row] = self._number(transceiver)
        self._challengers[row] = 0
        self._hearsay[row] = False
        self._checked_at[row] = now
        self._written_at[row] = _NEVER
        self.opened += 1
        return row

    def _number(self, transceiver: int) -> int:
        number = self._numbers.get(transceiver)
        if number is None:
            number = next((n for n, id_ in enumerate(self._ids) if n and id_ is None), 0)
            if not number:
                number = len(self._ids)
                self._ids.append(None)
            self._ids[number] = transceiver
            self._numbers[transceiver] = number
        return number

    def _find(self, client: Client) -> int:
        return self._clients.find(*_key(client))


class _Queue:
    """First in, first out, in one array; its user sees to it that it doesn't overflow."""

    def __init__(self, limit: int, dtype: DTypeLike) -> None:
        self._items: NDArray[Any] = np.zeros(limit, dtype)
        self._start = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._items.dtype

    def push(self, items: NDArray[Any]) -> None:
        self._items[self._places(self._length, len(items))] = items
        self._length += len(items)

    def pop(self, limit: int) -> NDArray[Any]:
        count = min(limit, self._length)
        items = self._items[self._places(0, count)]
        self._start += count
        self._length -= count
        return items

    def _places(self, first: int, count: int) -> NDArray[np.intp]:
        return np.arange(self._start + first, self._start + first + count) % len(self._items)


def _cut(rows: NDArray[np.intp], limit: int, stop: int) -> tuple[NDArray[np.intp], int]:
    """Return the first ``limit`` of these rows, and where to look next: at ``stop`` if these are all."""
    return rows[:limit], rows.item(limit) if len(rows) > limit else stop


def _key(client: Client) -> tuple[int, int, int]:
    host, port, is_stream = client
    high, low = _HOST.unpack(host)
    return high, low, port | is_stream << 16


def _client(high: int, low: int, tail: int) -> Client:
    return _HOST.pack(high, low), tail & 0xFFFF, tail > 0xFFFF
