"""``voicegate plan``: how many machines, how much of Redis and of the network a number of calls takes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from voicegate.errors import UsageError

if TYPE_CHECKING:
    from voicegate.capacity import Plan

__all__ = ["app", "plan"]

app = App(name="plan", help="Say how many machines a number of calls takes, and how much of all else.")


@app.default
def plan(
    *,
    calls: int,
    regions: str = "here=1",
    call_seconds: float = 180.0,
    link: Literal["none", "shared", "single"] = "shared",
    transcode: bool = False,
    survive: Literal["nothing", "zone", "region"] | None = None,
    zones: int = 3,
    transceiver_workers: int = 15,
    relay_workers: int = 7,
    fill: float = 0.9,
    batch: float = 0.1,
    drain_seconds: float = 600.0,
    start_seconds: float = 30.0,
    figure: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    figures: bool = False,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Say how many machines a number of calls takes, and how much of all else.

    Measured costs of a call and of a packet, times calls; docs/capacity.md says what is measured, what is
    extrapolated, and what a simulation says of it.

    Args:
        calls: At the same time, at the busiest.
        regions: Each with the part of all calls that is nearest to it, as in eu=0.5,us=0.3,ap=0.2.
        call_seconds: How long a call lasts, on average.
        link: How agents are reached: not at all, over sockets shared by many calls, or one for each.
        transcode: Whether agents hear PCM rather than Opus as it came.
        survive: What may be lost without a call that is refused [region; with one region, zone].
        zones: How many a region has.
        transceiver_workers: On a machine, a core each.
        relay_workers: On a machine, a core each.
        fill: How full the fleet may be when that is lost.
        batch: What part of a region's machines a deploy drains at a time.
        drain_seconds: How long a drained machine's calls may go on.
        start_seconds: From the end of a drained machine until it takes calls again.
        figure: NAME=VALUE, a cost that you have measured; see --figures.
        figures: Show all costs, and where they come from.
        json_file: Where to write all of it.
    """
    call = {"call_seconds": call_seconds, "is_transcoded": transcode}
    machines = {"transceiver_workers": transceiver_workers, "relay_workers": relay_workers, "fill": fill}
    deploy = {"batch": batch, "drain_seconds": drain_seconds, "start_seconds": start_seconds}
    shares = _numbers([regions], "--regions")
    made = _make(
        {"calls": calls, "shares": shares, "zones": zones, **call, **machines, **deploy},
        _numbers(figure or [], "--figure"),
        link=link,
        survive=survive or ("region" if len(shares) > 1 else "zone"),
    )
    _show(made, has_figures=figures, json_file=json_file)


def _make(demand: dict[str, Any], figures: dict[str, float], *, link: str, survive: str) -> "Plan":
    # Here and not above: `voicegate --help` needs none of it.
    from voicegate.capacity import Demand, Figures, Link, Loss, make_plan

    unknown = figures.keys() - {known.name for known in Figures().listed()}
    if unknown:
        raise UsageError(f"--figure: there is no {min(unknown)}; --figures lists those there are")
    return make_plan(Demand(link=Link(link), loss=Loss(survive), **demand), Figures(**figures))


def _show(made: "Plan", *, has_figures: bool, json_file: Path | None) -> None:
    from rich.console import Console

    from voicegate.bench.plan_table import render_figures, render_plan

    console = Console()
    for part in (*render_plan(made), *(render_figures(made.figures) if has_figures else ())):
        console.print(part)
    if json_file is not None:
        try:
            json_file.write_text(json.dumps(made.describe(), indent=1) + "\n")
        except OSError as error:
            raise UsageError(f"{json_file}: {error.strerror}") from error


def _numbers(texts: Sequence[str], option: str) -> dict[str, float]:
    """Read NAME=NUMBER, several by commas."""
    found: dict[str, float] = {}
    for each in (part for text in texts for part in text.split(",")):
        name, _, number = each.strip().partition("=")
        try:
            value = float(number)
        except ValueError as error:
            raise UsageError(f"{option}: {each!r} is not NAME=NUMBER") from error
        if not name or name in found:
            raise UsageError(f"{option}: {each!r} has no name of its own")
        found[name] = value
    return found
