import mmap
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import UsageError
from voicegate.relay.counter import Count, Counters, DropReason, RelayStatistics

COUNTED = [*DropReason, *Count]


@given(st.lists(st.tuples(st.sampled_from(COUNTED), st.integers(1, 1000))))
def test_each_count_is_found_under_its_name_and_nowhere_else(
    counted: list[tuple[DropReason | Count, int]],
) -> None:
    counters = Counters()
    expected = {(type(what), what.value): 0 for what in COUNTED}
    for what, n in counted:
        counters.add(what, n)
        expected[type(what), what.value] += n
    statistics = counters.snapshot()
    assert statistics.dropped == {key: n for (kind, key), n in expected.items() if kind is DropReason}
    assert statistics.counts == {key: n for (kind, key), n in expected.items() if kind is Count}
    assert statistics.batch_sizes.observations == statistics.queueing.observations == 0


def test_a_count_is_one_unless_told() -> None:
    counters = Counters()
    counters.add(Count.CHECKS_VERIFIED)
    assert counters.snapshot().counts["checks_verified"] == 1


@pytest.mark.parametrize(
    ("datagrams", "bucket"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (255, 8), (256, 8), (257, 9)]
)
def test_a_batch_is_counted_below_the_next_power_of_two(datagrams: int, bucket: int) -> None:
    counters = Counters()
    counters.observe_batch(datagrams)
    sizes = counters.snapshot().batch_sizes
    assert list(sizes.bounds) == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert sizes.counts.index(1) == bucket
    assert (sizes.observations, sizes.total) == (1, datagrams)


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, 0), (50e-6, 0), (51e-6, 1), (1.0, 15), (60.0, 16)])
def test_time_in_the_kernel_is_counted_below_the_next_bound(seconds: float, bucket: int) -> None:
    counters = Counters()
    counters.observe_queueing(seconds)
    queueing = counters.snapshot().queueing
    assert queueing.bounds[0] == 50e-6
    assert queueing.bounds[-1] > 1
    assert queueing.counts.index(1) == bucket
    assert queueing.total == pytest.approx(seconds)


def test_who_shares_the_memory_sees_the_counts() -> None:
    memory = mmap.mmap(-1, Counters.SIZE)
    writer, reader = Counters(memory), Counters(memory)
    writer.add(DropReason.GARBAGE, 3)
    writer.set(Count.FLOWS, 7)
    writer.observe_batch(9)
    writer.observe_queueing(0.5)
    assert reader.snapshot() == writer.snapshot()
    assert reader.snapshot().dropped["garbage"] == 3
    assert reader.snapshot().counts["flows"] == 7


def test_memory_that_is_too_small_is_refused() -> None:
    with pytest.raises(UsageError, match="too few"):
        Counters(bytearray(Counters.SIZE - 1))


def test_what_several_workers_counted_adds_up() -> None:
    one, other = Counters(), Counters()
    for counters in (one, other, other):
        counters.add(DropReason.NO_FLOW)
        counters.add(Count.FLOWS_OPENED, 2)
        counters.set(Count.FLOWS, 5)
        counters.observe_batch(2)
        counters.observe_queueing(1.0)
    total = RelayStatistics.total([one.snapshot(), other.snapshot()])
    assert total.dropped["no_flow"] == 3
    assert (total.counts["flows_opened"], total.counts["flows"]) == (6, 10)
    assert (total.batch_sizes.counts[1], total.batch_sizes.total) == (3, 6)
    assert (total.queueing.observations, total.queueing.total) == (3, 3.0)


def test_no_workers_counted_nothing_of_everything() -> None:
    total = RelayStatistics.total([])
    assert total == Counters().snapshot()
    assert set(total.dropped) == {reason.value for reason in DropReason}
    assert not any(chain(total.dropped.values(), total.counts.values()))


def test_the_counts_of_the_dead_are_kept_but_what_they_had_open_is_not() -> None:
    counters = Counters()
    counters.add(Count.STREAMS_OPENED, 2)
    counters.set(Count.STREAMS, 2)
    counters.set(Count.FLOWS, 1)
    counters.observe_batch(1)
    taken = counters.take()
    assert (taken.counts["streams_opened"], taken.counts["streams"], taken.counts["flows"]) == (2, 0, 0)
    assert taken.batch_sizes.observations == 1
    assert counters.snapshot() == Counters().snapshot()
