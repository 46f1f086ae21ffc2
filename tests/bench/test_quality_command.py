"""``voicegate bench quality`` as a shell runs it."""

import json
from pathlib import Path

import pytest

from tests.command_line import run_here
from tests.test_cli import run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--runs", "0"), "--runs: at least 1"),
        (("--lines", "loss5", "golden"), "no lines golden"),
        (("--json", "nowhere/figures.json"), "there is no folder nowhere"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(options: tuple[str, ...], fault: str) -> None:
    status, said = run_here("bench", "quality", *options)
    assert status == 2
    assert said.startswith("voicegate: ")
    assert said.count("\n") == 1
    assert fault in said


def test_help_names_the_options() -> None:
    status, said = run("bench", "quality", "--help")
    assert status == 0
    for option in ("--lines", "--contenders", "--runs", "--no-recovery", "--quick", "--png", "--json"):
        assert option in said


def test_figures_and_chart_are_written(tmp_path: Path) -> None:
    figures, chart = tmp_path / "figures.json", tmp_path / "chart.png"
    conditions = ("--quick", "--lines", "clean", "--contenders", "fast")
    status, said = run("bench", "quality", *conditions, "--json", str(figures), "--png", str(chart))
    assert status == 0, said
    assert "nothing wrong" in said
    (call,) = json.loads(figures.read_text())["calls"]
    assert (call["contender"], call["line"]) == ("fast", "clean")
    assert chart.read_bytes().startswith(b"\x89PNG")
