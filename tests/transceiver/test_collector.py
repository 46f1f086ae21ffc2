import gc
import time
from collections.abc import Iterator
from itertools import count
from math import inf

import pytest
import trio
from trio.testing import MockClock

from voicegate.transceiver import collector as module
from voicegate.transceiver.collector import Collector, open_collector


class Node:
    """Something that only a collection frees."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def collector() -> Iterator[Collector]:
    with open_collector() as collector:
        yield collector


def counted(collector: Collector, kind: str) -> float:
    return collector.pauses[kind].buckets()[-1][1]


@pytest.mark.parametrize("was_enabled", [True, False])
def test_afterwards_everything_is_as_it_was(was_enabled: bool) -> None:
    was, callbacks = gc.isenabled(), list(gc.callbacks)
    (gc.enable if was_enabled else gc.disable)()
    try:
        with open_collector():
            assert not gc.isenabled()
            assert gc.get_freeze_count() > 0
        assert gc.isenabled() == was_enabled
        assert gc.get_freeze_count() == 0
        assert gc.callbacks == callbacks
    finally:
        (gc.enable if was else gc.disable)()


async def test_garbage_goes_when_there_is_time(collector: Collector) -> None:
    gone = counted(collector, "young")
    for _ in range(5000):
        Node()
    collector.collect(until=trio.current_time() + 1, is_idle=False)
    assert collector.collected["young"] >= 5000
    assert counted(collector, "young") == gone + 1


async def test_little_garbage_soon_after_the_last_is_no_reason(
    collector: Collector, autojump_clock: MockClock
) -> None:
    collector.collect(until=inf, is_idle=False)
    before = counted(collector, "young")
    for _ in range(100):
        Node()
    collector.collect(until=inf, is_idle=False)
    assert counted(collector, "young") == before
    await trio.sleep(10)
    collector.collect(until=inf, is_idle=False)
    assert collector.collected["young"] >= 100


async def test_garbage_waits_for_a_gap_but_not_for_long(collector: Collector) -> None:
    collector.collect(until=inf, is_idle=False)
    before = counted(collector, "young")
    for _ in range(3000):
        Node()
    collector.collect(until=trio.current_time() + 0.0005, is_idle=False)
    assert counted(collector, "young") == before
    for _ in range(1000):
        Node()
    collector.collect(until=0.0, is_idle=False)
    assert collector.collected["young"] >= 4000


@pytest.mark.parametrize(("pause", "least", "most"), [(0.002, 200, 1000), (0.0001, 1, 5)])
async def test_collections_that_take_long_come_more_often(
    pause: float,
    least: int,
    most: int,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
) -> None:
    readings = count(0.0, pause)
    monkeypatch.setattr(time, "perf_counter", lambda: next(readings))
    before = counted(collector, "young")
    for _ in range(1000):
        await trio.sleep(0.01)
        collector.collect(until=inf, is_idle=False)
    assert least <= counted(collector, "young") - before <= most


async def test_what_survives_is_not_looked_at_again(collector: Collector) -> None:
    nodes = [Node() for _ in range(5000)]
    collector.collect(until=inf, is_idle=False)
    frozen = gc.get_freeze_count()
    assert frozen >= 5000
    nodes.clear()
    for _ in range(5000):
        Node()
    collector.collect(until=inf, is_idle=False)
    assert collector.collected["young"] < 10_000, "the old ones are set aside"


async def test_what_was_set_aside_and_went_by_itself_brings_about_no_full_collection(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_ASIDE", 30_000)
    before = counted(collector, "full")
    for _ in range(10):
        kept = [[index] for index in range(5000)]
        collector.collect(until=inf, is_idle=False)
        kept.clear()
    assert counted(collector, "full") == before


@pytest.mark.slow
@pytest.mark.parametrize("is_idle", [True, False])
async def test_everything_is_looked_at_when_much_was_set_aside(
    is_idle: bool, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_ASIDE_IDLE" if is_idle else "_MAX_ASIDE", 12_000)
    before = counted(collector, "full")
    for _ in range(2):
        nodes = [Node() for _ in range(5000)]
        collector.collect(until=inf, is_idle=is_idle)
        assert counted(collector, "full") == before
        nodes.clear()
    nodes = [Node() for _ in range(5000)]
    collector.collect(until=inf, is_idle=is_idle)
    assert collector.collected["full"] >= 10_000
    assert counted(collector, "full") == before + 1
