"""What every directory must do, run over each of them: a new one joins by a line in ``OPENERS``."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import pytest
import trio
import trio.testing

from voicegate.directory import Directory, MemoryDirectory, Snapshot

ONE: Final = ("10.0.0.1", 9000)
TWO: Final = ("10.0.0.2", 9000)


@asynccontextmanager
async def open_memory_directory() -> AsyncIterator[Directory]:
    yield MemoryDirectory()


Opener = Callable[[], AbstractAsyncContextManager[Directory]]
OPENERS: Final[dict[str, Opener]] = {"memory": open_memory_directory}


@pytest.fixture(params=OPENERS)
async def directory(request: Any) -> AsyncIterator[Directory]:
    async with OPENERS[request.param]() as opened:
        with trio.fail_after(120):
            yield opened


async def wait_for(directory: Directory, expected: dict[int, tuple[str, int]]) -> None:
    async for snapshot in directory.watch():
        if snapshot == expected:
            break
    assert directory.transceivers() == expected


async def test_what_is_registered_is_listed_until_it_is_unregistered(directory: Directory) -> None:
    await wait_for(directory, {})
    directory.register(1, ONE)
    directory.register(2, TWO)
    await wait_for(directory, {1: ONE, 2: TWO})
    directory.unregister(1)
    await wait_for(directory, {2: TWO})


async def test_registering_again_replaces_the_address(directory: Directory) -> None:
    directory.register(1, ONE)
    await wait_for(directory, {1: ONE})
    directory.register(1, TWO)
    await wait_for(directory, {1: TWO})


async def test_a_watcher_gets_the_present_first_and_then_each_change(directory: Directory) -> None:
    directory.register(1, ONE)
    await wait_for(directory, {1: ONE})
    async with directory.watch() as snapshots:
        assert await snapshots.receive() == {1: ONE}
        directory.register(2, TWO)
        assert await snapshots.receive() == {1: ONE, 2: TWO}
        directory.unregister(1)
        assert await snapshots.receive() == {2: TWO}


async def test_what_changes_nothing_is_no_news(directory: Directory) -> None:
    directory.register(1, ONE)
    await wait_for(directory, {1: ONE})
    received: list[Snapshot] = []
    async with directory.watch() as snapshots, trio.open_nursery() as nursery:

        async def collect() -> None:
            received.extend([await snapshots.receive(), await snapshots.receive()])

        nursery.start_soon(collect)
        directory.register(1, ONE)
        directory.unregister(2)
        await trio.testing.wait_all_tasks_blocked()
        assert received == []
        directory.unregister(1)
    assert received == [{1: ONE}, {}]


async def test_a_slow_watcher_gets_the_latest_only(directory: Directory) -> None:
    async with directory.watch() as snapshots:
        await snapshots.receive()
        for port in range(1, 100):
            directory.register(1, ("10.0.0.1", port))
        await wait_for(directory, {1: ("10.0.0.1", 99)})
        assert await snapshots.receive() == {1: ("10.0.0.1", 99)}


async def test_watchers_do_not_take_from_each_other(directory: Directory) -> None:
    async with directory.watch() as one, directory.watch() as other:
        assert await one.receive() == await other.receive() == {}
        directory.register(1, ONE)
        assert await one.receive() == await other.receive() == {1: ONE}


async def test_a_snapshot_never_changes(directory: Directory) -> None:
    directory.register(1, ONE)
    await wait_for(directory, {1: ONE})
    snapshot = directory.transceivers()
    directory.register(1, TWO)
    directory.register(2, TWO)
    await wait_for(directory, {1: TWO, 2: TWO})
    assert snapshot == {1: ONE}
    with pytest.raises(TypeError):
        snapshot[3] = ONE  # type: ignore[index]


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
