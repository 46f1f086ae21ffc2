"""Many targets, fuzzed in turn: what `voicegate fuzz` does.

Layer: shell (Trio).
"""

import json
import signal
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import attrs
import trio
from rich.console import Console

from voicegate.errors import UsageError
from voicegate.testing.fuzz.display import Display, tabulate
from voicegate.testing.fuzz.run import Progress, Result, Settings, fuzz, installed_engine, replay

__all__ = ["run_campaign", "select"]

_CLEAN: Final = 0
_FOUND: Final = 1
_INTERRUPTED: Final = 130
_WIDTH: Final = 200
_HINTS: Final = 3
_EVENTS: Final = 64
"""Between the runs and the display; when it is full, they wait for it."""


def select(wanted: str, targets: Iterable[str]) -> list[str]:
    """Return the target of that name, those below it (``dtls``, ``dtls.v12``), or ``all``.

    What has a colon, ``module:function``, is the user's own.

    Errors: UsageError, with what may have been meant.
    """
    names = sorted(targets)
    chosen = [name for name in names if wanted in {"all", name} or name.startswith(f"{wanted}.")]
    if not chosen and wanted.partition(":")[2].isidentifier():
        chosen = [wanted]
    if not chosen:
        near = sorted((name for name in names if _is_like(wanted.lower(), name.lower())), key=len)
        hint = f"did you mean {', '.join(near[:_HINTS])}? " if near else ""
        raise UsageError(f"no target {wanted!r}; {hint}`voicegate fuzz --list` names all")
    return chosen


def _is_like(wanted: str, name: str) -> bool:
    """Tell whether one may stand for the other: a piece of it, or misspelt."""
    return wanted != "" and (
        wanted in name or bool(get_close_matches(wanted, [name, *name.split(".")], cutoff=0.75))
    )


def run_campaign(
    targets: Sequence[str],
    settings: Settings,
    *,
    jobs: int = 1,
    output: Path | None = None,
    reproducer: Path | None = None,
) -> int:
    """Fuzz targets, or replay an input on one, showing how it goes; return the exit status.

    Results are written to ``output`` as they come.
    """
    if settings.seconds <= 0 or jobs < 1:
        raise UsageError("--seconds and --jobs are more than 0")
    if settings.engine == "atheris" != installed_engine():
        raise UsageError("atheris is not installed: pip install 'voicegate-server[fuzz]'")
    for path in (settings.corpus, reproducer):
        if path is not None and not path.exists():
            raise UsageError(f"{path} does not exist")
    return trio.run(_run, targets, settings, jobs, output, reproducer)


async def _run(
    targets: Sequence[str], settings: Settings, jobs: int, output: Path | None, reproducer: Path | None
) -> int:
    results: list[Result] = []
    is_interrupted = False
    send, receive = trio.open_memory_channel[Progress | Result](_EVENTS)
    console = Console(stderr=True, highlight=False)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def wait_interrupted() -> None:
                nonlocal is_interrupted
                async for _ in signals:
                    is_interrupted = True
                    nursery.cancel_scope.cancel()

            nursery.start_soon(wait_interrupted)
            nursery.start_soon(_fuzz_all, targets, settings, jobs, reproducer, send)
            with Display(console, settings, len(targets)) as display:
                async for happened in receive:
                    match happened:
                        case Progress():
                            display.show(happened)
                        case Result():
                            results.append(happened)
                            display.finish(happened)
                            if output is not None:
                                _write(output, results)
            nursery.cancel_scope.cancel()
    if len(results) > 1:
        # A file has no width; what is read by a program is not to be folded.
        width = None if sys.stdout.isatty() else _WIDTH
        Console(highlight=False, width=width).print(tabulate(results))
    if is_interrupted:
        return _INTERRUPTED
    return _FOUND if any(result.finding for result in results) else _CLEAN


async def _fuzz_all(
    targets: Sequence[str],
    settings: Settings,
    jobs: int,
    reproducer: Path | None,
    send: "trio.MemorySendChannel[Progress | Result]",
) -> None:
    free = trio.CapacityLimiter(jobs)

    async def run(target: str) -> None:
        try:
            if reproducer is None:
                result = await fuzz(target, settings, send)
            else:
                result = await replay(target, reproducer, settings, send)
        finally:
            free.release_on_behalf_of(target)
        await send.send(result)

    async with send, trio.open_nursery() as nursery:
        for target in targets:
            await free.acquire_on_behalf_of(target)
            nursery.start_soon(run, target)


def _write(output: Path, results: Sequence[Result]) -> None:
    """Write all results so far; whoever reads meanwhile sees the old file or the new."""
    draft = output.with_name(f"{output.name}.draft")
    draft.write_text(json.dumps([_plain(result) for result in results], indent=1))
    draft.replace(output)


def _plain(result: Result) -> dict[str, object]:
    finding = result.finding
    return {
        "engine": result.engine,
        **attrs.asdict(result.progress),
        "rate": result.progress.rate,
        "memory_growth": result.memory_growth,
        "finding": finding and {"kind": finding.kind, "detail": finding.detail, "trace": finding.trace},
        "reproducer": result.reproducer and str(result.reproducer),
    }
