"""What `voicegate fuzz` shows: a line for each target at work, and a table in the end.

Layer: shell (Trio).
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress as ProgressBar
from rich.progress import TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from voicegate.testing.fuzz.run import Progress, Result, Settings

__all__ = ["Display", "tabulate"]


class Display:
    """The lines, on a terminal; elsewhere just one for each result. A context manager."""

    def __init__(self, console: Console, settings: Settings, total: int) -> None:
        self._console = console
        self._settings = settings
        self._total = total
        self._finished = 0
        self._tasks: dict[str, TaskID] = {}
        self._bar = ProgressBar(
            TextColumn("[bold]{task.description}[/] {task.fields[state]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Show how a target does."""
        if progress.target not in self._tasks:
            self._tasks[progress.target] = self._bar.add_task(progress.target, state="")
        left = max(0.0, self._settings.seconds - progress.elapsed)
        state = f"{left:.0f} s left, {_state(progress)}, {self._settings.engine}"
        self._bar.update(self._tasks[progress.target], state=state)

    def finish(self, result: Result) -> None:
        """Show how a target did, and how to see again what was found."""
        self._finished += 1
        target, finding = result.progress.target, result.finding
        if target in self._tasks:
            self._bar.remove_task(self._tasks.pop(target))
        count = f"{self._finished}/{self._total} " if self._total > 1 else ""
        line = Text.assemble(count, (target, "bold"), f" {result.engine}: {_state(result.progress)} ")
        line.append(
            "clean" if finding is None else finding.kind.upper(), "green" if finding is None else "bold red"
        )
        self._console.print(line, soft_wrap=True)
        if finding is None:
            return
        self._console.print(Text(finding.trace or finding.detail), soft_wrap=True)
        if result.reproducer is not None:
            again = f"voicegate fuzz {target} --replay {result.reproducer}"
            self._console.print(Text.assemble("again: ", (again, "bold")), soft_wrap=True)


def tabulate(results: Sequence[Result]) -> Table:
    """Return the table of all results; memory as its peak, and what it grew by in the second half."""
    table = Table(box=None, header_style="bold")
    table.add_column("target", overflow="fold")
    for heading in ("runs", "/s", "branches", "corpus", "MiB", "+MiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("finding")
    for result in sorted(results, key=lambda result: result.progress.target):
        progress, finding = result.progress, result.finding
        table.add_row(
            progress.target,
            str(progress.executions),
            f"{progress.rate:.0f}",
            "" if progress.coverage is None else str(progress.coverage),
            str(progress.corpus_files),
            str(progress.memory_peak >> 20),
            str(result.memory_growth >> 20),
            "" if finding is None else f"{finding.kind}: {finding.detail}",
        )
    return table


def _state(progress: Progress) -> str:
    coverage = "" if progress.coverage is None else f", {progress.coverage} branches"
    corpus = f", corpus {progress.corpus_files}" if progress.corpus_files else ""
    return f"{progress.executions} runs, {progress.rate:.0f}/s{coverage}{corpus}, {progress.memory >> 20} MiB"
