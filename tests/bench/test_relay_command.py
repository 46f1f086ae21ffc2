"""``voicegate bench relay`` as a shell runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench.test_command import descendants
from tests.command_line import run_here
from tests.test_cli import is_alive, run

pytestmark = pytest.mark.slow

MOMENT = (
    "--flows",
    "5",
    "--rates",
    "0",
    "300",
    "--seconds",
    "0.1",
    "--repeats",
    "1",
    "--memory-flows",
    "500",
)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--flows", "0"), "--flows: from 1 to 100000"),
        (("--flows", "100001"), "--flows: from 1 to 100000"),
        (("--rates", "-1"), "--rates: not negative"),
        (("--seconds", "0"), "--seconds is at least 0.05"),
        (("--repeats", "0"), "--repeats at least 1"),
        (("--memory-flows", "-1"), "--memory-flows: not negative"),
        (("--json", "nowhere/figures.json"), "there is no folder nowhere"),
        (("--png", "nowhere/chart.png"), "there is no folder nowhere"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(options: tuple[str, ...], fault: str) -> None:
    status, said = run_here("bench", "relay", *options)
    assert status == 2
    assert said.startswith("voicegate: ")
    assert said.count("\n") == 1
    assert fault in said


@pytest.mark.parametrize(
    ("there", "options", "fault"),
    [
        ((), (), "gcc is missing: apt install gcc libc6-dev"),
        (("gcc",), (), "go is missing: apt install golang-go, or --references c"),
        (("gcc", "go"), ("--profile", "profile"), "perf is missing: apt install linux-perf"),
    ],
)
def test_a_tool_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    there: tuple[str, ...],
    options: tuple[str, ...],
    fault: str,
) -> None:
    for name in there:
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    status, said = run_here("bench", "relay", *options)
    assert status == 2
    assert said == f"voicegate: {fault}\n"


def test_help_names_the_options() -> None:
    status, said = run("bench", "relay", "--help")
    assert status == 0
    for option in ("--flows", "--rates", "--references", "--seconds", "--repeats", "--no-search", "--quick"):
        assert option in said


def test_figures_and_chart_are_written(tmp_path: Path) -> None:
    figures, chart = tmp_path / "figures.json", tmp_path / "chart.png"
    files = ("--json", str(figures), "--png", str(chart))
    status, said = run("bench", "relay", "--quick", *MOMENT, "--no-search", "--references", "c", *files)
    assert status == 0, said
    assert "Transceiver to clients, 5 flows" in said
    written = json.loads(figures.read_text())
    assert {point["relay"] for point in written["points"]} == {"voicegate", "C", "voicegate plain"}
    assert {(point["flows"], point["rate"]) for point in written["points"]} == {(5, None), (5, 300)}
    for point in written["points"]:
        (made,) = point["runs"]
        assert made["received"] > 0
        assert made["misrouted"] == made["damaged"] == 0
    assert written["ceilings"] == []
    assert written["flow_memory"]["flows"] == 500
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_ctrl_c_ends_it_with_all_that_it_started() -> None:
    command = [sys.executable, "-m", "voicegate", "bench", "relay", "--seconds", "60", "--memory-flows", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0) as bench:
        while len(started := descendants(bench.pid)) < 5:  # the generator, two references, two of ours
            assert bench.poll() is None
            time.sleep(0.05)
        os.killpg(bench.pid, signal.SIGINT)
        _, said = bench.communicate(timeout=240)
    assert bench.returncode == 130
    assert "Traceback" not in said
    while any(is_alive(pid) for pid in started):
        time.sleep(0.05)
