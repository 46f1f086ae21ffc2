"""A measurement as a picture (PNG): the milestones of each row, or under loss how many were ready when."""

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from voicegate.bench.figure import Measurement, Milestone, Series, percentile
from voicegate.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw", "require_matplotlib"]

_COLOURS: Final[Mapping[str, str]] = {"voicegate": "#0b7285", "aiortc": "#e8590c"}
_INK: Final = "#212529"
_FAINT: Final = "#868e96"

_MARKS: Final = {
    Milestone.SERVER_AUDIO: ("D", "server heard"),
    Milestone.CLIENT_AUDIO: ("d", "client heard"),
    Milestone.SERVER_DATA: ("v", "server's message arrived"),
    Milestone.CLIENT_DATA: ("^", "client's message arrived"),
}

_LANE: Final = 0.36
"""Height of a server's lane, where a row is 1 high."""

_DASHES: Final = ("-", "--", ":", "-.")


def require_matplotlib() -> None:
    """See that a picture can be drawn, before hours of measuring.

    Errors: UsageError, saying what to install.
    """
    if find_spec("matplotlib") is None:
        raise UsageError("matplotlib is missing: pip install 'voicegate-server[bench]'")


def draw(measurement: Measurement, path: Path) -> None:
    """Write the picture.

    Errors: UsageError when matplotlib is missing or the file cannot be written.
    """
    require_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    by_browser = {
        browser: [series for series in measurement.series if series.browser == browser]
        for browser in measurement.browsers
    }
    rows = [len({series.row.name for series in made}) for made in by_browser.values()]
    is_lossy = bool(measurement.conditions.loss)
    heights = [4.0] * len(rows) if is_lossy else [0.72 * count + 0.5 for count in rows]
    figure = Figure(
        figsize=(10, sum(heights) + 1.1),
        layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12),
        facecolor="white",
    )
    panels = list(figure.subplots(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0])
    for panel, (browser, series) in zip(panels, by_browser.items(), strict=True):
        title = measurement.headline(measurement.browsers[browser])
        panel.set_title(title, loc="left", color=_INK, weight="bold", size=11, pad=10)
        (_draw_durations if is_lossy else _draw_milestones)(panel, series)
    if not is_lossy:
        _share_axis(panels)
        unit = "round trips" if measurement.conditions.round_trip else "seconds"
        panels[-1].set_xlabel(f"{unit} from the client's first packet", color=_FAINT, labelpad=8)
        _explain(figure, measurement)
    try:
        figure.savefig(path, format="png", dpi=160)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _draw_milestones(panel: "Axes", series: Sequence[Series]) -> None:
    names = list(dict.fromkeys(one.row.name for one in series))
    servers = list(dict.fromkeys(one.server for one in series))
    for one in series:
        lane = (servers.index(one.server) - (len(servers) - 1) / 2) * _LANE
        _draw_lane(panel, one, names.index(one.row.name) + lane)
    titles = {one.row.name: one.row.title for one in series}
    panel.set_yticks(range(len(names)), [rf"{titles[name]}   $\bf{{{name}}}$" for name in names])
    panel.set_ylim(len(names) - 0.45, -0.55)
    for edge in range(1, len(names)):
        panel.axhline(edge - 0.5, color="#e9ecef", linewidth=0.8, zorder=0)
    _style(panel)


def _draw_lane(panel: "Axes", series: Series, y: float) -> None:
    colour = _COLOURS[series.server]
    unit = series.round_trip or 1.0
    at = {milestone: series.median(milestone) / unit for milestone in Milestone}
    heard, ready = at[Milestone.SERVER_AUDIO], at[Milestone.READY]
    if not math.isfinite(ready):
        panel.text(
            0.05, y, f"{series.successes} of {len(series.setups)} succeeded", color=colour, va="center"
        )
        return
    panel.barh(y, ready, height=0.1, color=colour, alpha=0.3, linewidth=0, zorder=2)
    panel.barh(y, heard, height=0.1, color=colour, linewidth=0, zorder=2)
    for milestone, (marker, _) in _MARKS.items():
        values = series.values(milestone)
        panel.plot([values[0] / unit, values[-1] / unit], [y, y], color=_INK, linewidth=1, zorder=3)
        panel.plot(
            at[milestone],
            y,
            marker=marker,
            markersize=8,
            color=colour if milestone is not Milestone.CLIENT_AUDIO else "white",
            markeredgecolor="white" if milestone is not Milestone.CLIENT_AUDIO else colour,
            markeredgewidth=1,
            zorder=4,
        )
    end = max(ready, *(series.values(milestone)[-1] / unit for milestone in _MARKS))
    for milestone in (Milestone.SERVER_AUDIO, Milestone.BOTH_DATA):
        if (bound := series.bound(milestone)) is not None:
            end = max(end, bound)
            panel.plot([bound, bound], [y - 0.15, y + 0.15], color=_INK, linewidth=1.4, zorder=5)
    panel.annotate(
        f"{ready:.2f}",
        (end, y),
        xytext=(9, 0),
        textcoords="offset points",
        va="center",
        color=colour,
        weight="bold",
        fontsize=9,
    )


def _draw_durations(panel: "Axes", series: Sequence[Series]) -> None:
    names = list(dict.fromkeys(one.row.name for one in series))
    for one in series:
        values = [seconds * 1000 for seconds in one.values(Milestone.READY) if math.isfinite(seconds)]
        shares = [100 * (number + 1) / len(one.setups) for number in range(len(values))]
        label = f"{one.row.name} {one.server}: {one.successes} of {len(one.setups)}"
        if values:
            p50, p95 = (_percentile_text(one, percent) for percent in (50, 95))
            label += f", half within {p50}, 95 % within {p95}"
        panel.step(
            [0.0, *values],
            [0.0, *shares],
            where="post",
            color=_COLOURS[one.server],
            linestyle=_DASHES[names.index(one.row.name) % len(_DASHES)],
            linewidth=2,
            label=label,
        )
    panel.axhline(95, color=_FAINT, linewidth=0.8, linestyle=":")
    panel.set_ylim(0, 102)
    panel.set_xlim(left=0)
    panel.set_ylabel("set-ups ready, %", color=_FAINT)
    panel.set_xlabel(
        "milliseconds from the client's first packet until the server is heard and both messages got through",
        color=_FAINT,
    )
    panel.legend(loc="lower right", frameon=False, fontsize=9)
    _style(panel)


def _percentile_text(series: Series, percent: float) -> str:
    seconds = percentile(series.values(Milestone.READY), percent)
    return f"{seconds * 1000:.0f} ms" if math.isfinite(seconds) else "no time"


def _style(panel: "Axes") -> None:
    panel.grid(axis="x", color="#dee2e6", linewidth=0.8, zorder=0)
    panel.set_axisbelow(True)
    panel.tick_params(length=0, colors=_FAINT, labelcolor=_INK)
    panel.spines[:].set_visible(False)


def _share_axis(panels: Sequence["Axes"]) -> None:
    """Give all browsers the same scale, with a line for each round trip."""
    from matplotlib.ticker import MaxNLocator

    end = max(panel.get_xlim()[1] for panel in panels)
    for panel in panels:
        panel.set_xlim(0, end)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))


def _explain(figure: "Figure", measurement: Measurement) -> None:
    from matplotlib.lines import Line2D

    servers = dict.fromkeys(series.server for series in measurement.series)
    handles = [Line2D([], [], color=_COLOURS[server], linewidth=5, label=server) for server in servers]
    for milestone, (marker, meaning) in _MARKS.items():
        face = "white" if milestone is Milestone.CLIENT_AUDIO else _FAINT
        handles.append(
            Line2D([], [], linestyle="", marker=marker, color=face, markeredgecolor=_FAINT, label=meaning)
        )
    if any(series.bound(milestone) for series in measurement.series for milestone in Milestone):
        bound = Line2D([], [], linestyle="", marker="|", markersize=11, color=_INK, label="bound")
        handles.append(bound)
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
