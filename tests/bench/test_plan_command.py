"""``voicegate plan``, as it is called, and as its document shows it."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from voicegate.bench.plan_command import app
from voicegate.errors import UsageError

DOCUMENT = (Path(__file__).parents[2] / "docs" / "capacity.md").read_text()
EXAMPLES = re.findall(r"```\n\$ voicegate plan (.*)\n((?:.*\n)*?)```", DOCUMENT)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what calls the command, and returns what it says."""
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    def call(options: str) -> str:
        app(shlex.split(options), exit_on_error=False, print_error=False, result_action="return_value")
        return capsys.readouterr().out

    return call


def stripped(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def test_the_document_has_three_examples() -> None:
    assert [int(options.split()[1]) for options, _ in EXAMPLES] == [1000, 100_000, 10_000_000]


@pytest.mark.parametrize(("options", "shown"), EXAMPLES, ids=["thousand", "hundred thousand", "ten million"])
def test_what_the_document_shows_is_what_is_said(options: str, shown: str, said: Any) -> None:
    assert stripped(said(options)) == stripped(shown)


def test_all_figures_are_shown_and_written_on_demand(said: Any, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    text = said(f"--calls 5000 --figures --json {path} --figure call_percent=0.15 poll_us=50 --link single")
    assert "relay_in_us" in text
    assert "given" in text
    figures = {figure["name"]: figure["value"] for figure in json.loads(path.read_text())["figures"]}
    assert (figures["call_percent"], figures["poll_us"], figures["call_kb"]) == (0.15, 50, 82)


def test_one_region_survives_the_loss_of_a_zone_unless_nothing_may_be_lost(said: Any) -> None:
    assert "A zone of each region may be lost." in said("--calls 5000")
    assert "Nothing may be lost." in said("--calls 5000 --survive nothing")


def test_more_clusters_than_there_can_be_are_said_to_be_too_many(said: Any) -> None:
    assert "More clusters than there can be" in said("--calls 1000000 --figure redis_busy=0.0000001")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ("--calls 0", "calls: from 1"),
        ("--calls 10 --regions eu", "'eu' is not NAME=NUMBER"),
        ("--calls 10 --regions eu=half", "'eu=half' is not NAME=NUMBER"),
        ("--calls 10 --regions =1", "no name of its own"),
        ("--calls 10 --regions eu=0.5,eu=0.5", "no name of its own"),
        ("--calls 10 --regions eu=0.5,us=0.6", "come to 1"),
        ("--calls 10 --survive region", "single region"),
        ("--calls 10 --figure luck=7", "there is no luck"),
        ("--calls 10 --figure call_kb=-7", "is no cost"),
        ("--calls 10 --json nowhere/plan.json", "nowhere/plan.json: No such file"),
    ],
)
def test_a_mistake_is_named(options: str, fault: str, said: Any) -> None:
    with pytest.raises(UsageError, match=re.escape(fault)):
        said(options)
