"""Charts for the terminal: a strip for each server, over an axis that begins at the client's first packet."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs
from rich.console import Console, ConsoleOptions
from rich.text import Text

from voicegate.bench.figure import Milestone, Series, percentile

__all__ = ["COLOURS", "Chart", "Strip", "duration_chart", "milestone_chart", "tick_distance"]

COLOURS: Final[Mapping[str, str]] = {"voicegate": "cyan", "aiortc": "yellow"}

_MARKS: Final = {
    Milestone.CLIENT_AUDIO: ("◇", "client heard"),
    Milestone.SERVER_AUDIO: ("◆", "server heard"),
    Milestone.SERVER_DATA: ("▼", "server's message"),
    Milestone.CLIENT_DATA: ("▲", "client's message"),
}
"""In the order of drawing: where two fall together, the last shows."""

_LABEL_WIDTH: Final = 14
_NUMBER_WIDTH: Final = 7
_TICKS: Final = 8
"""At most so many divisions of an axis can be read."""


@attrs.frozen(kw_only=True)
class Strip:
    """One line of a chart."""

    label: str
    server: str
    pieces: Sequence[tuple[float, str]]
    """Of a bar: where each ends, and what it is drawn with."""
    marks: Sequence[tuple[float, str]]
    number: str
    """What stands at its end."""


@attrs.frozen(kw_only=True)
class Chart:
    """Strips, their axis, and what the marks mean; as wide as the terminal."""

    strips: Sequence[Strip]
    unit: str
    legend: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        ends = [end for strip in self.strips for end, _ in strip.pieces if math.isfinite(end)]
        longest = max(ends, default=1.0) or 1.0
        width = max(20, min(options.max_width, 110) - _LABEL_WIDTH - _NUMBER_WIDTH - 2)
        shown = ""
        for strip in self.strips:
            if shown and strip.label != shown:
                yield Text()
            name, shown = ("" if strip.label == shown else strip.label), strip.label
            colour = COLOURS[strip.server]
            label = Text.assemble((f"{name:<4}", "bold"), (f"{strip.server:<{_LABEL_WIDTH - 4}}", colour))
            cells = _draw(strip, width / longest, width)
            yield label.append(cells, style=colour).append(f" {strip.number:>{_NUMBER_WIDTH}}", style="bold")
        yield from self._axis(longest, width)
        yield Text(f"{' ' * _LABEL_WIDTH}{self.unit} since the client's first packet", style="dim")
        yield Text(f"\n    {self.legend}", style="dim")

    def _axis(self, longest: float, width: int) -> Iterator[Text]:
        distance = tick_distance(longest)
        line, numbers = ["─"] * (width + 1), [" "] * (width + _NUMBER_WIDTH)
        for tick in range(int(longest / distance) + 1):
            at = round(tick * distance * width / longest)
            line[at] = "┴" if tick else "└"
            number = f"{tick * distance:g}"
            numbers[at : at + len(number)] = number
        for drawn in (line, numbers):
            yield Text(" " * _LABEL_WIDTH + "".join(drawn).rstrip(), style="dim")


def milestone_chart(series: Sequence[Series]) -> Chart:
    """Show the medians of each server's milestones."""
    unit = series[0].round_trip or 1.0
    strips = []
    for one in series:
        at = {milestone: one.median(milestone) / unit for milestone in Milestone}
        strips.append(
            Strip(
                label=one.row.name,
                server=one.server,
                pieces=[(at[Milestone.SERVER_AUDIO], "━"), (at[Milestone.READY], "─")],
                marks=[(at[milestone], sign) for milestone, (sign, _) in _MARKS.items()],
                number=f"{at[Milestone.READY]:.2f}" if math.isfinite(at[Milestone.READY]) else "never",
            )
        )
    legend = "   ".join(f"{sign} {meaning}" for sign, meaning in _MARKS.values())
    return Chart(strips=strips, unit="round trips" if series[0].round_trip else "seconds", legend=legend)


def duration_chart(series: Sequence[Series]) -> Chart:
    """Show how long it took until all got through: half of the set-ups, 95 % of them, all."""
    strips = []
    for one in series:
        values = one.values(Milestone.READY)
        half, most, last = (percentile(values, percent) * 1000 for percent in (50, 95, 100))
        strips.append(
            Strip(
                label=one.row.name,
                server=one.server,
                pieces=[(values[0] * 1000, " "), (half, "━"), (most, "─"), (last, "╌")],
                marks=[(last, "╎"), (most, "▲"), (half, "◆")],
                number=f"{most:.0f}" if math.isfinite(most) else "never",
            )
        )
    return Chart(
        strips=strips, unit="milliseconds", legend="until ready:   ◆ half of the set-ups   ▲ 95 %   ╎ all"
    )


def tick_distance(longest: float) -> float:
    """Return a round distance of ticks for an axis of this length: 1, 2 or 5 times a power of ten."""
    least = longest / _TICKS
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least)


def _draw(strip: Strip, cells_per_unit: float, width: int) -> str:
    cells = [" "] * (width + 1)
    begin = 0
    for end, sign in strip.pieces:
        last = min(width, round(end * cells_per_unit)) if math.isfinite(end) else width
        cells[begin:last] = sign * max(0, last - begin)
        begin = max(begin, last)
    for at, sign in strip.marks:
        if math.isfinite(at):
            cells[min(width, round(at * cells_per_unit))] = sign
    return "".join(cells)
