"""``voicegate bench calls`` as a shell runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from tests.bench.call_measurement import make_call_measurement
from tests.bench.test_command import descendants
from tests.command_line import run_here
from tests.test_cli import is_alive, run
from voicegate.bench import calls
from voicegate.bench.call_figure import CallConditions, CallMeasurement

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--seconds", "0"), "--seconds is at least 0.5"),
        (("--calls", "0"), "--calls: from 1 to 4000"),
        (("--calls", "4001"), "--calls: from 1 to 4000"),
        (("--json", "nowhere/figures.json"), "there is no folder nowhere"),
        (("--png", "nowhere/chart.png"), "there is no folder nowhere"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(options: tuple[str, ...], fault: str) -> None:
    status, said = run_here("bench", "calls", *options)
    assert status == 2
    assert said.startswith("voicegate: ")
    assert said.count("\n") == 1
    assert fault in said


def test_a_compiler_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    status, said = run("bench", "calls")
    assert status == 2
    assert said == "voicegate: gcc is missing: apt install gcc libc6-dev\n"


def test_help_names_the_options() -> None:
    status, said = run("bench", "calls", "--help")
    assert status == 0
    for option in ("--series", "--seconds", "--calls", "--direct", "--quick", "--png", "--json"):
        assert option in said


def test_figures_and_chart_are_written(tmp_path: Path) -> None:
    figures, chart = tmp_path / "figures.json", tmp_path / "chart.png"
    conditions = ("--quick", "--series", "echo", "--calls", "3", "--seconds", "0.5")
    status, said = run("bench", "calls", *conditions, "--json", str(figures), "--png", str(chart))
    assert status == 0, said
    assert "of 3" in said
    written = json.loads(figures.read_text())
    assert not written["conditions"]["is_direct"]
    (series,) = written["series"]
    assert (series["series"], len(series["floors"])) == ("echo", 2)
    (step,) = series["steps"]
    assert (step["calls"], step["damaged"], step["failure"]) == (3, 0, "")
    assert step["frames"] > 0
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_the_way_without_a_relay_is_taken_on_demand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def measure(conditions: CallConditions, *, advance: Callable[[], None]) -> CallMeasurement:
        await trio.lowlevel.checkpoint()
        return make_call_measurement(conditions)

    monkeypatch.setattr(calls, "measure_calls", measure)
    figures = tmp_path / "figures.json"
    status, said = run_here("bench", "calls", "--quick", "--direct", "--json", str(figures))
    assert status == 0, said
    assert json.loads(figures.read_text())["conditions"]["is_direct"]


def test_ctrl_c_ends_it_with_all_that_it_started() -> None:
    command = [sys.executable, "-m", "voicegate", "bench", "calls", "--calls", "2", "--seconds", "60"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0) as bench:
        while len(started := descendants(bench.pid)) < 4:  # floor meter, server, its relay, the generator
            assert bench.poll() is None
            time.sleep(0.05)
        os.killpg(bench.pid, signal.SIGINT)
        _, said = bench.communicate(timeout=240)
    assert bench.returncode == 130
    assert "Traceback" not in said
    while any(is_alive(pid) for pid in started):
        time.sleep(0.05)
