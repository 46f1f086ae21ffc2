"""A measurement of many calls as a picture (PNG): lateness by number of calls, and calls by server."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from voicegate.bench.call_figure import CallFigures, CallMeasurement
from voicegate.bench.callee import Series
from voicegate.bench.picture import require_matplotlib
from voicegate.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_calls"]

_COLOURS: Final[Mapping[Series, str]] = {
    Series.ECHO: "#0b7285",
    Series.TRANSCODE: "#66b2c0",
    Series.AIORTC: "#e8590c",
}
_INK: Final = "#212529"
_FAINT: Final = "#868e96"


def draw_calls(measurement: CallMeasurement, path: Path) -> None:
    """Write the picture: how late frames are by number of calls, and how many calls hold.

    Errors: UsageError when matplotlib is missing or the file cannot be written.
    """
    require_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(
        figsize=(11, 4.4), layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12), facecolor="white"
    )
    lines, bars = figure.subplots(1, 2, width_ratios=[3, 2])
    for figures in measurement.figures:
        _draw_lateness(lines, figures)
    _style(lines, "Lateness of frames by calls at once: p99, at most (dotted), floor (thin)")
    if lines.has_data():
        lines.set_xscale("log")
        lines.set_yscale("log")
    lines.set_xlabel("calls", color=_FAINT)
    lines.set_ylabel("ms", color=_FAINT)
    for axis in (lines.xaxis, lines.yaxis):
        axis.set_major_formatter("{x:g}")
    _draw_ceilings(bars, measurement)
    handles, labels = lines.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    try:
        figure.savefig(path, format="png", dpi=160)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _draw_lateness(panel: "Axes", figures: CallFigures) -> None:
    steps = sorted((step for step in figures.steps if step.p99 > 0), key=lambda step: step.calls)
    if not steps:
        return
    calls = [step.calls for step in steps]
    colour = _COLOURS[figures.series]
    panel.plot(calls, [step.p99 * 1000 for step in steps], "o-", color=colour, label=figures.series.value)
    panel.plot(calls, [step.max * 1000 for step in steps], ":", color=colour)
    panel.axhline(figures.floor.p99 * 1000, color=colour, linewidth=0.8, alpha=0.5)


def _draw_ceilings(panel: "Axes", measurement: CallMeasurement) -> None:
    ceilings = [figures.ceiling for figures in measurement.figures]
    colours = [_COLOURS[figures.series] for figures in measurement.figures]
    bars = panel.barh(range(len(ceilings)), ceilings, height=0.6, color=colours)
    panel.bar_label(bars, padding=4, fontsize=9, color=_INK)
    panel.set_yticks(range(len(ceilings)), [figures.series.value for figures in measurement.figures])
    panel.invert_yaxis()
    panel.margins(x=0.15)
    _style(panel, "Calls that hold on one core")


def _style(panel: "Axes", title: str) -> None:
    panel.set_title(title, loc="left", color=_INK, weight="bold", size=11, pad=8)
    panel.grid(axis="both", color="#e9ecef", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(length=0, colors=_FAINT, labelcolor=_INK)
    panel.spines[:].set_visible(False)
