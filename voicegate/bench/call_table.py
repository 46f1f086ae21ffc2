"""A measurement of many calls for the terminal: a table of servers, a chart of every step."""

from collections.abc import Iterator, Mapping
from typing import Final

import attrs
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from voicegate.bench.call_figure import OF_CEILING, CallFigures, CallMeasurement, Step
from voicegate.bench.callee import Series
from voicegate.bench.relay_table import grouped

__all__ = ["LatenessChart", "render_calls"]

_COLOURS: Final[Mapping[Series, str]] = {
    Series.ECHO: "cyan",
    Series.TRANSCODE: "blue",
    Series.AIORTC: "yellow",
}

_LABEL_WIDTH: Final = 14
_NUMBER_WIDTH: Final = 46

_LEGEND: Final = (
    "Calls that all keep their schedule at once; ~ generator or relay, not the server, is the\n"
    "limit. Cost: the share of a core that a call takes. Memory: of a call in which nobody talks.\n"
    "Lateness of frames at {:.0%} of the calls, p50, p99 and max in ms; below, that of a bare sleep."
)


def render_calls(measurement: CallMeasurement) -> Iterator[RenderableType]:
    """Lay out a measurement."""
    yield ""
    yield _table(measurement)
    yield Text(_LEGEND.format(OF_CEILING), style="dim")
    for figures in measurement.figures:
        yield LatenessChart(figures=figures)
    if measurement.targets:
        yield ""
        yield _targets(measurement)


def _table(measurement: CallMeasurement) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("server", no_wrap=True)
    for heading in (
        "calls on\na core",
        "times\naiortc's",
        "cost of\na call",
        "in the\nrelay",
        "memory\nKB",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("lateness\nfloor", justify="right", no_wrap=True)
    for figures in measurement.figures:
        below, floor, ratio = figures.below, figures.floor, measurement.ratio(figures)
        table.add_row(
            Text(figures.series.value, style=_COLOURS[figures.series]),
            Text(_calls(measurement, figures), style="bold"),
            "" if ratio is None else f"{ratio:.1f}",
            "" if below is None else f"{below.cost:.2%}",
            "" if below is None or not below.relay_cpu else f"{below.relay_cost:.2%}",
            "" if figures.idle is None else f"{figures.idle.bytes_per_call / 1000:.0f}",
            Text("" if below is None else _lateness(below.p50, below.p99, below.max), style="bold").append(
                f"\n{_lateness(floor.p50, floor.p99, floor.max)}", style="not bold dim"
            ),
        )
    return table


def _calls(measurement: CallMeasurement, figures: CallFigures) -> str:
    if measurement.conditions.calls is not None:
        return "".join(f"{step.kept} of {step.calls}" for step in figures.steps)
    return f"{'~' if figures.is_generators else ''}{grouped(figures.ceiling)}"


def _lateness(*seconds: float) -> str:
    return " ".join(f"{each * 1000:.{1 if each >= 0.01 else 2}f}" for each in seconds)


def _targets(measurement: CallMeasurement) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("target")
    for heading in ("measured", "wanted"):
        table.add_column(heading, justify="right")
    for target in measurement.targets:
        style = "green" if target.is_met else "bold red"
        bound = f"{'≥' if target.is_least else '≤'} {target.bound:.4g}"
        table.add_row(target.title, Text(f"{target.value:.4g}", style=style), bound)
    return table


@attrs.frozen(kw_only=True)
class LatenessChart:
    """A bar for each step: the 99th percentile of lateness; as wide as the terminal."""

    figures: CallFigures

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        steps = sorted(self.figures.steps, key=lambda step: step.calls)
        # What is far beyond all bounds is cut off, or nothing else could be seen.
        longest = max((min(step.p99, 2 * step.limit) for step in steps), default=0.0)
        width = max(10, min(options.max_width, 110) - _LABEL_WIDTH - _NUMBER_WIDTH)
        colour = _COLOURS[self.figures.series]
        yield Text(f"\n{self.figures.series.value}", style="bold")
        for step in steps:
            length = round(min(step.p99 / longest, 1.0) * width) if longest and step.p99 == step.p99 else 0
            label = Text(f"  {grouped(step.calls) + ' calls':<{_LABEL_WIDTH - 2}}", style=colour)
            yield label.append("━" * length).append(f" {_outcome(step)}", style="not bold dim")
        yield Text("p99 of lateness", style="dim")


def _outcome(step: Step) -> str:
    if step.failure:
        return step.failure[:40]
    said = f"{step.p99 * 1000:.2f} ms, at most {step.max * 1000:.1f}"
    if not step.is_held:
        said += f", {step.calls - step.kept} failed"
    return said + (" ~" if step.is_generators else "")
