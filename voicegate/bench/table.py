"""A measurement for the terminal: a table of milestones, and under loss one of how long it took; a chart."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from voicegate.bench.figure import Measurement, Milestone, Series, percentile
from voicegate.bench.strip import COLOURS, duration_chart, milestone_chart

__all__ = ["render"]

_COLUMNS: Final = {
    Milestone.SERVER_AUDIO: "server\nheard",
    Milestone.CLIENT_AUDIO: "client\nheard",
    Milestone.SERVER_DATA: "server's\nmessage",
    Milestone.CLIENT_DATA: "client's\nmessage",
    Milestone.BOTH_DATA: "both\nmessages",
}


def render(measurement: Measurement) -> Iterator[RenderableType]:
    """Lay out a measurement, browser by browser."""
    for browser, version in measurement.browsers.items():
        series = [series for series in measurement.series if series.browser == browser]
        yield ""
        yield Text(measurement.headline(version), style="bold")
        yield _titles(series)
        is_lossy = bool(measurement.conditions.loss)
        yield _milestones(series, is_lossy=is_lossy)
        if is_lossy:
            yield _durations(series)
        yield ""
        yield duration_chart(series) if is_lossy else milestone_chart(series)


def _milestones(series: Sequence[Series], *, is_lossy: bool) -> Table:
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, header_style="dim", caption_style="dim", caption_justify="left"
    )
    unit = "round trips" if series[0].round_trip else "milliseconds"
    spread = "95 %" if is_lossy else "least to most"
    table.caption = f"{unit} since the client's first packet: median, {spread}"
    for heading in ("row", "server"):
        table.add_column(heading, no_wrap=True)
    for heading in _COLUMNS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    shown = ""
    for one in series:
        name, shown = ("" if one.row.name == shown else one.row.name), one.row.name
        cells = (_milestone(one, milestone, is_lossy=is_lossy) for milestone in _COLUMNS)
        table.add_row(Text(name, style="bold"), Text(one.server, style=_colour(one)), *cells)
    return table


def _titles(series: Sequence[Series]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, title in {one.row.name: one.row.title for one in series}.items():
        table.add_row(Text(f"  {name}", style="bold"), title)
    return table


def _milestone(series: Series, milestone: Milestone, *, is_lossy: bool) -> Text:
    values = series.values(milestone)
    text = Text(_amount(series, series.median(milestone)), style="bold")
    bound = series.bound(milestone)
    if bound is not None:
        is_within = series.is_within(milestone)
        text.append(f" {'≤' if is_within else '>'}{bound:g}", style="green" if is_within else "bold red")
    # Under loss the extremes are a matter of luck.
    least, most = values[0], percentile(values, 95) if is_lossy else values[-1]
    spread = _amount(series, most) if is_lossy else f"{_amount(series, least)}-{_amount(series, most)}"
    return text.append(f"\n{spread if least < most else ''}", style="not bold dim")


def _durations(series: Sequence[Series]) -> Table:
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, header_style="dim", caption_style="dim", caption_justify="left"
    )
    table.caption = "milliseconds until ready"
    for heading in ("row", "server"):
        table.add_column(heading)
    for heading in ("succeeded", "p50", "p95", "longest"):
        table.add_column(heading, justify="right")
    for one in series:
        values = one.values(Milestone.READY)
        is_whole = one.successes == len(values)
        table.add_row(
            Text(one.row.name, style="bold"),
            Text(one.server, style=_colour(one)),
            Text(f"{one.successes} of {len(values)}", style="green" if is_whole else "bold red"),
            *(
                _milliseconds(seconds)
                for seconds in (percentile(values, 50), percentile(values, 95), values[-1])
            ),
        )
    return table


def _colour(series: Series) -> str:
    return COLOURS[series.server]


def _amount(series: Series, seconds: float) -> str:
    if not series.round_trip:
        return _milliseconds(seconds)
    return f"{series.round_trips(seconds):.2f}" if math.isfinite(seconds) else "never"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}" if math.isfinite(seconds) else "never"
