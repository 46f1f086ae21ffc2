"""``voicegate bench``: the command line of what is measured here."""

import json
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Protocol, TypeVar

from cyclopts import App, Parameter

from voicegate.errors import UsageError, VoicegateError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from voicegate.bench.call_figure import CallConditions
    from voicegate.bench.row import Row
    from voicegate.bench.traffic import RelayConditions
    from voicegate.testing.browser import Kind

__all__ = ["app", "calls", "link", "quality", "relay", "setup"]

_T = TypeVar("_T")


class _Measurement(Protocol):
    """What every bench comes to."""

    def describe(self) -> Mapping[str, Any]:
        """Return all figures, as JSON has them."""


_MeasurementT = TypeVar("_MeasurementT", bound=_Measurement)

_EXIT_INTERRUPTED: Final = 130
"""As a shell reports a program that Ctrl-C ended."""

_LEAST_SECONDS: Final = 0.05
"""Of a run: in less, a relay has hardly woken up."""

_MOST_FLOWS: Final = 100_000
"""As many as the references have room for, and the generator has addresses."""

_QUICK: Final[Mapping[str, Any]] = {"flows": (1000,), "seconds": 0.5, "repeats": 1, "memory_flows": 100_000}

_QUICK_CALLS: Final[Mapping[str, Any]] = {
    "seconds": 2.0,
    "warm_up": 3.0,
    "growth": 2.0,
    "precision": 1.25,
    "steps": 7,
    "idle_calls": 30,
    "floor_seconds": 1.0,
}

_LEAST_CALL_SECONDS: Final = 0.5
"""Of a run: in less, there are too few frames to find a schedule in them."""

_QUICK_LINES: Final = ("clean", "loss10", "jitter60")

_MOST_CALLS: Final = 4000
"""As many as the generator has room for, besides some to begin with."""

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
    _show(measurement, render, picture.draw, png=png, json_file=json_file)


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
    _show(measurement, render_relays, draw_relays, png=png, json_file=json_file)


@app.command
def calls(
    *,
    series: Annotated[
        list[Literal["echo", "transcode", "aiortc"]] | None, Parameter(consume_multiple=True, negative="")
    ] = None,
    seconds: float | None = None,
    count: Annotated[int | None, Parameter(name="--calls")] = None,
    direct: bool = False,
    quick: bool = False,
    png: Path | None = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure how many calls a core holds with every frame on time, what they cost, and how late frames are.

    A load generator in C talks in real calls with voicegate, which passes their Opus through or decodes and
    encodes it, and in turn with aiortc. The server has a processor alone; generator and relay have the other.
    Needs gcc and the headers of OpenSSL. docs/bench.md says what the columns mean.

    Args:
        series: Who is called [echo transcode aiortc].
        seconds: Length of a run [20].
        count: So many calls, rather than as many as hold.
        direct: Call voicegate's transceiver without its relay.
        quick: Short runs and a coarse search; options win over it.
        png: Where to write a chart.
        json_file: Where to write all figures.
    """
    from voicegate.bench.call_picture import draw_calls
    from voicegate.bench.call_table import render_calls
    from voicegate.bench.callee import require_callees
    from voicegate.bench.calls import count_steps, measure_calls
    from voicegate.bench.compiler import require_tools

    given = {"seconds": seconds, "calls": count, "is_direct": direct or None}
    conditions = _call_conditions(given, series, quick=quick)
    _check_files(png, json_file)
    require_tools(has_openssl=True)
    require_callees(conditions.series)
    measurement = _run("steps", count_steps(conditions), partial(measure_calls, conditions))
    _show(measurement, render_calls, draw_calls, png=png, json_file=json_file)


@app.command
def quality(
    *,
    lines: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    contenders: Annotated[
        list[Literal["accurate", "fast", "aiortc"]] | None, Parameter(consume_multiple=True, negative="")
    ] = None,
    runs: int | None = None,
    recovery: bool = True,
    quick: bool = False,
    png: Path | None = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure how speech sounds that servers heard over bad lines, and how late it is.

    Real speech goes to voicegate, in both modes of its receiving side, and to aiortc, over lines that lose,
    delay and reorder packets; what they say back is scored against it. docs/bench.md has the details.

    Args:
        lines: Some of the lines, by name; all, if not given.
        contenders: Who is talked to [accurate fast aiortc].
        runs: Calls over each line to each of them [3].
        recovery: Whether to see how soon the delay returns after a burst of jitter.
        quick: A few lines, one call each; options win over it.
        png: Where to write a chart.
        json_file: Where to write all figures.
    """
    from voicegate.bench.quality import count_calls, measure_quality
    from voicegate.bench.quality_figure import Contender, QualityConditions, choose_lines
    from voicegate.bench.quality_picture import draw_quality
    from voicegate.bench.quality_table import render_quality

    settings: dict[str, Any] = {"runs": 1} if quick else {}
    settings |= {} if runs is None else {"runs": runs}
    if contenders:
        settings["contenders"] = tuple(each for each in Contender if each.value in contenders)
    chosen = choose_lines(lines or (_QUICK_LINES if quick else ()))
    conditions = QualityConditions(lines=chosen, has_recovery=recovery and not quick, **settings)
    if conditions.runs < 1:
        raise UsageError("--runs: at least 1 is wanted")
    _check_files(png, json_file)
    measurement = _run("calls", count_calls(conditions), partial(measure_quality, conditions))
    _show(measurement, render_quality, draw_quality, png=png, json_file=json_file)


@app.command
def link(
    *,
    count: Annotated[list[int] | None, Parameter(name="--calls", consume_multiple=True, negative="")] = None,
    form: Annotated[Literal["opus", "pcm16"], Parameter(name="--format")] = "opus",
    seconds: float = 5.0,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure what a call's link to its agent costs the gateway, in both shapes.

    Calls without network or codec talk with an agent that says back what it hears: in this process, and in
    another behind a link. docs/bench.md says what the columns mean.

    Args:
        count: Numbers of calls [1 50 400].
        form: Of their sound: Opus as it came, or PCM at 24 kHz.
        seconds: Length of a run.
        json_file: Where to write all figures.
    """
    from voicegate.bench.link import LinkConditions, count_link_runs, measure_links
    from voicegate.bench.link_table import render_links

    calls = tuple(sorted(set(count or (1, 50, 400))))
    if not all(1 <= each <= _MOST_CALLS for each in calls):
        raise UsageError(f"--calls: from 1 to {_MOST_CALLS}")
    if seconds < _LEAST_CALL_SECONDS:
        raise UsageError(f"--seconds is at least {_LEAST_CALL_SECONDS}")
    _check_files(None, json_file)
    conditions = LinkConditions(calls=calls, format=form, seconds=seconds)
    measurement = _run("runs", count_link_runs(conditions), partial(measure_links, conditions))
    _show(measurement, render_links, None, png=None, json_file=json_file)


def _call_conditions(
    given: Mapping[str, Any], names: Sequence[str] | None, *, quick: bool
) -> "CallConditions":
    from voicegate.bench.call_figure import CallConditions
    from voicegate.bench.callee import Series

    settings = dict(_QUICK_CALLS) if quick else {}
    settings |= {name: value for name, value in given.items() if value is not None}
    if names:
        settings["series"] = [series for series in Series if series.value in names]
    conditions = CallConditions(**settings)
    if conditions.seconds < _LEAST_CALL_SECONDS:
        raise UsageError(f"--seconds is at least {_LEAST_CALL_SECONDS}")
    if conditions.calls is not None and not 1 <= conditions.calls <= _MOST_CALLS:
        raise UsageError(f"--calls: from 1 to {_MOST_CALLS}")
    return conditions


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


def _show(
    measurement: _MeasurementT,
    render: Callable[[_MeasurementT], "Iterable[RenderableType]"],
    draw: Callable[[_MeasurementT, Path], None] | None,
    *,
    png: Path | None,
    json_file: Path | None,
) -> None:
    """Print what was measured, and write the files that are wanted."""
    from rich.console import Console

    console = Console()
    for part in render(measurement):
        console.print(part)
    if json_file is not None:
        _write(json_file, measurement.describe())
    if png is not None and draw is not None:
        draw(measurement, png)


def _first(group: BaseExceptionGroup[VoicegateError]) -> VoicegateError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _write(path: Path, figures: Mapping[str, Any]) -> None:
    try:
        path.write_text(json.dumps(figures, indent=1) + "\n")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
