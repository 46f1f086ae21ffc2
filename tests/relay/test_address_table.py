from typing import Final, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from numpy.typing import NDArray

from voicegate.relay.address_table import AddressTable, Words
from voicegate.wire.path import address_bytes

SEED: Final = bytes(range(16))

Key: TypeAlias = tuple[int, int, int]
Batch: TypeAlias = tuple[Words, Words, NDArray[np.uint32]]


def batch(keys: list[Key]) -> Batch:
    high, low, tail = zip(*keys, strict=True) if keys else ((), (), ())
    return np.array(high, np.uint64), np.array(low, np.uint64), np.array(tail, np.uint32)


def words(hosts: list[str]) -> tuple[Words, Words]:
    both = np.frombuffer(b"".join(address_bytes(host) for host in hosts), np.uint64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def crowded_table() -> AddressTable:
    """Make a table in which all keys meet in two buckets."""
    table = AddressTable(12, seed=SEED)
    table._shift = 63
    table._shift_all = np.array(63, np.uint64)
    return table


def test_what_is_not_there_is_row_zero() -> None:
    table = AddressTable(4, seed=SEED)
    assert table.find(0, 0, 0) == 0
    assert table.find_all(*batch([(0, 0, 0), (1, 2, 3)])).tolist() == [0, 0]


def test_a_key_is_found_by_all_of_its_parts() -> None:
    table = AddressTable(4, seed=SEED)
    row = table.insert(1, 2, 3)
    others: list[Key] = [(0, 2, 3), (1, 0, 3), (1, 2, 0)]
    assert [table.find(*key) for key in [(1, 2, 3), *others]] == [row, 0, 0, 0]
    assert table.find_all(*batch([(1, 2, 3), *others])).tolist() == [row, 0, 0, 0]
    assert table.key(row) == (1, 2, 3)


def test_an_empty_batch_has_no_rows() -> None:
    assert AddressTable(4, seed=SEED).find_all(*batch([])).tolist() == []


@pytest.mark.parametrize("high", [0, 7, 0xFFFF_FFFF_FFFF_FFFF])
def test_one_high_word_may_stand_for_all(high: int) -> None:
    table = AddressTable(4, seed=SEED)
    rows = [table.insert(high, low, 80) for low in range(4)]
    assert table.find_all(high, *batch([(0, low, 80) for low in range(5)])[1:]).tolist() == [*rows, 0]


def test_a_full_table_takes_no_more_until_a_row_is_free() -> None:
    table = AddressTable(2, seed=SEED)
    first, second = table.insert(0, 1, 0), table.insert(0, 2, 0)
    assert {first, second} == {1, 2}
    assert table.insert(0, 3, 0) == 0
    table.remove(first)
    assert table.insert(0, 3, 0) == first
    assert (len(table), table.end) == (2, 3)


@pytest.mark.parametrize("gone", [[1, 2, 3], [6, 7], [12, 1], [2, 4, 6, 8, 10, 12], list(range(1, 13))])
def test_rows_leave_from_anywhere_in_a_chain(gone: list[int]) -> None:
    keys: list[Key] = [(n, n, n) for n in range(1, 13)]
    for removes_at_once in (True, False):
        table = crowded_table()
        assert [table.insert(*key) for key in keys] == list(range(1, 13))
        if removes_at_once:
            table.remove_all(np.array(gone))
        else:
            for row in gone:
                table.remove(row)
        left = [0 if row in gone else row for row in range(1, 13)]
        assert [table.find(*key) for key in keys] == left
        assert table.find_all(*batch(keys)).tolist() == left


def neighbours(name: str) -> Batch:
    """Make 10 000 keys of one shape."""
    number = np.arange(10_000)
    port = np.full(10_000, 5000)
    match name:
        case "ports of one address":
            hosts = ["192.0.2.1"] * 10_000
            port = number + 1024
        case "ports of few addresses":
            hosts = [f"192.0.2.{n % 100}" for n in number]
            port = number // 100 + 1024
        case "addresses":
            hosts = [f"10.0.{n // 256}.{n % 256}" for n in number]
        case "networks":
            hosts = [f"10.{n // 256}.{n % 256}.1" for n in number]
        case "addresses with their own ports":
            hosts = [f"10.0.{n // 256}.{n % 256}" for n in number]
            port = number + 1024
        case "interfaces of one /64":
            hosts = [f"2001:db8::{n:x}" for n in number]
        case "one interface of many /64":
            hosts = [f"2001:db8:0:{n:x}::1" for n in number]
        case "ends of both halves":
            hosts = [f"2001:db8:0:{n // 100:x}::{n % 100:x}" for n in number]
        case _:
            hosts = [f"2001:db8::{n:x}:0:0:1" for n in number]
    return *words(hosts), port.astype(np.uint32)


@pytest.mark.parametrize(
    "name",
    [
        "ports of one address",
        "ports of few addresses",
        "addresses",
        "networks",
        "addresses with their own ports",
        "interfaces of one /64",
        "one interface of many /64",
        "ends of both halves",
        "starts of interfaces",
    ],
)
@pytest.mark.parametrize("seed", [bytes(16), SEED, b"sixteen letters."])
def test_neighbours_do_not_meet_in_one_bucket(name: str, seed: bytes) -> None:
    keys = neighbours(name)
    table = AddressTable(10_000, seed=seed)
    counts = np.bincount(table._buckets(*keys))
    # Of random keys some six meet, in a table that is as full.
    assert counts.max() <= 8
    for key in zip(*(column.tolist() for column in keys), strict=True):
        table.insert(*key)
    assert table.find_all(*keys).tolist() == list(range(1, 10_001))


def test_the_seed_decides_which_keys_meet() -> None:
    keys = neighbours("addresses")
    buckets = [AddressTable(10_000, seed=seed)._buckets(*keys) for seed in (SEED, bytes(16))]
    assert (buckets[0] == buckets[1]).mean() < 0.01


def test_single_keys_and_batches_agree_on_buckets() -> None:
    keys = neighbours("ends of both halves")
    table = AddressTable(100, seed=SEED)
    singles = [table._bucket(*key) for key in zip(*(column.tolist() for column in keys), strict=True)]
    assert table._buckets(*keys).tolist() == singles


WORDS: Final = st.sampled_from([0, 1, 1 << 63, 0xFFFF_FFFF_FFFF_FFFF])
KEYS: Final = st.tuples(WORDS, WORDS, st.sampled_from([0, 1, 0xFFFF, 0x1FFFF]))


class AddressTableMachine(RuleBasedStateMachine):
    """The table does what a dict does."""

    def __init__(self) -> None:
        super().__init__()
        self.table = self.make_table()
        self.rows: dict[Key, int] = {}

    def make_table(self) -> AddressTable:
        return AddressTable(12, seed=SEED, buckets=1 << 10)

    @rule(keys=st.sets(KEYS, min_size=1))
    def insert(self, keys: set[Key]) -> None:
        for key in sorted(keys - self.rows.keys()):
            row = self.table.insert(*key)
            assert (row == 0) is (len(self.rows) == 12)
            if row:
                assert 0 < row < self.table.end
                assert row not in self.rows.values()
                self.rows[key] = row

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.rows:
            key = data.draw(st.sampled_from(sorted(self.rows)))
            self.table.remove(self.rows.pop(key))

    @rule(data=st.data())
    def remove_all(self, data: st.DataObject) -> None:
        keys = data.draw(st.sets(st.sampled_from(sorted(self.rows)))) if self.rows else set()
        self.table.remove_all(np.array([self.rows.pop(key) for key in sorted(keys)], np.intp))

    @rule(keys=st.lists(KEYS))
    def find_a_batch(self, keys: list[Key]) -> None:
        assert self.table.find_all(*batch(keys)).tolist() == [self.rows.get(key, 0) for key in keys]

    @rule(keys=st.lists(KEYS), high=WORDS)
    def find_a_batch_under_one_high_word(self, keys: list[Key], high: int) -> None:
        expected = [self.rows.get((high, low, tail), 0) for _, low, tail in keys]
        assert self.table.find_all(high, *batch(keys)[1:]).tolist() == expected

    @invariant()
    def each_key_has_its_row(self) -> None:
        assert len(self.table) == len(self.rows)
        for key, row in self.rows.items():
            assert self.table.find(*key) == row
            assert self.table.key(row) == key


class CrowdedTableMachine(AddressTableMachine):
    """It does so too when all keys meet."""

    def make_table(self) -> AddressTable:
        return crowded_table()


TestAddressTableMachine = AddressTableMachine.TestCase
TestCrowdedTableMachine = CrowdedTableMachine.TestCase
TestAddressTableMachine.settings = TestCrowdedTableMachine.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
