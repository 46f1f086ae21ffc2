"""A measurement of relays as a picture (PNG): what a packet costs by rate, and by number of flows."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from voicegate.bench.picture import require_matplotlib
from voicegate.bench.relay_table import grouped, rate_title
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
from voicegate.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_relays"]

_COLOURS: Final[Mapping[str, str]] = {
    OURS: "#0b7285",
    OURS_PLAIN: "#66b2c0",
    REFERENCE_C: "#e8590c",
    REFERENCE_GO: "#868e96",
}
_INK: Final = "#212529"
_FAINT: Final = "#868e96"

_GROUP: Final = 0.8
"""Height of the bars of one rate, where rates are 1 apart."""


def draw_relays(measurement: RelayMeasurement, path: Path) -> None:
    """Write the picture: a row for each direction, bars by rate on the left, lines by flows on the right.

    Errors: UsageError when matplotlib is missing or the file cannot be written.
    """
    require_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    directions = measurement.conditions.directions
    figure = Figure(
        figsize=(11, 3.6 * len(directions) + 0.6),
        layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12),
        facecolor="white",
    )
    panels = figure.subplots(len(directions), 2, squeeze=False, width_ratios=[3, 2])
    for (bars, lines), direction in zip(panels, directions, strict=True):
        _draw_bars(bars, measurement, direction)
        _draw_lines(lines, measurement, direction)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    try:
        figure.savefig(path, format="png", dpi=160)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _draw_bars(panel: "Axes", measurement: RelayMeasurement, direction: Direction) -> None:
    conditions = measurement.conditions
    height = _GROUP / len(conditions.relays)
    for lane, relay in enumerate(conditions.relays):
        loads = [
            Load(direction=direction, flows=conditions.main_flows, rate=rate) for rate in conditions.rates
        ]
        points = [measurement.point(relay, load) for load in loads]
        costs = [point.cost * 1e6 if point is not None else 0.0 for point in points]
        places = [row + (lane + 0.5) * height - _GROUP / 2 for row in range(len(costs))]
        bars = panel.barh(places, costs, height=height * 0.85, color=_COLOURS[relay], label=relay)
        panel.bar_label(bars, fmt="%.1f", padding=4, fontsize=8, color=_INK)
    panel.set_yticks(range(len(conditions.rates)), [rate_title(rate) for rate in conditions.rates])
    panel.invert_yaxis()
    _style(panel, f"{direction.title.capitalize()}, {grouped(conditions.main_flows)} flows")
    panel.set_xlabel("µs of processor time for a packet", color=_FAINT)


def _draw_lines(panel: "Axes", measurement: RelayMeasurement, direction: Direction) -> None:
    conditions = measurement.conditions
    # Wherever it was measured: saturated if it can be.
    rate = SATURATION if SATURATION in conditions.rates else conditions.rates[0]
    for relay in conditions.relays:
        points = [
            measurement.point(relay, Load(direction=direction, flows=flows, rate=rate))
            for flows in conditions.flows
        ]
        found = [(point.load.flows, point.cost * 1e6) for point in points if point is not None]
        panel.plot([flows for flows, _ in found], [cost for _, cost in found], "o-", color=_COLOURS[relay])
    panel.set_xscale("log")
    panel.margins(y=0.2)
    panel.set_ylim(bottom=0)
    panel.set_xlabel("flows", color=_FAINT)
    panel.set_ylabel("µs", color=_FAINT)
    _style(panel, f"{rate_title(rate).capitalize()}, by flows")


def _style(panel: "Axes", title: str) -> None:
    panel.set_title(title, loc="left", color=_INK, weight="bold", size=11, pad=8)
    panel.grid(axis="both", color="#e9ecef", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(length=0, colors=_FAINT, labelcolor=_INK)
    panel.spines[:].set_visible(False)
