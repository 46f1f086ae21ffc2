import signal
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from voicegate.cli.run import PROGRESS_SECONDS, Running, run_until_signal

SECONDS = 60.0


class FakeServer:
    """Has calls until it is told that they are over."""

    url = "http://127.0.0.1:1/"

    def __init__(self, calls: int = 2) -> None:
        self.calls = calls
        self.drained: list[float] = []
        self.is_over = trio.Event()
        self.has_ended = False

    async def drain(self, seconds: float) -> bool:
        self.drained.append(seconds)
        with trio.move_on_after(seconds):
            await self.is_over.wait()
        return self.is_over.is_set()

    async def calls_left(self) -> int:
        return self.calls

    def describe(self) -> str:
        return "here"

    async def run(self, *, task_status: trio.TaskStatus[Running]) -> None:
        task_status.started(self)
        try:
            await trio.sleep_forever()
        finally:
            self.has_ended = True


class Terminal:
    """Sends signals to what runs under it."""

    def __init__(self, nursery: trio.Nursery, server: FakeServer, *, seconds: float = SECONDS) -> None:
        self.server = server
        self.ended_at: float | None = None
        self.greeted: list[Running] = []
        self._send, self._signals = trio.open_memory_channel[int](10)
        nursery.start_soon(self._run, seconds)

    async def signal(self, number: int) -> None:
        await self._send.send(number)
        await wait_all_tasks_blocked()

    async def _run(self, seconds: float) -> None:
        await run_until_signal(
            self.server.run, self._numbers(), drain_seconds=seconds, greet=self.greeted.append
        )
        self.ended_at = trio.current_time()

    async def _numbers(self) -> AsyncIterator[int]:
        async for number in self._signals:
            yield number


async def test_ctrl_c_ends_it_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        terminal = Terminal(nursery, FakeServer())
        await wait_all_tasks_blocked()
        assert terminal.greeted == [terminal.server]
        await terminal.signal(signal.SIGINT)
        assert terminal.server.has_ended
        assert terminal.server.drained == []


async def test_sigterm_ends_it_when_the_last_call_is_over(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async with trio.open_nursery() as nursery:
        terminal = Terminal(nursery, FakeServer())
        await wait_all_tasks_blocked()
        start = trio.current_time()
        await terminal.signal(signal.SIGTERM)
        assert terminal.server.drained == [SECONDS]
        await trio.sleep(1.5 * PROGRESS_SECONDS)
        assert not terminal.server.has_ended
        terminal.server.is_over.set()
    assert terminal.ended_at == pytest.approx(start + 1.5 * PROGRESS_SECONDS)
    assert capsys.readouterr().err == (
        "draining: 2 left, for 60 s at most; another signal ends it at once\n"
        "draining: 2 left, for 55 s at most; another signal ends it at once\n"
    )


async def test_sigterm_ends_it_at_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        terminal = Terminal(nursery, FakeServer())
        await wait_all_tasks_blocked()
        await terminal.signal(signal.SIGTERM)
    assert terminal.ended_at == pytest.approx(start + SECONDS)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
async def test_a_second_signal_ends_a_drain(autojump_clock: trio.testing.MockClock, second: int) -> None:
    async with trio.open_nursery() as nursery:
        terminal = Terminal(nursery, FakeServer())
        await wait_all_tasks_blocked()
        start = trio.current_time()
        await terminal.signal(signal.SIGTERM)
        await terminal.signal(second)
        assert terminal.server.has_ended
    assert terminal.ended_at == start


async def test_without_time_to_drain_sigterm_is_as_ctrl_c(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        terminal = Terminal(nursery, FakeServer(), seconds=0)
        await wait_all_tasks_blocked()
        await terminal.signal(signal.SIGTERM)
        assert terminal.server.has_ended
        assert terminal.server.drained == []


async def test_a_signal_ends_what_has_not_started_yet(autojump_clock: trio.testing.MockClock) -> None:
    class Slow(FakeServer):
        async def run(self, *, task_status: trio.TaskStatus[Running]) -> None:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        terminal = Terminal(nursery, Slow())
        await wait_all_tasks_blocked()
        await terminal.signal(signal.SIGTERM)
    assert terminal.greeted == []


async def test_nothing_is_said_of_no_calls(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async with trio.open_nursery() as nursery:
        terminal = Terminal(nursery, FakeServer(calls=0))
        await wait_all_tasks_blocked()
        await terminal.signal(signal.SIGTERM)
        terminal.server.is_over.set()
    assert capsys.readouterr().err == ""
