"""Many calls at once, with real servers."""

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from voicegate.bench import callee as bench_callee
from voicegate.bench import compiler
from voicegate.bench.call_figure import CallConditions
from voicegate.bench.callee import Callee, Series, open_callee, require_callees
from voicegate.bench.calls import count_steps, measure_calls
from voicegate.bench.floor import open_floor_meter
from voicegate.bench.frame import Recording, judge
from voicegate.bench.server import BenchError
from voicegate.bench.switchboard import Switchboard, open_switchboard
from voicegate.bench.voice import PAYLOADS
from voicegate.errors import UsageError

PROCESSOR = min(os.sched_getaffinity(0))
SOURCES = Path(__file__).parents[2] / "voicegate" / "bench" / "reference"
CALLS = 4
SECONDS = 2.0
"""Longer than a stall."""


@asynccontextmanager
async def open_calls(
    series: Series, folder: Path, *, is_direct: bool = False
) -> AsyncIterator[tuple[Callee, Switchboard]]:
    async with (
        open_callee(series, processor=PROCESSOR, relay_processor=PROCESSOR, is_direct=is_direct) as callee,
        open_switchboard(callee, folder, processor=PROCESSOR) as switchboard,
    ):
        yield callee, switchboard


@pytest.mark.parametrize("source", ["calls.c", "floor.c"])
def test_the_programs_are_compiled_without_a_warning(tmp_path: Path, source: str) -> None:
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(tmp_path / "program")]
    subprocess.run([*command, str(SOURCES / source), "-lcrypto"], check=True, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("series", "is_direct"), [(Series.ECHO, False), (Series.ECHO, True), (Series.AIORTC, False)]
)
async def test_calls_are_set_up_talk_and_are_hung_up(tmp_path: Path, series: Series, is_direct: bool) -> None:
    with trio.fail_after(300):
        async with open_calls(series, tmp_path, is_direct=is_direct) as (callee, switchboard):
            assert callee.resident > 1_000_000
            await switchboard.call(CALLS)
            for calls in (CALLS, CALLS - 2):
                await switchboard.hang_up(switchboard.count - calls)
                recording = await switchboard.run(warm_up=0.5, seconds=SECONDS)
                check(recording, calls, processes=1 + len(callee.relays))


def check(recording: Recording, calls: int, *, processes: int) -> None:
    assert len(recording.calls) == calls
    assert recording.seconds > 0.9 * SECONDS
    assert recording.sent > 0
    assert (recording.refused, recording.damaged, recording.undelivered) == (0, 0, 0)
    assert len(recording.cpu) == processes
    assert all(seconds >= 0 for seconds in recording.cpu)
    assert 0 <= recording.late_p99 <= recording.late_max + 1e-5
    verdict = judge(recording, limit=60.0, payloads=PAYLOADS, is_verbatim=False)
    assert (verdict.calls, verdict.late, verdict.unheard) == (calls, 0, [])
    assert set(recording.records["call"]) == set(recording.calls)
    assert verdict.frames > verdict.lost
    assert verdict.percentile(0.5) <= verdict.percentile(0.99) <= verdict.percentile(1.0)


@pytest.mark.slow
async def test_a_measurement_has_all_its_steps() -> None:
    conditions = CallConditions(
        series=(Series.ECHO, Series.AIORTC),
        seconds=SECONDS,
        warm_up=0.5,
        calls=3,
        idle_calls=2,
        floor_seconds=0.1,
    )
    before = os.sched_getaffinity(0)
    steps: list[None] = []
    with trio.fail_after(300):
        measurement = await measure_calls(conditions, advance=lambda: steps.append(None))
    assert len(steps) == count_steps(conditions)
    assert os.sched_getaffinity(0) == before
    assert [figures.series for figures in measurement.figures] == [Series.ECHO, Series.AIORTC]
    for figures in measurement.figures:
        (step,) = figures.steps
        assert step is figures.below
        assert (step.calls, step.failure) == (3, "")
        assert step.frames > 0
        assert 0 < step.cpu < 2 * step.seconds
        assert (step.relay_cpu > 0) == (figures.series is Series.ECHO)
        assert figures.idle is not None
        assert figures.idle.calls == 2
        assert all(floor.p50 <= floor.p99 <= floor.p999 <= floor.max for floor in figures.floors)


@pytest.mark.slow
async def test_a_ramp_ends_and_is_followed_by_a_run_below_it() -> None:
    conditions = CallConditions(
        series=(Series.ECHO,), seconds=0.5, warm_up=0.5, idle_calls=0, floor_seconds=0.1, growth=3.0, steps=2
    )
    steps: list[None] = []
    with trio.fail_after(300):
        measurement = await measure_calls(conditions, advance=lambda: steps.append(None))
    assert len(steps) == count_steps(conditions)
    (figures,) = measurement.figures
    assert 1 <= len(figures.steps) <= 2
    assert figures.idle is None
    assert (figures.below is not None) == (figures.ceiling > 0)


@pytest.mark.slow
async def test_a_server_that_is_gone_is_told(tmp_path: Path) -> None:
    callee = Callee(url="http://127.0.0.1:9", pid=os.getpid())
    with trio.fail_after(60):
        async with open_switchboard(callee, tmp_path, processor=PROCESSOR) as switchboard:
            with pytest.raises(BaseExceptionGroup) as raised:
                await switchboard.call(1)
    assert raised.group_contains(BenchError, match="no answer")


@pytest.mark.slow
async def test_floors_are_measured(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_floor_meter(tmp_path, processor=PROCESSOR) as meter:
            floor = await meter.measure(0.2)
    assert floor.wakes == 40
    assert 0 <= floor.p50 <= floor.p99 <= floor.p999 <= floor.max


def test_headers_that_are_missing_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiler, "_HEADERS", tmp_path / "evp.h")
    with pytest.raises(UsageError, match="apt install libssl-dev"):
        compiler.require_tools(has_openssl=True)
    compiler.require_tools()


def test_without_aiortc_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_callee, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="--series echo transcode"):
        require_callees([Series.ECHO, Series.AIORTC])
    require_callees([Series.ECHO])
