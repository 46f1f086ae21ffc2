from itertools import count, pairwise
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicegate.relay.counter import Count, Counters
from voicegate.relay.flows import Client
from voicegate.relay.recovery import (
    ABSENCE_LIFETIME,
    ABSENCE_LIMIT,
    ANSWER_SECONDS,
    BATCH_LIMIT,
    LOOKUP_BURST,
    LOOKUP_RATE,
    MAX_ABSENCE_LIFETIME,
    PENDING_LIMIT,
    Recovery,
    flow_key,
)
from voicegate.wire.path import address_bytes

PACKET_INTERVAL: Final = 0.02
POLL_INTERVAL: Final = 0.01


def new_recovery(counters: Counters | None = None) -> Recovery:
    return Recovery(seed=bytes(range(16)), counters=counters or Counters(), now=0.0)


def client(number: int) -> Client:
    return address_bytes("192.0.2.1"), number, False


def forged(number: int) -> Client:
    return bytes(10) + b"\xff\xff\x0a" + number.to_bytes(3, "big"), 5000, False


def poll_all(recovery: Recovery, *, now: float) -> list[Client]:
    asked: list[Client] = []
    while batch := recovery.poll_lookups(now=now):
        assert len(batch) <= BATCH_LIMIT
        asked += batch
    return asked


def test_an_unknown_source_is_asked_about_at_its_first_packet() -> None:
    recovery = new_recovery()
    assert recovery.poll_lookups(now=0.0) == []
    recovery.note(client(1), now=0.0)
    recovery.note(client(2), now=0.0)
    assert recovery.poll_lookups(now=0.0) == [client(1), client(2)]
    assert recovery.poll_lookups(now=0.0) == []


def test_a_client_is_asked_about_once_however_much_it_sends() -> None:
    recovery = new_recovery()
    for _ in range(100):
        recovery.note(client(1), now=0.0)
    assert recovery.poll_lookups(now=0.0) == [client(1)]
    for _ in range(100):
        recovery.note(client(1), now=0.5)
    assert recovery.poll_lookups(now=0.5) == []


def test_what_is_not_answered_may_be_asked_again() -> None:
    recovery = new_recovery()
    recovery.note(client(1), now=0.0)
    recovery.poll_lookups(now=0.0)
    assert recovery.poll_lookups(now=ANSWER_SECONDS) == [], "nothing is asked without a packet"
    recovery.note(client(1), now=ANSWER_SECONDS)
    assert recovery.poll_lookups(now=ANSWER_SECONDS) == [client(1)]


def test_who_is_unknown_to_the_directory_is_left_alone_for_ever_longer() -> None:
    recovery = new_recovery()
    asked_at = []
    for packet in range(1500):
        now = packet * PACKET_INTERVAL
        recovery.note(client(1), now=now)
        for asked in recovery.poll_lookups(now=now):
            asked_at.append(now)
            recovery.handle_answer(asked, False, now=now)
    pauses = [later - earlier for earlier, later in pairwise(asked_at)]
    assert pauses == pytest.approx([1, 2, 4, 8, 10], abs=1.5 * PACKET_INTERVAL)
    assert pauses[0] >= ABSENCE_LIFETIME
    assert pauses[-1] >= MAX_ABSENCE_LIFETIME


def test_who_was_found_may_get_lost_again_at_once() -> None:
    recovery = new_recovery()
    recovery.note(client(1), now=0.0)
    recovery.poll_lookups(now=0.0)
    recovery.handle_answer(client(1), False, now=0.0)
    recovery.note(client(1), now=1.0)
    recovery.poll_lookups(now=1.0)
    recovery.handle_answer(client(1), True, now=1.0)
    recovery.note(client(1), now=1.1)
    assert recovery.poll_lookups(now=1.1) == [client(1)]
    recovery.handle_answer(client(1), False, now=1.1)
    recovery.note(client(1), now=2.2)
    assert recovery.poll_lookups(now=2.2) == [client(1)], "its absences count from new"


def test_an_answer_that_nobody_waits_for_any_more_still_counts() -> None:
    recovery = new_recovery()
    recovery.handle_answer(client(1), False, now=0.0)
    recovery.note(client(1), now=0.5)
    assert recovery.poll_lookups(now=0.5) == []
    recovery.handle_answer(client(1), True, now=0.6)
    recovery.note(client(1), now=0.7)
    assert recovery.poll_lookups(now=0.7) == [client(1)]


def test_all_calls_of_a_relay_are_asked_about_as_soon_as_it_is_back() -> None:
    recovery = new_recovery()
    asked: set[Client] = set()
    for turn in range(10):
        now = turn * POLL_INTERVAL
        for number in range(2000):
            if client(number) not in asked:
                recovery.note(client(number), now=now)
        asked.update(poll_all(recovery, now=now))
    assert len(asked) == 2000


@pytest.mark.slow
@pytest.mark.parametrize(("packets_each", "patience"), [(1, 0.15), (2, 1.0)])
def test_a_client_gets_its_turn_in_a_flood_that_the_directory_hardly_sees(
    packets_each: int, patience: float
) -> None:
    counters = Counters()
    recovery = new_recovery(counters)
    numbers = count()
    asked_at: dict[Client, float] = {}
    for turn in range(200):
        now = turn * POLL_INTERVAL
        # 100 000 packets a second from forged addresses, and those of the client anywhere among them.
        for packet in range(0, 1000, packets_each):
            if turn >= 100 and turn % 2 == 0 and packet == turn * 370 % 1000:
                recovery.note(client(1), now=now)
            number = next(numbers)
            for _ in range(packets_each):
                recovery.note(forged(number), now=now)
        for asked in poll_all(recovery, now=now):
            asked_at.setdefault(asked, now)
            recovery.handle_answer(asked, False, now=now)
    assert asked_at[client(1)] - 1.0 <= patience
    assert counters.snapshot().counts["lookups_asked"] <= LOOKUP_BURST + 2 * LOOKUP_RATE


@pytest.mark.slow
def test_memory_is_bounded_whoever_asks() -> None:
    recovery = new_recovery()
    for number in range(3 * ABSENCE_LIMIT):
        now = number / 1e4
        for _ in range(2):
            recovery.note(forged(number), now=now)
        assert len(recovery._pending) <= PENDING_LIMIT
        if number % 100 == 0:
            asked = poll_all(recovery, now=now)
            assert len(recovery._asked) <= LOOKUP_BURST + LOOKUP_RATE * ANSWER_SECONDS
            for each in asked[::2]:
                recovery.handle_answer(each, False, now=now)
    for number in range(2 * ABSENCE_LIMIT):
        recovery.handle_answer(forged(number), False, now=100.0)
    assert len(recovery._absent) == ABSENCE_LIMIT


def test_what_is_asked_and_answered_is_counted() -> None:
    counters = Counters()
    recovery = new_recovery(counters)
    for number in range(3):
        recovery.note(client(number), now=0.0)
    recovery.poll_lookups(now=0.0)
    recovery.handle_answer(client(0), True, now=0.0)
    recovery.handle_answer(client(1), False, now=0.0)
    counts = counters.snapshot().counts
    assert counts[Count.LOOKUPS_ASKED.value] == 3
    assert counts[Count.LOOKUPS_ANSWERED.value] == 2
    assert counts[Count.LOOKUPS_FOUND.value] == 1


clients = st.tuples(
    st.sampled_from([address_bytes("192.0.2.1"), address_bytes("2001:db8::1")]),
    st.integers(0, 0xFFFF),
    st.booleans(),
)


@given(clients, clients)
def test_each_client_has_a_key_of_its_own(one: Client, other: Client) -> None:
    assert (flow_key(one) == flow_key(other)) == (one == other)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from(["note", "poll", "yes", "no"]), st.integers(0, 5), st.floats(0, 3)),
        max_size=60,
    )
)
def test_nobody_is_asked_about_twice_before_the_answer_is_due(script: list[tuple[str, int, float]]) -> None:
    recovery = new_recovery()
    now = 0.0
    blocked_until: dict[Client, float] = {}
    noted: set[Client] = set()
    for what, number, pause in script:
        now += pause
        if what == "note":
            recovery.note(client(number), now=now)
            noted.add(client(number))
        elif what == "poll":
            batch = recovery.poll_lookups(now=now)
            assert len(set(batch)) == len(batch)
            assert set(batch) <= noted
            for asked in batch:
                assert blocked_until.get(asked, 0.0) <= now
                blocked_until[asked] = now + ANSWER_SECONDS
        else:
            recovery.handle_answer(client(number), what == "yes", now=now)
            blocked_until.pop(client(number), None)
