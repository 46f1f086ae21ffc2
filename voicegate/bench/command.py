"""``voicegate bench``: the command line of what is measured here."""

import json
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from cyclopts import App, Parameter

from voicegate.errors import UsageError, VoicegateError

if TYPE_CHECKING:
    from voicegate.bench.row import Row
    from voicegate.bench.traffic import RelayConditions
    from voicegate.testing.browser import Kind

__all__ = ["app", "relay", "setup"]

_T = TypeVar("_T")

_EXIT_INTERRUPTED: Final = 130
"""As a shell reports a program that Ctrl-C ended."""

_LEAST_SECONDS: Final = 0.05
"""Of a run: in less, a relay has hardly woken up."""

_MOST_FLOWS: Final = 100_000
"""As many as the references have room for, and the generator has addresses."""

_QUICK: Final[Mapping[str, Any]] = {"flows": (1000,), "seconds": 0.5, "repeats": 1, "memory_flows": 100_000}

app = App(name="bench", help="Measure voicegate, beside references in the same run.")


@app.command
def setup(
    *,
    rtt_ms: float = 200.0,
    loss: float = 0.0,
    runs: int = 5,
    rows: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    browser: Literal["chromium", "firefox", "both"] = "both",
    reference: bool = True,
    png: Path | None = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure how long calls take to be set up, over a line of chosen delay and loss.

    Real browsers call voicegate and, in turn, aiortc, through a line in this process. Each row is one way to
    set a call up, from DTLS 1.2 to WARP; docs/bench.md says what the letters mean.

    Args:
        rtt_ms: Round trip of the line, in milliseconds.
        loss: Probability, in percent, that the line loses a datagram, in each direction.
        runs: Calls of each row to each server; one more warms up.
        rows: Some of A D S E G Gd H; all that the browser can show, if not given.
        browser: Who calls; Firefox shows rows D and S, and needs root or user namespaces.
        reference: Whether aiortc is measured beside.
        png: Where to write a chart.
        json_file: Where to write all figures.
    """
    # Here and not above: `voicegate --help` needs none of it.
    from rich.console import Console

    from voicegate.bench import picture
    from voicegate.bench.figure import Conditions
    from voicegate.bench.setup import measure
    from voicegate.bench.table import render

    if runs < 1:
        raise UsageError("--runs: at least 1 is wanted")
    if rtt_ms < 0 or not 0 <= loss < 100:
        raise UsageError("--rtt-ms is not negative, and --loss is from 0 to below 100")
    _check_files(png, json_file)
    conditions = Conditions(round_trip=rtt_ms / 1000, loss=loss / 100, runs=runs, has_reference=reference)
    chosen = _choose(rows or (), browser)
    calls = len(chosen) * (2 if reference else 1) * (runs + 1)
    measurement = _run("calls", calls, partial(measure, chosen, conditions))
    console = Console()
    for part in render(measurement):
        console.print(part)
    if json_file is not None:
        _write(json_file, measurement.describe())
    if png is not None:
        picture.draw(measurement, png)


@app.command
def relay(
    *,
    flows: Annotated[list[int] | None, Parameter(consume_multiple=True, negative="")] = None,
    rates: Annotated[list[int] | None, Parameter(consume_multiple=True, negative="")] = None,
    references: Annotated[list[Literal["c", "go"]] | None, Parameter(consume_multiple=True)] = None,
    seconds: float | None = None,
    repeats: int | None = None,
    search: bool = True,
    memory_flows: int | None = None,
    quick: bool = False,
    profile: Path | None = None,
    png: Path | None = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure what a packet costs in the relay, how many it forwards, and how long they take.

    Our relay, a relay in C and one in Go take turns on one processor, a load generator in C has the other.
    Needs gcc and, for the second reference, go. docs/bench.md says what the columns mean.

    Args:
        flows: Numbers of clients [100 1000 10000].
        rates: Packets a second, 0 for as many as a relay takes [0 1000 20000 60000].
        references: What is measured beside [c go].
        seconds: Length of a run [2].
        repeats: Runs of each relay under each load, of which the median counts [3].
        search: Whether to look for the highest rate without loss.
        memory_flows: How many flows to open to see what they take, 0 for none [1000000].
        quick: 1000 flows, runs of half a second, once; options win over it.
        profile: A folder for a profile of each relay in each direction; needs perf.
        png: Where to write a chart.
        json_file: Where to write all figures.
    """
    from rich.console import Console

    from voicegate.bench.compiler import require_tools
    from voicegate.bench.relay import count_steps, measure_relays
    from voicegate.bench.relay_picture import draw_relays
    from voicegate.bench.relay_table import render_relays

    given = {
        "flows": flows,
        "rates": rates,
        "seconds": seconds,
        "repeats": repeats,
        "has_search": search,
        "memory_flows": memory_flows,
        "profile": profile,
    }
    conditions = _relay_conditions(given, references, quick=quick)
    _check_files(png, json_file)
    require_tools(has_go="Go" in conditions.references, has_perf=profile is not None)
    measurement = _run("runs", count_steps(conditions), partial(measure_relays, conditions))
    console = Console()
    for part in render_relays(measurement):
        console.print(part)
    if json_file is not None:
        _write(json_file, measurement.describe())
    if png is not None:
        draw_relays(measurement, png)


def _relay_conditions(
    given: Mapping[str, Any], references: Sequence[str] | None, *, quick: bool
) -> "RelayConditions":
    from voicegate.bench.traffic import REFERENCE_C, REFERENCE_GO, RelayConditions

    settings = dict(_QUICK) if quick else {}
    settings |= {name: value for name, value in given.items() if value is not None}
    if references is not None:
        settings["references"] = [name for name in (REFERENCE_C, REFERENCE_GO) if name.lower() in references]
    for name in ("flows", "rates"):
        if name in settings:
            settings[name] = tuple(sorted(set(settings[name])))
    conditions = RelayConditions(**settings)
    if not all(1 <= count <= _MOST_FLOWS for count in conditions.flows):
        raise UsageError(f"--flows: from 1 to {_MOST_FLOWS}")
    if min(conditions.rates) < 0:
        raise UsageError("--rates: not negative")
    if conditions.seconds < _LEAST_SECONDS or conditions.repeats < 1:
        raise UsageError(f"--seconds is at least {_LEAST_SECONDS}, and --repeats at least 1")
    if conditions.memory_flows < 0:
        raise UsageError("--memory-flows: not negative")
    return conditions


def _check_files(png: Path | None, json_file: Path | None) -> None:
    from voicegate.bench.picture import require_matplotlib

    for path in (png, json_file):
        if path is not None and not path.parent.is_dir():
            raise UsageError(f"{path}: there is no folder {path.parent}")
    if png is not None:
        require_matplotlib()


def _choose(names: Sequence[str], browser: str) -> "list[tuple[Kind, Row]]":
    from voicegate.bench.row import select_rows

    browsers: tuple[Kind, ...] = ("chromium", "firefox")
    wanted = [kind for kind in browsers if browser in {kind, "both"}]
    chosen = [(kind, row) for kind in wanted for row in select_rows(names, kind)]
    if not chosen:
        raise UsageError(f"--browser {browser}: it can show none of the rows {', '.join(names)}")
    return chosen


def _run(what: str, total: int, measure: Callable[..., Awaitable[_T]]) -> _T:
    """Measure below a progress bar, until it is done or Ctrl-C.

    Errors: UsageError for whatever is missing on this machine: told like a mistake in the call, in one line.
    """
    import trio

    try:
        return trio.run(_measure, what, total, measure)
    except* VoicegateError as group:
        raise UsageError(str(_first(group))) from group


async def _measure(what: str, total: int, measure: Callable[..., Awaitable[_T]]) -> _T:
    import trio
    from rich.console import Console
    from rich.progress import Progress

    async def give_up() -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                nursery.cancel_scope.cancel()

    def advance() -> None:
        progress.advance(bar)
        progress.refresh()

    # Drawn between the steps only: a bar that moves by itself takes milliseconds from what is measured.
    with Progress(console=Console(stderr=True), transient=True, auto_refresh=False) as progress:
        bar = progress.add_task(what, total=total)
        progress.refresh()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_up)
            measurement = await measure(advance=advance)
            nursery.cancel_scope.cancel()
            return measurement
    sys.exit(_EXIT_INTERRUPTED)


def _first(group: BaseExceptionGroup[VoicegateError]) -> VoicegateError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _write(path: Path, figures: Mapping[str, Any]) -> None:
    try:
        path.write_text(json.dumps(figures, indent=1) + "\n")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
