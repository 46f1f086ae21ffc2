"""``voicegate bench`` as a shell runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command_line import run_here
from tests.processes import children
from tests.test_cli import is_alive, run

pytestmark = pytest.mark.slow


def descendants(pid: int) -> list[int]:
    try:
        return [found for child in children(pid) for found in (child, *descendants(child))]
    except (FileNotFoundError, ProcessLookupError):  # a process that ended while it was looked at
        return []


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--rows", "Q"), "'Q' is no row"),
        (("--rows", "E", "--browser", "firefox"), "it can show none of the rows E"),
        (("--runs", "0"), "--runs: at least 1"),
        (("--loss", "100"), "--loss is from 0 to below 100"),
        (("--rtt-ms", "-1"), "--rtt-ms is not negative"),
        (("--json", "nowhere/figures.json"), "there is no folder nowhere"),
        (("--png", "nowhere/chart.png"), "there is no folder nowhere"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(options: tuple[str, ...], fault: str) -> None:
    status, said = run_here("bench", "setup", *options)
    assert status == 2
    assert said.startswith("voicegate: ")
    assert said.count("\n") == 1
    assert fault in said


def test_a_browser_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    status, said = run("bench", "setup", "--browser", "chromium", "--rows", "S", "--no-reference")
    assert status == 2
    assert "apt install chromium" in said
    assert "Traceback" not in said


def test_help_names_the_options() -> None:
    status, said = run("bench", "setup", "--help")
    assert status == 0
    for option in (
        "--rtt-ms",
        "--loss",
        "--runs",
        "--rows",
        "--browser",
        "--no-reference",
        "--png",
        "--json",
    ):
        assert option in said


@pytest.mark.interop
def test_ctrl_c_ends_it_with_all_that_it_started(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "voicegate", "bench", "setup", "--browser", "chromium", "--rows", "S"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0) as bench:
        while len(started := descendants(bench.pid)) < 4:  # two servers, a relay, a browser
            assert bench.poll() is None
            time.sleep(0.05)
        os.killpg(bench.pid, signal.SIGINT)
        _, said = bench.communicate(timeout=240)
    assert bench.returncode == 130
    assert "Traceback" not in said
    while any(is_alive(pid) for pid in started):
        time.sleep(0.05)


@pytest.mark.interop
def test_figures_and_chart_are_written(tmp_path: Path) -> None:
    figures, chart = tmp_path / "figures.json", tmp_path / "chart.png"
    conditions = ("--browser", "chromium", "--rows", "S", "--runs", "1", "--rtt-ms", "20", "--no-reference")
    status, said = run("bench", "setup", *conditions, "--json", str(figures), "--png", str(chart))
    assert status == 0, said
    assert "round trip 20 ms, no loss, 1 run" in said
    (series,) = json.loads(figures.read_text())["series"]
    assert (series["row"], series["browser"], series["server"]) == ("S", "chromium", "voicegate")
    assert series["successes"] == 1
    assert chart.read_bytes().startswith(b"\x89PNG")
