"""``voicegate bench``: the command line of what is measured here."""

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import App, Parameter

from voicegate.errors import UsageError, VoicegateError

if TYPE_CHECKING:
    from voicegate.bench.figure import Conditions, Measurement
    from voicegate.bench.row import Row
    from voicegate.testing.browser import Kind

__all__ = ["app", "setup"]

_EXIT_INTERRUPTED: Final = 130
"""As a shell reports a program that Ctrl-C ended."""

app = App(name="bench", help="Measure voicegate in real browsers, beside a reference in the same run.")


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
    import trio
    from rich.console import Console

    from voicegate.bench import picture
    from voicegate.bench.figure import Conditions
    from voicegate.bench.table import render

    if runs < 1:
        raise UsageError("--runs: at least 1 is wanted")
    if rtt_ms < 0 or not 0 <= loss < 100:
        raise UsageError("--rtt-ms is not negative, and --loss is from 0 to below 100")
    for path in (png, json_file):
        if path is not None and not path.parent.is_dir():
            raise UsageError(f"{path}: there is no folder {path.parent}")
    if png is not None:
        picture.require_matplotlib()
    conditions = Conditions(round_trip=rtt_ms / 1000, loss=loss / 100, runs=runs, has_reference=reference)
    try:
        measurement = trio.run(_measure, _choose(rows or (), browser), conditions)
    except* VoicegateError as group:
        # What is missing on this machine is told like a mistake in the call: in one line.
        raise UsageError(str(_first(group))) from group
    console = Console()
    for part in render(measurement):
        console.print(part)
    if json_file is not None:
        _write(json_file, measurement)
    if png is not None:
        picture.draw(measurement, png)


def _choose(names: Sequence[str], browser: str) -> "list[tuple[Kind, Row]]":
    from voicegate.bench.row import select_rows

    browsers: tuple[Kind, ...] = ("chromium", "firefox")
    wanted = [kind for kind in browsers if browser in {kind, "both"}]
    chosen = [(kind, row) for kind in wanted for row in select_rows(names, kind)]
    if not chosen:
        raise UsageError(f"--browser {browser}: it can show none of the rows {', '.join(names)}")
    return chosen


async def _measure(rows: "list[tuple[Kind, Row]]", conditions: "Conditions") -> "Measurement":
    import trio
    from rich.console import Console
    from rich.progress import Progress

    from voicegate.bench.setup import measure

    async def give_up() -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                nursery.cancel_scope.cancel()

    measurement: Measurement | None = None
    servers = 2 if conditions.has_reference else 1
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("calls", total=len(rows) * servers * (conditions.runs + 1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_up)
            measurement = await measure(rows, conditions, advance=lambda: progress.advance(bar))
            nursery.cancel_scope.cancel()
    if measurement is None:
        sys.exit(_EXIT_INTERRUPTED)
    return measurement


def _first(group: BaseExceptionGroup[VoicegateError]) -> VoicegateError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _write(path: Path, measurement: "Measurement") -> None:
    try:
        path.write_text(json.dumps(measurement.describe(), indent=1) + "\n")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
