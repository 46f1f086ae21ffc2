"""A measurement of speech over bad lines for the terminal: a table, a chart, what the delay did, targets."""

from collections.abc import Iterator, Mapping
from typing import Final

import attrs
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from voicegate.bench.quality_figure import Contender, QualityMeasurement, Recovery

__all__ = ["OpinionChart", "render_quality"]

_COLOURS: Final[Mapping[Contender, str]] = {
    Contender.ACCURATE: "cyan",
    Contender.FAST: "blue",
    Contender.AIORTC: "magenta",
}

_LABEL_WIDTH: Final = 22
_NUMBER_WIDTH: Final = 6
_BEST: Final = 5.0

_LEGEND: Final = (
    "First the opinion by zimtohrli, 1 bad to 5 the same; then ms from said to heard, and\n"
    "after + how much longer a client has to wait for 95 % of the packets. The way back is\n"
    "coded anew by the servers, at {} kbit/s. The bench itself sent up to\n"
    "{:.0f} ms late in half of the calls."
)


def render_quality(measurement: QualityMeasurement) -> Iterator[RenderableType]:
    """Lay out a measurement."""
    yield _table(measurement)
    rates = [measurement.bitrate(each) for each in measurement.conditions.contenders]
    said = ", ".join(f"{rate / 1000:.0f}" for rate in rates if rate is not None) or "no"
    yield Text(_LEGEND.format(said, measurement.stall * 1000), style="dim")
    yield OpinionChart(measurement=measurement)
    if measurement.recoveries:
        yield Text("\nDelay around a burst of jitter, ms", style="bold")
        yield _recoveries(measurement)
    if measurement.targets:
        yield _targets(measurement)


def _table(measurement: QualityMeasurement) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("line", no_wrap=True)
    for contender in measurement.conditions.contenders:
        heading = Text(contender.title.replace(" ", "\n"), style=_COLOURS[contender])
        table.add_column(heading, justify="right", no_wrap=True)
    for line in measurement.conditions.lines:
        cells = [_cell(measurement, each, line.name) for each in measurement.conditions.contenders]
        table.add_row(line.title, *cells)
    return table


def _cell(measurement: QualityMeasurement, contender: Contender, line: str) -> Text:
    opinion = measurement.opinion(contender, line)
    if opinion is None:
        return Text()
    text = Text(f"{opinion:.2f}", style="bold")
    delay, lateness = measurement.delay(contender, line), measurement.lateness(contender, line)
    if delay is None or lateness is None:
        return text.append("  not heard", style="not bold red")
    return text.append(f" {delay * 1000:4.0f} +{lateness * 1000:3.0f}", style="not bold dim")


def _recoveries(measurement: QualityMeasurement) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("")
    for heading in ("before", "highest", "back after, s"):
        table.add_column(heading, justify="right")
    for recovery in measurement.recoveries:
        table.add_row(
            Text(recovery.contender.title, style=_COLOURS[recovery.contender]),
            _milliseconds(recovery.usual),
            _milliseconds(recovery.highest),
            _back(recovery),
        )
    return table


def _back(recovery: Recovery) -> Text:
    seconds = recovery.seconds
    return Text("never", style="bold red") if seconds is None else Text(f"{seconds:.1f}", style="bold")


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.0f}"


def _targets(measurement: QualityMeasurement) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("target")
    for heading in ("measured", "wanted"):
        table.add_column(heading, justify="right")
    for target in measurement.targets:
        style = "green" if target.is_met else "bold red"
        said = "never" if target.value is None else f"{target.value:.2f}"
        bound = f"{'≥' if target.is_least else '≤'} {target.bound:g}"
        table.add_row(target.title, Text(said, style=style), bound)
    return table


@attrs.frozen(kw_only=True)
class OpinionChart:
    """A bar for each line and contender: the opinion; as wide as the terminal."""

    measurement: QualityMeasurement

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        width = max(20, min(options.max_width, 110) - _LABEL_WIDTH - _NUMBER_WIDTH)
        for line in self.measurement.conditions.lines:
            yield Text(f"\n{line.title}", style="bold")
            for contender in self.measurement.conditions.contenders:
                opinion = self.measurement.opinion(contender, line.name)
                if opinion is not None:
                    label = Text(f"  {contender.title:<{_LABEL_WIDTH - 2}}", style=_COLOURS[contender])
                    bar = "━" * round((opinion - 1) / (_BEST - 1) * width)
                    yield label.append(bar).append(f" {opinion:.2f}", style="bold")
