"""A measurement of relays for the terminal: a table for each direction and number of flows, a chart."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from voicegate.bench.traffic import (
    OURS,
    OURS_PLAIN,
    REFERENCE_C,
    REFERENCE_GO,
    SATURATION,
    Direction,
    Load,
    RelayMeasurement,
)

__all__ = ["CostChart", "grouped", "rate_title", "render_relays"]

_COLOURS: Final[Mapping[str, str]] = {
    OURS: "cyan",
    OURS_PLAIN: "blue",
    REFERENCE_C: "yellow",
    REFERENCE_GO: "magenta",
}

_LABEL_WIDTH: Final = 18
_NUMBER_WIDTH: Final = 8

_LEGEND: Final = (
    "First µs of processor time for a packet; then ours divided by that of {}; then the\n"
    "latency that the relay adds, p50 and p99 in ms. Highest rate: packets a second; below, ours\n"
    "divided by that of Go. ~ the generator, not the relay, is the limit."
)


def render_relays(measurement: RelayMeasurement) -> Iterator[RenderableType]:
    """Lay out a measurement."""
    conditions = measurement.conditions
    for direction in conditions.directions:
        for flows in conditions.flows:
            yield ""
            yield Text(f"{direction.title.capitalize()}, {grouped(flows)} flows", style="bold")
            yield _table(measurement, direction, flows)
    yield Text(_LEGEND.format(" and ".join(conditions.references) or "nobody"), style="dim")
    yield CostChart(measurement=measurement)
    if measurement.memory is not None:
        memory = measurement.memory
        yield ""
        yield f"{grouped(memory.flows)} flows take {memory.bytes_per_flow:.0f} bytes each"
    if measurement.targets:
        yield _targets(measurement)


def rate_title(rate: int) -> str:
    """Name a rate."""
    return f"{grouped(rate)} a second" if rate else "saturated"


def grouped(number: float) -> str:
    """Write a number with a space before each three digits."""
    return f"{number:_.0f}".replace("_", " ")


def _table(measurement: RelayMeasurement, direction: Direction, flows: int) -> Table:
    conditions = measurement.conditions
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("relay", no_wrap=True)
    for rate in conditions.rates:
        table.add_column(rate_title(rate).replace(" a second", "\na second"), justify="right", no_wrap=True)
    if conditions.has_search:
        table.add_column("highest rate\nlossless", justify="right", no_wrap=True)
    for relay in conditions.relays:
        cells = [
            _cost(measurement, relay, Load(direction=direction, flows=flows, rate=rate))
            for rate in conditions.rates
        ]
        if conditions.has_search:
            cells.append(_ceiling(measurement, relay, direction, flows))
        table.add_row(Text(relay, style=_COLOURS[relay]), *cells)
    if measurement.direct:
        table.add_row("no relay", *(_direct(measurement, rate) for rate in conditions.rates), style="dim")
    return table


def _cost(measurement: RelayMeasurement, relay: str, load: Load) -> Text:
    point = measurement.point(relay, load)
    if point is None:
        return Text()
    is_free = load.rate != SATURATION or point.is_busy
    text = Text(f"{'' if is_free else '~'}{point.cost * 1e6:.2f}", style="bold")
    if relay in {OURS, OURS_PLAIN}:
        ratios = [measurement.cost_ratio(relay, other, load) for other in measurement.conditions.references]
        said = " ".join(f"{ratio:.2f}" for ratio in ratios if ratio is not None)
        text.append(f"\n{said}" if said else "", style="not bold")
    if point.total("misrouted") or point.total("damaged"):
        wrong = f"\n{point.total('misrouted')} misrouted\n{point.total('damaged')} damaged"
        text.append(wrong, style="bold red")
    added = measurement.added(point)
    text.append(
        f"\n{_milliseconds(added[0])} {_milliseconds(added[1])}" if added else "", style="not bold dim"
    )
    return text


def _direct(measurement: RelayMeasurement, rate: int) -> str:
    point = measurement.direct.get(rate)
    return "" if point is None else f"{_milliseconds(point.p50)} {_milliseconds(point.p99)}"


def _ceiling(measurement: RelayMeasurement, relay: str, direction: Direction, flows: int) -> Text:
    ceiling = measurement.ceiling(relay, direction, flows)
    if ceiling is None:
        return Text()
    text = Text(f"{'~' if ceiling.is_generators else ''}{grouped(ceiling.rate)}", style="bold")
    ratio = measurement.ceiling_ratio(relay, REFERENCE_GO, direction, flows)
    if ratio is not None and relay in {OURS, OURS_PLAIN}:
        text.append(f"\n{ratio:.2f}", style="not bold")
    return text


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f}" if seconds < 0.01 else f"{seconds * 1000:.0f}"


def _targets(measurement: RelayMeasurement) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim", title_justify="left")
    table.add_column(f"target ({grouped(measurement.conditions.main_flows)} flows, to the transceiver)")
    for heading in ("measured", "wanted"):
        table.add_column(heading, justify="right")
    for target in measurement.targets:
        style = "green" if target.is_met else "bold red"
        bound = f"{'≥' if target.is_least else '≤'} {target.bound:g}"
        table.add_row(target.title, Text(f"{target.value:.2f}", style=style), bound)
    return table


@attrs.frozen(kw_only=True)
class CostChart:
    """A bar for each relay: what a packet costs, saturated; as wide as the terminal."""

    measurement: RelayMeasurement

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        bars = [(title, relay, cost) for title, relays in self._rows() for relay, cost in relays]
        longest = max((cost for _, _, cost in bars if math.isfinite(cost)), default=0.0)
        width = max(20, min(options.max_width, 110) - _LABEL_WIDTH - _NUMBER_WIDTH)
        shown = ""
        for title, relay, cost in bars:
            if title != shown:
                yield Text(f"\n{title}", style="bold")
                shown = title
            length = round(cost / longest * width) if math.isfinite(cost) and longest else 0
            label = Text(f"  {relay:<{_LABEL_WIDTH - 2}}", style=_COLOURS[relay])
            yield label.append("━" * length).append(f" {cost * 1e6:.2f}", style="bold")
        if bars:
            yield Text("µs of processor time for a packet", style="dim")

    def _rows(self) -> Iterator[tuple[str, Sequence[tuple[str, float]]]]:
        conditions = self.measurement.conditions
        for direction in conditions.directions:
            for rate in conditions.rates:
                load = Load(direction=direction, flows=conditions.main_flows, rate=rate)
                points = [self.measurement.point(relay, load) for relay in conditions.relays]
                costs = [(point.relay, point.cost) for point in points if point is not None]
                yield f"{direction.title.capitalize()}, {rate_title(rate)}", costs
