import gc
from collections.abc import Iterator
from math import inf

import pytest
import trio

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


async def test_little_garbage_and_little_time_are_no_reason(collector: Collector) -> None:
    for _ in range(100):
        Node()
    collector.collect(until=inf, is_idle=False)
    for _ in range(5000):
        Node()
    collector.collect(until=trio.current_time() + 0.001, is_idle=False)
    assert counted(collector, "young") == 0


@pytest.mark.slow
async def test_much_garbage_waits_for_no_gap(collector: Collector) -> None:
    for _ in range(60_000):
        Node()
    collector.collect(until=0.0, is_idle=False)
    assert collector.collected["young"] >= 60_000


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
