"""A measurement of links for the terminal."""

from collections.abc import Iterator, Mapping
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from voicegate.bench.link import LinkMeasurement, Way

__all__ = ["render_links"]

_NAMES: Final[Mapping[Way, str]] = {"none": "no link", "calls": "one socket", "call": "a socket each"}

_LEGEND: Final = (
    "Cost: the share of a core that a call takes in the gateway, without network and codec; of its link:\n"
    "beyond a call without one. Answered: frames that came back from the agent."
)


def render_links(measurement: LinkMeasurement) -> Iterator[RenderableType]:
    """Lay out a measurement."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("calls", justify="right")
    table.add_column("link")
    for heading in ("cost of\na call", "of its\nlink", "answered", "slots\nmissed"):
        table.add_column(heading, justify="right")
    for run in measurement.runs:
        table.add_row(
            str(run.calls),
            _NAMES[run.way],
            f"{run.cost:.3%}",
            "" if run.way == "none" else Text(f"{measurement.link_cost(run):.3%}", style="bold"),
            f"{run.answered_share:.1%}",
            str(run.slots_missed),
        )
    yield ""
    yield table
    yield Text(_LEGEND, style="dim")
    yield ""
    for target in measurement.targets:
        style = "green" if target.is_met else "bold red"
        yield (
            Text(f"{target.title}: ")
            .append(f"{target.value:.3g}", style=style)
            .append(f", at most {target.bound:.3g}")
        )
