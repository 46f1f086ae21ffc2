import sys
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicegate.relay.admission import (
    CALL_BURST,
    CALL_RATE,
    FAILURE_COST,
    SOURCE_BURST,
    SOURCE_RATE,
    STRANGER_BURST,
    STRANGER_RATE,
    Admission,
    Standing,
    TokenBuckets,
    keyed_hash,
    source_of,
)
from voicegate.relay.flows import Client
from voicegate.wire.path import address_bytes

SEED: Final = bytes(range(16))
OFFICE: Final = address_bytes("198.51.100.1")
USERNAME: Final = b"ours:theirs"
SESSION: Final = b"session1"


def new_admission() -> Admission:
    return Admission(seed=SEED, now=0.0)


def client(number: int, host: bytes = OFFICE) -> Client:
    return host, number & 0xFFFF, False


def forged(number: int) -> bytes:
    return address_bytes(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}")


def admitted(admission: Admission, times: int, *, host: bytes = OFFICE, now: float) -> int:
    """Return how many checks of strangers from one address are looked at, of so many."""
    standings = [admission.admit(client(number, host), b"", now=now) for number in range(times)]
    return sum(standing is not Standing.REFUSED for standing in standings)


def exhaust(admission: Admission, *, now: float) -> None:
    """Use up what all strangers have."""
    number = 0
    while admission.admit(client(1, forged(number)), b"", now=now) is not Standing.REFUSED:
        number += 1


# Sources


def test_a_source_has_a_burst_and_then_a_rate() -> None:
    admission = new_admission()
    assert admitted(admission, 20_000, now=0.0) == SOURCE_BURST
    assert admitted(admission, 20_000, now=0.5) == SOURCE_RATE / 2
    assert admitted(admission, 20_000, now=1e6) == SOURCE_BURST


def test_an_office_connects_hundreds_of_calls_a_minute_and_all_of_them_after_a_restart() -> None:
    admission = new_admission()
    # Two paths each, checked every 50 ms until the answer is there after 200 ms.
    refused = 0
    for call in range(1000):
        for round_trip in range(4):
            for path in range(2):
                now = call * 60 / 1000 + round_trip * 0.05
                standing = admission.admit(client(2 * call + path), b"%d" % call, now=now)
                refused += standing is Standing.REFUSED
    assert refused == 0
    assert admitted(new_admission(), 4000, now=0.0) == 4000


def test_a_source_that_fails_has_used_its_budget_up_sooner() -> None:
    admission = new_admission()

    def failed(now: float) -> int:
        tried = 0
        while admission.admit(client(1), b"", now=now) is Standing.STRANGER:
            admission.note_failed(client(1), now=now)
            tried += 1
        return tried

    assert failed(0.0) == -(-SOURCE_BURST // FAILURE_COST)
    assert failed(1.0) == SOURCE_RATE // FAILURE_COST


def test_what_a_source_owes_is_no_more_than_it_did() -> None:
    admission = new_admission()
    for _ in range(SOURCE_BURST):
        if admission.admit(client(1), b"", now=0.0) is Standing.STRANGER:
            admission.note_failed(client(1), now=0.0)
    assert admitted(admission, 1, now=2 * FAILURE_COST / SOURCE_RATE) == 1


def test_an_ipv6_subscriber_is_one_source_and_his_neighbour_another() -> None:
    admission = new_admission()
    for number in range(SOURCE_BURST):
        admission.admit(client(1, address_bytes(f"2001:db8::{number:x}")), b"", now=0.0)
    assert admitted(admission, 1, host=address_bytes("2001:db8::ffff:1"), now=0.0) == 0
    assert admitted(admission, 1, host=address_bytes("2001:db8:0:1::1"), now=0.0) == 1


@given(st.binary(min_size=16, max_size=16))
def test_an_address_is_its_own_source_unless_its_subscriber_has_more(host: bytes) -> None:
    assert source_of(OFFICE) == OFFICE
    assert host.startswith(source_of(host))
    assert len(source_of(host)) == (16 if host[:12] == OFFICE[:12] else 8)


def test_a_source_that_floods_takes_nothing_from_another() -> None:
    admission = new_admission()
    assert admitted(admission, 2 * STRANGER_BURST, host=forged(1), now=0.0) < STRANGER_BURST
    assert admitted(admission, 100, now=0.0) == 100


# All strangers


@pytest.mark.slow
def test_strangers_together_have_a_burst_and_then_a_rate() -> None:
    admission = new_admission()
    numbers = iter(range(100_000))

    def counted(now: float) -> int:
        return sum(
            admission.admit(client(1, forged(next(numbers))), b"", now=now) is Standing.STRANGER
            for _ in range(STRANGER_BURST + 100)
        )

    assert counted(0.0) == STRANGER_BURST
    assert counted(0.1) == STRANGER_RATE / 10


@pytest.mark.slow
def test_a_genuine_stranger_gets_in_among_forged_ones_as_it_repeats_its_check() -> None:
    admission = new_admission()
    exhaust(admission, now=0.0)
    numbers = iter(range(1_000_000))
    is_in = False
    for millisecond in range(1, 500):
        for turn in range(50):
            if turn == millisecond % 50 == 7:
                standing = admission.admit(client(1), b"", now=millisecond / 1000)
                is_in = is_in or standing is Standing.STRANGER
            admission.admit(client(1, forged(next(numbers))), b"", now=millisecond / 1000)
    assert is_in


# Familiar clients


@pytest.mark.slow
def test_who_verified_before_is_untouched_by_the_flood_of_strangers() -> None:
    admission = new_admission()
    assert admission.admit(client(1), USERNAME, now=0.0) is Standing.STRANGER
    admission.admit_verified(client(1), USERNAME, SESSION, now=0.0)
    exhaust(admission, now=0.0)
    assert admission.admit(client(2), USERNAME, now=0.0) is Standing.REFUSED
    for second in range(3):
        exhaust(admission, now=float(second))
        assert admission.admit(client(1), USERNAME, now=float(second)) is Standing.FAMILIAR


def test_checks_forged_in_the_name_of_a_familiar_client_are_those_of_a_stranger() -> None:
    admission = new_admission()
    admission.admit_verified(client(1), USERNAME, SESSION, now=0.0)
    for second in range(10):
        for guess in range(3 * SOURCE_BURST // 10):
            if admission.admit(client(1), b"guess %d" % guess, now=float(second)) is Standing.STRANGER:
                admission.note_failed(client(1), now=float(second))
        assert admission.admit(client(1), b"guess", now=float(second)) is Standing.REFUSED
        assert admission.admit(client(1), USERNAME, now=float(second)) is Standing.FAMILIAR


def test_the_same_port_or_user_elsewhere_is_a_stranger() -> None:
    admission = new_admission()
    admission.admit_verified(client(1), USERNAME, SESSION, now=0.0)
    host, port, _ = client(1)
    for other in ((host, port + 1, False), (host, port, True), (forged(1), port, False)):
        assert admission.admit(other, USERNAME, now=0.0) is Standing.STRANGER


def test_a_check_without_a_username_is_never_familiar() -> None:
    admission = new_admission()
    admission.admit_verified(client(1), b"", SESSION, now=0.0)
    assert admission.admit(client(1), b"", now=0.0) is Standing.STRANGER


def test_a_call_has_a_budget_for_all_its_paths_and_takes_from_no_other() -> None:
    admission = new_admission()
    for number in range(8):
        admission.admit_verified(client(number, forged(number)), USERNAME, SESSION, now=0.0)
    admission.admit_verified(client(1), b"another", b"session2", now=0.0)

    def counted(now: float) -> int:
        standings = (
            admission.admit(client(number % 8, forged(number % 8)), USERNAME, now=now)
            for number in range(CALL_BURST + 8)
        )
        return sum(standing is Standing.FAMILIAR for standing in standings)

    assert counted(0.0) == CALL_BURST - 8
    assert counted(0.1) == CALL_RATE // 10
    assert admission.admit(client(1), b"another", now=0.1) is Standing.FAMILIAR


def test_a_call_cannot_come_from_everywhere_whatever_it_writes_behind_our_ufrag() -> None:
    admission = new_admission()
    verified = sum(
        admission.admit_verified(client(number, forged(number)), b"ours:%d" % number, SESSION, now=0.0)
        for number in range(10_000)
    )
    assert verified == CALL_BURST
    assert len(admission._familiar) - admission._familiar.count(0) <= CALL_BURST
    assert admission.admit_verified(client(1), b"another", b"session2", now=0.0)


# Memory and hash


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(max_size=4), st.integers(0, 2)), max_size=50))
def test_no_number_of_sources_takes_more_memory(checks: list[tuple[int, bytes, int]]) -> None:
    admission = new_admission()

    def size() -> int:
        arrays = (
            admission._familiar,
            admission._call_of,
            admission._sources._full_at,
            admission._strangers._full_at,
            admission._calls._full_at,
        )
        return sum(map(sys.getsizeof, arrays))

    before = size()
    for number, username, outcome in checks:
        source = client(number, forged(number))
        admission.admit(source, username, now=0.0)
        if outcome == 1:
            admission.note_failed(source, now=0.0)
        elif outcome == 2:
            admission.admit_verified(source, username, SESSION, now=0.0)
    assert size() == before < 3_000_000


def test_who_shares_a_budget_with_whom_is_the_seeds_secret() -> None:
    hosts = [forged(number) for number in range(300)]

    def pairs(seed: bytes) -> set[tuple[bytes, bytes]]:
        places = {host: keyed_hash(host, seed=seed) % 256 for host in hosts}
        return {(one, two) for one in hosts for two in hosts if one < two and places[one] == places[two]}

    first, second = pairs(SEED), pairs(bytes(16))
    assert len(first) > 30
    assert len(second) > 30
    assert len(first & second) < 30


# Buckets


@settings(max_examples=50)
@given(
    st.floats(0.1, 1e5),
    st.integers(1, 1000),
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 50)), max_size=20),
)
def test_a_bucket_never_gives_more_than_its_burst_and_its_rate(
    rate: float, capacity: int, script: list[tuple[float, int]]
) -> None:
    buckets = TokenBuckets(rate=rate, capacity=capacity, now=5.0)
    now, taken = 5.0, 0
    for pause, wanted in script:
        now += pause
        taken += sum(buckets.take(now=now) for _ in range(wanted))
        assert taken <= capacity + (now - 5.0) * rate + 1


@given(st.floats(0.01, 1e5), st.integers(1, 1000), st.floats(0, 1e6))
def test_a_full_bucket_gives_exactly_its_burst(rate: float, capacity: int, now: float) -> None:
    buckets = TokenBuckets(2, rate=rate, capacity=capacity, now=now)
    assert sum(buckets.take(1, now=now) for _ in range(capacity + 10)) == capacity
    assert buckets.take(0, now=now)
