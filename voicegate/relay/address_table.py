"""A hash table from client addresses to row numbers, for one address or a whole batch at once.

Rows are numbered from 1, and what its user keeps per row is kept in arrays of his own, by that number.
Row 0 is nobody's: what isn't in the table is found there, so that a batch needs no case of its own for it.

Buckets are chains: a bucket holds the first of its rows, each row the next one. Against open addressing,
where a bucket is a row: rows stay where they are when others go, so that thousands go at once without a
loop, and a hash that puts neighbours side by side builds no clusters.

Attacks: somebody who may choose addresses and ports chooses those that share a bucket. Wanted: chains stay
short. Construction: a hash that is universal for a secret seed (two keys meet with a chance of at most two in
the number of buckets). Left out: secrecy against somebody who can time single lookups.
"""

import hashlib
import struct
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["AddressTable", "Words"]

Words: TypeAlias = NDArray[np.uint64]
"""Halves of addresses, as the machine reads them from the bytes of the network."""

_BUCKETS_PER_ROW: Final = 4
"""At least; so one key in eight at most isn't the first of its chain, and costs a batch a step of its own."""

_WORD: Final = 0xFFFF_FFFF_FFFF_FFFF
_FOLD: Final = 32
_FOLD_ALL: Final = np.array(_FOLD, np.uint64)  # a number without dimension costs half of a Python one


class AddressTable:
    """Key to row; a key is the high and the low word of an address, and a tail of 32 bits.

    All memory is allocated at once; the system gives it when it is touched.

    Args:
        limit: Rows.
        seed: 16 bytes that clients don't know.
        buckets: At least so many, of 4 bytes each; the more, the fewer keys share one.
    """

    def __init__(self, limit: int, *, seed: bytes, buckets: int = 0) -> None:
        self.limit = limit
        self.end = 1
        """No row from here on was ever in use."""
        bits = (max(buckets, _BUCKETS_PER_ROW * limit) - 1).bit_length()
        high, low, tail = struct.unpack("=QQQ", hashlib.blake2b(seed, digest_size=24).digest())
        self._shift = 64 - bits
        self._factors: tuple[int, int, int] = (high | 1, low | 1, tail | 1)
        self._shift_all = np.array(self._shift, np.uint64)
        self._high_factor, self._low_factor, self._tail_factor = (
            np.array(factor, np.uint64) for factor in self._factors
        )
        # Arrays for a batch, and views of the same memory, which hand out Python's numbers, for a single key.
        self._first = np.zeros(1 << bits, np.int32)
        self._next = np.zeros(limit + 1, np.int32)
        self._high = np.zeros(limit + 1, np.uint64)
        self._low = np.zeros(limit + 1, np.uint64)
        self._tail = np.zeros(limit + 1, np.uint32)
        self._first_of: memoryview[int] = self._first.data
        self._next_of: memoryview[int] = self._next.data
        self._high_of: memoryview[int] = self._high.data
        self._low_of: memoryview[int] = self._low.data
        self._tail_of: memoryview[int] = self._tail.data
        self._free = np.zeros(limit, np.int32)
        self._free_of: memoryview[int] = self._free.data
        self._free_count = 0

    def __len__(self) -> int:
        return self.end - 1 - self._free_count

    def key(self, row: int) -> tuple[int, int, int]:
        """Return what was inserted as this row, until another key is."""
        return self._high_of[row], self._low_of[row], self._tail_of[row]

    def keys(self, rows: NDArray[np.intp]) -> tuple[Words, Words, NDArray[np.uint32]]:
        """Return the keys of many rows."""
        return self._high[rows], self._low[rows], self._tail[rows]

    def find(self, high: int, low: int, tail: int) -> int:
        """Return the row of a key, or 0."""
        return self._walk(self._first_of[self._bucket(high, low, tail)], high, low, tail)

    def find_all(self, high: Words | int, low: Words, tail: NDArray[np.uint32]) -> NDArray[np.intp]:
        """Return the rows of many keys, 0 for each that isn't there; ``high`` may be one word for all."""
        rows = self._first[self._buckets(high, low, tail)].astype(np.intp)
        is_found = self._low[rows] == low
        is_found &= self._tail[rows] == tail
        is_found &= self._high[rows] == high
        # Row 0 may look like a key, and is the right answer all the same.
        if np.count_nonzero(is_found) < len(rows):
            # One by one, as they are few: those not first in their chain, and those without one.
            for index in (~is_found).nonzero()[0].tolist():
                row = self._next_of[rows.item(index)]
                if row:
                    own_high = high if isinstance(high, int) else high.item(index)
                    row = self._walk(row, own_high, low.item(index), tail.item(index))
                rows[index] = row
        return rows

    def insert(self, high: int, low: int, tail: int) -> int:
        """Add a key that isn't there; return its row, or 0 when the table is full."""
        if self._free_count:
            self._free_count -= 1
            row = self._free_of[self._free_count]
        elif self.end <= self.limit:
            row = self.end
            self.end += 1
        else:
            return 0
        bucket = self._bucket(high, low, tail)
        self._high_of[row], self._low_of[row], self._tail_of[row] = high, low, tail
        self._next_of[row] = self._first_of[bucket]
        self._first_of[bucket] = row
        return row

    def remove(self, row: int) -> None:
        """Take a row out; its number will be another key's."""
        self._unlink(row, self._bucket(*self.key(row)))
        self._free_of[self._free_count] = row
        self._free_count += 1

    def remove_all(self, rows: NDArray[np.intp]) -> None:
        """Take many rows out, all different."""
        self._free[self._free_count : self._free_count + len(rows)] = rows
        self._free_count += len(rows)
        buckets = self._buckets(*self.keys(rows))
        is_first = self._first[buckets] == rows
        while is_first.any():
            self._first[buckets[is_first]] = self._next[rows[is_first]]
            rows, buckets = rows[~is_first], buckets[~is_first]
            is_first = self._first[buckets] == rows
        # Few are left: they stand behind others that stay.
        for row, bucket in zip(rows.tolist(), buckets.tolist(), strict=True):
            self._unlink(row, bucket)

    def _bucket(self, high: int, low: int, tail: int) -> int:
        high_factor, low_factor, tail_factor = self._factors
        mixed = (low + tail * tail_factor) & _WORD
        # Folded, since what differs in high bits only would differ in them only after a multiplication.
        mixed ^= mixed >> _FOLD
        return ((mixed * low_factor + high * high_factor) & _WORD) >> self._shift

    def _buckets(self, high: Words | int, low: Words, tail: NDArray[np.uint32]) -> NDArray[np.intp]:
        mixed = tail * self._tail_factor
        mixed += low
        mixed ^= mixed >> _FOLD_ALL
        mixed *= self._low_factor
        if not isinstance(high, int):
            mixed += high * self._high_factor
        elif high:
            mixed += np.uint64(high * self._factors[0] & _WORD)
        mixed >>= self._shift_all
        return mixed.view(np.intp)

    def _walk(self, row: int, high: int, low: int, tail: int) -> int:
        """Look for a key in a chain from this row on."""
        while row and not (
            self._low_of[row] == low and self._tail_of[row] == tail and self._high_of[row] == high
        ):
            row = self._next_of[row]
        return row

    def _unlink(self, row: int, bucket: int) -> None:
        before = self._first_of[bucket]
        after = self._next_of[row]
        if before == row:
            self._first_of[bucket] = after
            return
        while self._next_of[before] != row:
            before = self._next_of[before]
        self._next_of[before] = after
