"""What every directory must do, run over each of them: a new one joins by a line in ``OPENERS``."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import attrs
import pytest
import trio
import trio.testing

from tests.directory.conftest import Pair, Redis
from voicegate.directory import (
    FLOW_ROW_SECONDS,
    Directory,
    MemoryDirectory,
    RelayLease,
    Snapshot,
    TransceiverLease,
    memory,
)
from voicegate.observability import Metrics

ONE: Final = TransceiverLease(hop=("10.0.0.1", 9000))
TWO: Final = TransceiverLease(hop=("10.0.0.2", 9000), peer=("10.0.0.2", 9443), region="eu", max_calls=100)
RELAY: Final = RelayLease(udp=(("203.0.113.1", 3478), ("2001:db8::1", 3478)), tcp=(("203.0.113.1", 443),))
OTHER_RELAY: Final = RelayLease(udp=(("203.0.113.2", 3478),), region="eu", is_draining=True)

Listed = Mapping[int, TransceiverLease]


@asynccontextmanager
async def open_memory_directory(_redis: Redis) -> AsyncIterator[Directory]:
    yield MemoryDirectory()


@asynccontextmanager
async def open_on_redis(redis: Redis) -> AsyncIterator[Directory]:
    async with redis.open() as opened:
        yield opened


@asynccontextmanager
async def open_through_another(redis: Redis) -> AsyncIterator[Directory]:
    """What one says, as another hears it."""
    async with redis.open() as writer, redis.open() as reader:
        yield Pair(writer=writer, reader=reader)


Opener = Callable[[Redis], AbstractAsyncContextManager[Directory]]
OPENERS: Final[dict[str, Opener]] = {
    "memory": open_memory_directory,
    "redis": open_on_redis,
    "redis, through another": open_through_another,
}


@pytest.fixture(params=OPENERS)
async def directory(request: Any, redis: Redis) -> AsyncIterator[Directory]:
    async with OPENERS[request.param](redis) as opened:
        with trio.fail_after(120):
            yield opened


async def wait_for(directory: Directory, expected: Listed) -> None:
    async for snapshot in directory.watch():
        if snapshot.transceivers == expected:
            break
    assert directory.snapshot().transceivers == expected


async def wait_for_relays(directory: Directory, expected: Mapping[str, RelayLease]) -> None:
    async for snapshot in directory.watch():
        if snapshot.relays == expected:
            break
    assert directory.snapshot().relays == expected


async def test_what_is_registered_is_listed_until_it_is_unregistered(directory: Directory) -> None:
    await wait_for(directory, {})
    directory.register(1, ONE)
    directory.register(2, TWO)
    await wait_for(directory, {1: ONE, 2: TWO})
    assert directory.snapshot().hops == {1: ("10.0.0.1", 9000), 2: ("10.0.0.2", 9000)}
    directory.unregister(1)
    await wait_for(directory, {2: TWO})


async def test_registering_again_replaces_the_lease(directory: Directory) -> None:
    directory.register(1, ONE)
    await wait_for(directory, {1: ONE})
    directory.register(1, TWO)
    await wait_for(directory, {1: TWO})


async def test_what_was_unregistered_may_be_registered_again(directory: Directory) -> None:
    directory.register(1, ONE)
    await wait_for(directory, {1: ONE})
    directory.unregister(1)
    await wait_for(directory, {})
    directory.register(1, TWO)
    await wait_for(directory, {1: TWO})


async def test_relays_are_listed_beside_the_transceivers(directory: Directory) -> None:
    directory.register(1, ONE)
    directory.register_relay("one", RELAY)
    directory.register_relay("other", RELAY)
    directory.register_relay("other", OTHER_RELAY)
    await wait_for_relays(directory, {"one": RELAY, "other": OTHER_RELAY})
    directory.unregister_relay("one")
    directory.unregister_relay("nobody")
    await wait_for_relays(directory, {"other": OTHER_RELAY})
    await wait_for(directory, {1: ONE})


async def test_a_claimed_id_carries_its_cluster_and_is_nobody_elses(directory: Directory) -> None:
    claimed = [await directory.claim(0xABC) for _ in range(20)]
    assert len(set(claimed)) == 20
    assert {id_ >> 20 for id_ in claimed} == {0xABC}
    assert await directory.claim(0) >> 20 == 0
    assert directory.snapshot() == Snapshot()


async def test_a_claimed_id_is_registered_as_any(directory: Directory) -> None:
    id_ = await directory.claim(7)
    directory.register(id_, ONE)
    await wait_for(directory, {id_: ONE})


async def test_a_watcher_gets_the_present_first_and_then_each_change(directory: Directory) -> None:
    directory.register(1, ONE)
    await wait_for(directory, {1: ONE})
    async with directory.watch() as snapshots:
        assert (await snapshots.receive()).transceivers == {1: ONE}
        directory.register(2, TWO)
        assert (await snapshots.receive()).transceivers == {1: ONE, 2: TWO}
        directory.register_relay("one", RELAY)
        assert (await snapshots.receive()).relays == {"one": RELAY}
        directory.unregister(1)
        assert (await snapshots.receive()).transceivers == {2: TWO}


async def test_what_changes_nothing_is_no_news(directory: Directory) -> None:
    directory.register(1, ONE)
    directory.register_relay("one", RELAY)
    await wait_for_relays(directory, {"one": RELAY})
    received: list[Listed] = []
    async with directory.watch() as snapshots, trio.open_nursery() as nursery:

        async def collect() -> None:
            received.append((await snapshots.receive()).transceivers)
            received.append((await snapshots.receive()).transceivers)

        nursery.start_soon(collect)
        await trio.testing.wait_all_tasks_blocked()
        assert received == [{1: ONE}]
        directory.register(1, ONE)
        directory.register_relay("one", RELAY)
        directory.unregister(2)
        await trio.testing.wait_all_tasks_blocked()
        assert received == [{1: ONE}]
        directory.unregister(1)
    assert received == [{1: ONE}, {}]


async def test_a_changed_load_is_in_the_snapshot_but_wakes_nobody(directory: Directory) -> None:
    directory.register(2, TWO)
    await wait_for(directory, {2: TWO})
    busy = attrs.evolve(TWO, calls=50)
    async with directory.watch() as snapshots:
        await snapshots.receive()
        directory.register(2, busy)
        while directory.snapshot().transceivers != {2: busy}:
            await trio.sleep(0.001)
        directory.register(1, ONE)
        assert (await snapshots.receive()).transceivers == {1: ONE, 2: busy}


async def test_a_slow_watcher_gets_the_latest_only(directory: Directory) -> None:
    async with directory.watch() as snapshots:
        await snapshots.receive()
        for port in range(1, 100):
            directory.register(1, TransceiverLease(hop=("10.0.0.1", port)))
        await wait_for(directory, {1: TransceiverLease(hop=("10.0.0.1", 99))})
        assert (await snapshots.receive()).hops == {1: ("10.0.0.1", 99)}


async def test_watchers_do_not_take_from_each_other(directory: Directory) -> None:
    async with directory.watch() as one, directory.watch() as other:
        assert await one.receive() == await other.receive() == Snapshot()
        directory.register(1, ONE)
        assert (await one.receive()).transceivers == (await other.receive()).transceivers == {1: ONE}


async def test_a_snapshot_never_changes(directory: Directory) -> None:
    directory.register(1, ONE)
    directory.register_relay("one", RELAY)
    await wait_for_relays(directory, {"one": RELAY})
    snapshot = directory.snapshot()
    directory.register(1, TWO)
    directory.register(2, TWO)
    directory.unregister_relay("one")
    await wait_for(directory, {1: TWO, 2: TWO})
    assert snapshot == Snapshot(transceivers={1: ONE}, relays={"one": RELAY})
    with pytest.raises(TypeError):
        snapshot.transceivers[3] = ONE  # type: ignore[index]
    with pytest.raises(TypeError):
        snapshot.relays["other"] = RELAY  # type: ignore[index]


async def test_a_scrape_tells_how_many_are_listed(directory: Directory) -> None:
    directory.register(1, ONE)
    directory.register_relay("one", RELAY)
    await wait_for_relays(directory, {"one": RELAY})
    metrics = Metrics()
    directory.report(metrics)
    rendered = metrics.render().decode()
    assert "voicegate_directory_transceivers 1.0" in rendered
    assert "voicegate_directory_relays 1.0" in rendered


async def test_a_closed_watch_gives_nothing_more_even_to_whom_it_owes_something(directory: Directory) -> None:
    snapshots = directory.watch()
    await snapshots.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await snapshots.receive()


async def test_closing_a_watch_wakes_whoever_waits_on_it(directory: Directory) -> None:
    snapshots, other = directory.watch(), directory.watch()
    await snapshots.receive()
    await other.receive()
    woken: list[str] = []

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await snapshots.receive()
        woken.append("closed")

    async def wait_for_news() -> None:
        await other.receive()
        woken.append("news")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait_for_news)
        await trio.testing.wait_all_tasks_blocked()
        await snapshots.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert woken == ["closed"]
        directory.register(1, ONE)
    assert woken == ["closed", "news"]


# Flow rows


async def wait_for_flows(directory: Directory, expected: dict[bytes, int]) -> None:
    """Wait until of three keys these are known."""
    while await directory.find_flows([b"one", b"two", b"three"]) != expected:
        await trio.sleep(0.001)


async def test_flows_are_found_as_they_were_written_last_until_they_are_deleted(directory: Directory) -> None:
    await wait_for_flows(directory, {})
    directory.write_flows({b"one": 1, b"two": 2})
    await wait_for_flows(directory, {b"one": 1, b"two": 2})
    directory.write_flows({b"one": 7, b"two": None, b"three": 0})
    await wait_for_flows(directory, {b"one": 7, b"three": 0})


async def test_deleting_a_flow_that_is_not_there_does_nothing(directory: Directory) -> None:
    directory.write_flows({b"one": None})
    directory.write_flows({})
    directory.write_flows({b"two": 2})
    await wait_for_flows(directory, {b"two": 2})


async def test_only_the_flows_asked_for_are_told(directory: Directory) -> None:
    directory.write_flows({b"one": 1, b"two": 2})
    await wait_for_flows(directory, {b"one": 1, b"two": 2})
    assert await directory.find_flows([b"two", b"two"]) == {b"two": 2}
    assert await directory.find_flows([]) == {}


async def test_flows_do_not_depend_on_what_is_registered(directory: Directory) -> None:
    directory.write_flows({b"one": 1})
    directory.register(1, ONE)
    await wait_for(directory, {1: ONE})
    directory.unregister(1)
    await wait_for(directory, {})
    await wait_for_flows(directory, {b"one": 1})


# The directory of a process


async def test_a_flow_row_lives_as_long_as_it_is_renewed(autojump_clock: trio.testing.MockClock) -> None:
    directory = MemoryDirectory()
    directory.write_flows({b"one": 1, b"two": 2})
    await trio.sleep(FLOW_ROW_SECONDS - 1)
    directory.write_flows({b"one": 1})
    assert await directory.find_flows([b"one", b"two"]) == {b"one": 1, b"two": 2}
    await trio.sleep(1)
    assert await directory.find_flows([b"one", b"two"]) == {b"one": 1}
    await trio.sleep(FLOW_ROW_SECONDS - 1)
    assert await directory.find_flows([b"one", b"two"]) == {}


async def test_the_oldest_flow_rows_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "FLOW_ROW_LIMIT", 2)
    directory = MemoryDirectory()
    directory.write_flows({b"one": 1, b"two": 2})
    directory.write_flows({b"one": 1, b"three": 3})
    assert await directory.find_flows([b"one", b"two", b"three"]) == {b"one": 1, b"three": 3}


async def test_flow_rows_that_expired_leave_nothing(autojump_clock: trio.testing.MockClock) -> None:
    directory = MemoryDirectory()
    directory.write_flows({bytes((number,)): number for number in range(100)})
    await trio.sleep(FLOW_ROW_SECONDS)
    directory.write_flows({b"one": 1})
    assert list(directory._flows) == [b"one"]
