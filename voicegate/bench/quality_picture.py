"""A measurement of speech over bad lines as a picture (PNG): opinions, delays, the delay around a burst."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from voicegate.bench.picture import require_matplotlib
from voicegate.bench.quality_figure import Contender, QualityMeasurement
from voicegate.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_quality"]

_COLOURS: Final[Mapping[Contender, str]] = {
    Contender.ACCURATE: "#0b7285",
    Contender.FAST: "#66b2c0",
    Contender.AIORTC: "#e8590c",
}
_INK: Final = "#212529"
_FAINT: Final = "#868e96"

_GROUP: Final = 0.8
"""Height of the bars of one line, where lines are 1 apart."""


def draw_quality(measurement: QualityMeasurement, path: Path) -> None:
    """Write the picture: opinions and delays by line, and below them the delay around a burst of jitter.

    Errors: UsageError when matplotlib is missing or the file cannot be written.
    """
    require_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    height = 0.55 * len(measurement.conditions.lines) + 1.6
    below = 2.8 if measurement.recoveries else 0.0
    figure = Figure(
        figsize=(11, height + below),
        layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12),
        facecolor="white",
    )
    upper, *lower = figure.subfigures(
        2 if below else 1, 1, squeeze=False, height_ratios=[height, below] if below else None
    )[:, 0]
    opinions, delays = upper.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    _draw_bars(opinions, measurement, measurement.opinion, "%.2f")
    opinions.set_xlim(1, 5)
    _style(opinions, "Opinion (zimtohrli), 1 bad to 5 the same")
    _draw_bars(delays, measurement, lambda *of: 1000 * (measurement.delay(*of) or 0.0), "%.0f")
    delays.margins(x=0.15)
    _style(delays, "From said to heard, ms")
    for part in lower:
        _draw_recoveries(part.subplots(), measurement)
    handles, labels = opinions.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    try:
        figure.savefig(path, format="png", dpi=160)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _draw_bars(
    panel: "Axes",
    measurement: QualityMeasurement,
    value: Callable[[Contender, str], float | None],
    form: str,
) -> None:
    conditions = measurement.conditions
    height = _GROUP / len(conditions.contenders)
    for lane, contender in enumerate(conditions.contenders):
        values = [value(contender, line.name) or 0.0 for line in conditions.lines]
        places = [row + (lane + 0.5) * height - _GROUP / 2 for row in range(len(values))]
        colour = _COLOURS[contender]
        bars = panel.barh(places, values, height=height * 0.85, color=colour, label=contender.title)
        panel.bar_label(bars, fmt=form, padding=3, fontsize=7, color=_INK)
    panel.set_yticks(range(len(conditions.lines)), [line.title for line in conditions.lines])
    if not panel.yaxis_inverted():
        panel.invert_yaxis()


def _draw_recoveries(panel: "Axes", measurement: QualityMeasurement) -> None:
    for recovery in measurement.recoveries:
        times = [at for at, _ in recovery.delays]
        delays = [1000 * delay for _, delay in recovery.delays]
        panel.plot(times, delays, ".-", color=_COLOURS[recovery.contender])
        panel.axvspan(recovery.began_at, recovery.ended_at, color="#f1f3f5", zorder=0)
    panel.set_ylim(bottom=0)
    panel.set_xlabel("seconds", color=_FAINT)
    _style(panel, "From said to heard around a burst of jitter, ms")


def _style(panel: "Axes", title: str) -> None:
    panel.set_title(title, loc="left", color=_INK, weight="bold", size=11, pad=8)
    panel.grid(axis="both", color="#e9ecef", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(length=0, colors=_FAINT, labelcolor=_INK)
    panel.spines[:].set_visible(False)
