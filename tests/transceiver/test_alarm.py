from math import inf
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from voicegate.transceiver import alarm as module
from voicegate.transceiver.alarm import Alarm


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@pytest.fixture(params=[True, False], ids=["timerfd", "trio"])
def has_timer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(module, "_HAS_TIMER", request.param and module._HAS_TIMER)
    return bool(request.param)


async def test_it_rings_at_its_deadline_on_a_virtual_clock(
    has_timer: bool, autojump_clock: MockClock
) -> None:
    with Alarm() as alarm:
        for _ in range(3):
            alarm.set(trio.current_time() + 7.25)
            await alarm.wait()
            assert trio.current_time() == alarm.deadline


async def test_it_never_rings_too_early_on_a_real_clock(has_timer: bool) -> None:
    with Alarm() as alarm:
        for _ in range(20):
            alarm.set(trio.current_time() + 0.001)
            await alarm.wait()
            # The timer counts nanoseconds, and a float of seconds does not quite.
            assert trio.current_time() >= alarm.deadline - 1e-7


@pytest.mark.parametrize(("first", "second"), [(5.0, 3.0), (3.0, 5.0), (inf, 4.0), (0.0, 0.0)])
async def test_it_can_be_set_anew_while_somebody_waits(
    first: float, second: float, has_timer: bool, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    rang: list[float] = []
    began = trio.current_time()

    async def wait() -> None:
        await alarm.wait()
        rang.append(trio.current_time() - began)

    with Alarm() as alarm:
        alarm.set(began + first)
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        alarm.set(began + second)
        await trio.sleep(10)
    assert rang == [pytest.approx(second)]


async def test_it_leaves_no_descriptor_behind(has_timer: bool) -> None:
    before = descriptors()
    with Alarm() as alarm:
        alarm.set(trio.current_time())
        await alarm.wait()
    assert descriptors() == before
