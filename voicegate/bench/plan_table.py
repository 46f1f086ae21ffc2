"""A plan for the terminal."""

from collections.abc import Iterator
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from voicegate.bench.relay_table import grouped
from voicegate.capacity import Basis, Figures, Plan

__all__ = ["render_figures", "render_plan"]

_MEANS: Final = {
    "nothing": "Nothing may be lost.",
    "zone": "A zone of each region may be lost.",
    "region": "Any one region may be lost.",
}
_WORST: Final = "when the worst has happened"
_STYLES: Final = {Basis.MEASURED: "green", Basis.DERIVED: "cyan", Basis.ASSUMED: "yellow"}


def render_plan(plan: Plan) -> Iterator[RenderableType]:
    """Lay out a plan."""
    demand = plan.demand
    yield Text(
        f"\n{grouped(demand.calls)} calls, room for {grouped(plan.capacity)}. {_MEANS[demand.loss.value]}",
        style="bold",
    )
    yield (
        f"A call takes {plan.call_percent:.2f} % of a core: {plan.slots} in a transceiver worker, "
        f"{plan.relay_slots} in a relay worker."
    )
    yield _region_table(plan)
    yield from _words(plan)


def render_figures(figures: Figures) -> Iterator[RenderableType]:
    """Lay out what a plan is made of."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for title in ("figure", "value", "unit", "basis", "from"):
        table.add_column(title, justify="right" if title == "value" else "left", overflow="fold")
    for figure in figures.listed():
        basis = Text(figure.basis.value, style=_STYLES[figure.basis])
        source = figure.source if figure.is_default else "given"
        table.add_row(figure.name, f"{figure.value:g}", figure.unit, basis, source)
    yield table


def _region_table(plan: Plan) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
    regions = plan.regions
    table.add_column("")
    for name in (*(region.name for region in regions), "all"):
        table.add_column(name, justify="right", no_wrap=True)
    rows: tuple[tuple[str, list[float], int], ...] = (
        ("calls", [region.calls for region in regions], 0),
        ("room for", [region.capacity for region in regions], 0),
        ("transceiver machines", [region.transceiver_machines for region in regions], 0),
        ("relay machines", [region.relay_machines for region in regions], 0),
        ("memory, GB", [region.memory_gb for region in regions], 1),
        ("clients, Gbit/s", [region.public_gbit for region in regions], 2),
        (_WORST, [region.worst_public_gbit for region in regions], 2),
        ("hop, Gbit/s", [region.hop_gbit for region in regions], 2),
        ("agents, Gbit/s", [region.link_gbit for region in regions], 2),
    )
    for title, values, places in rows:
        # No two regions are at their worst at the same time.
        total = [] if title == _WORST else [sum(values)]
        table.add_row(title, *(_number(value, places) for value in (*values, *total)))
    return table


def _words(plan: Plan) -> Iterator[str]:
    demand, cluster, deploy, storm = plan.demand, plan.cluster, plan.deploy, plan.storm
    yield "Bandwidth is each way; it is the same in both.\n"
    several = "one cluster" if cluster.clusters == 1 else f"{cluster.clusters} clusters, each with its own,"
    yield (
        f"Redis: {several} of {grouped(cluster.calls)} calls and {grouped(cluster.members)} leases; "
        f"{grouped(cluster.flow_writes)} flow rows a second, {grouped(cluster.commands)} commands, "
        f"{100 * cluster.busy:.0f} % of its core, {cluster.memory_mb:.0f} MB."
    )
    if not cluster.reached:
        yield "More clusters than there can be would be needed."
    if cluster.worst_busy > 1:
        yield "While most machines are full it is busy all the time, and leases are read a little later."
    yield (
        f"A deploy takes {deploy.rounds} rounds, {deploy.seconds / 60:.0f} min at most; of the calls on "
        f"drained machines {100 * deploy.cut_share:.1f} % outlast {demand.drain_seconds:g} s "
        f"(1 %: {deploy.seconds_for_one_percent:.0f} s)."
    )
    if storm is not None:
        yield (
            f"With the largest region {grouped(storm.calls)} calls are lost and made again: "
            f"{grouped(storm.rate)} set-ups a second, {100 * storm.busy:.0f} % of the cores that remain."
        )


def _number(value: float, places: int) -> str:
    return f"{value:_.{places}f}".replace("_", " ")
