"""One target, fuzzed: seeds go in, progress and a result come out, and what was worth it is kept.

Layer: shell (Trio).
"""

import hashlib
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

import attrs
import trio

from voicegate.testing.fuzz.corpus import inputs, keep, named, seeds, staying
from voicegate.testing.fuzz.process import Worker, explain

__all__ = ["Finding", "Progress", "Result", "Settings", "fuzz", "installed_engine", "replay"]

_MERGE_LIMIT: Final = 900.0
"""Seconds for choosing what is kept; it costs a run of all that was found."""
_GROWTH_LIMIT: Final = 64 << 20
"""Bytes that a process may grow by in the second half of its time, when all there is to cache was cached."""

_OPTIONS: Final = ("-timeout=100000", "-rss_limit_mb=0", "-handle_usr1=0")
"""For libFuzzer. We watch over time and memory, alike for both engines; SIGUSR1 is faulthandler's."""

Engine = Literal["atheris", "mutation"]


def installed_engine() -> Engine:
    """Return atheris, which is guided by coverage, if it is there; our own engine changes seeds blindly."""
    return "mutation" if find_spec("atheris") is None else "atheris"


@attrs.frozen(kw_only=True)
class Settings:
    """How to fuzz."""

    engine: Engine = attrs.field(factory=installed_engine)
    seconds: float = 60.0
    """For each target."""
    hang_limit: float = 5.0
    """Seconds of processor time for one input."""
    memory_mib: int = 512
    """What the process may take."""
    corpus: Path | None = None
    """Holds a folder of inputs for each target: they are seeds, and what was found is added."""
    findings: Path = Path()
    """Where reproducers are written."""


@attrs.frozen(kw_only=True)
class Progress:
    """How it goes."""

    target: str
    elapsed: float = 0.0
    """Seconds since the first input."""
    executions: int = 0
    """Inputs that were run."""
    corpus_files: int = 0
    """Inputs that each show something new."""
    corpus_bytes: int = 0
    coverage: int | None = None
    """Branches that were seen, if the engine counts them."""
    memory: int = 0
    """Bytes, now."""
    memory_peak: int = 0

    @property
    def rate(self) -> float:
        """Executions per second."""
        return self.executions / self.elapsed if self.elapsed else 0.0


@attrs.frozen(kw_only=True)
class Finding:
    """What is wrong."""

    kind: Literal["crash", "hang", "memory", "start"]
    """``start``: it did not come to a first input."""
    detail: str
    """In one line."""
    trace: str
    """Where, if that is known."""
    data: bytes
    """The input."""

    def write(self, folder: Path, target: str) -> Path:
        """Write the input to a file that is named after it."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.kind}-{target}-{hashlib.sha256(self.data).hexdigest()[:16]}"
        path.write_bytes(self.data)
        return path


@attrs.frozen(kw_only=True)
class Result:
    """How it went."""

    progress: Progress
    """At the end."""
    engine: Engine | Literal["replay"]
    memory_growth: int
    """Bytes, in the second half of the time."""
    finding: Finding | None
    reproducer: Path | None = None
    """Where the input of the finding is."""


async def fuzz(target: str, settings: Settings, report: "trio.MemorySendChannel[Progress]") -> Result:
    """Fuzz a target for its time or until it breaks, and keep what was found in the corpus."""
    with TemporaryDirectory(prefix="voicegate-fuzz-") as name:
        folder = Path(name)
        work = folder / "work"
        work.mkdir()
        folders = [str(path) for path in seeds(target, settings.corpus)]
        if settings.engine == "atheris":
            options = [*_OPTIONS, f"-artifact_prefix={folder}/"]
            options += [f"-max_total_time={max(1, round(settings.seconds))}", str(work)]
        else:
            options = [str(settings.seconds)]
        result = await _watch(target, settings, settings.engine, [*options, *folders], folder, report)
        if result.finding is not None and result.finding.kind != "start":
            reproducer = result.finding.write(settings.findings, target)
            result = attrs.evolve(result, reproducer=reproducer)
        if settings.corpus is not None and settings.engine == "atheris" and inputs(work):
            await _keep(target, settings.corpus, folder)
        return result


async def replay(
    target: str, file: Path, settings: Settings, report: "trio.MemorySendChannel[Progress]"
) -> Result:
    """Run one input some times."""
    with TemporaryDirectory(prefix="voicegate-fuzz-") as name:
        return await _watch(target, settings, "replay", [str(file)], Path(name), report)


async def _watch(
    target: str,
    settings: Settings,
    engine: Engine | Literal["replay"],
    arguments: list[str],
    folder: Path,
    report: "trio.MemorySendChannel[Progress]",
) -> Result:
    begun: float | None = None
    half = 0
    progress = Progress(target=target)
    async with Worker.open(
        engine,
        target,
        arguments,
        folder=folder,
        memory_mib=settings.memory_mib,
        hang_limit=settings.hang_limit,
    ) as worker:
        is_running = True
        while is_running:
            is_running = await worker.is_running()
            now = trio.current_time()
            # Not the time that it takes to import everything.
            begun = now if begun is None and worker.executions else begun
            progress = Progress(
                target=target,
                elapsed=0.0 if begun is None else now - begun,
                executions=worker.executions,
                corpus_files=worker.corpus,
                corpus_bytes=worker.corpus_bytes,
                coverage=worker.coverage,
                memory=worker.memory,
                memory_peak=worker.memory_peak,
            )
            if not half and progress.elapsed > settings.seconds / 2:
                half = worker.memory
            await report.send(progress)
        growth = worker.memory - half if half else 0
    return Result(
        progress=progress,
        engine=engine,
        memory_growth=growth,
        finding=_judge(worker, growth),
    )


def _judge(worker: Worker, growth: int) -> Finding | None:
    detail, trace = explain(worker.log)
    kind: Literal["crash", "hang", "memory", "start"]
    if worker.is_hanging:
        kind, detail = "hang", detail or "does not end"
    elif worker.returncode:
        kind = "memory" if "MemoryGrownError" in detail else "crash"
        if worker.returncode < 0:
            detail = detail or f"ended by {signal.Signals(-worker.returncode).name}"
    elif growth > _GROWTH_LIMIT:
        kind, detail = "memory", f"grew by {growth >> 20} MiB in the second half of its time"
    else:
        return None
    if not worker.executions:
        return Finding(kind="start", detail=detail, trace=trace, data=b"")
    return Finding(kind=kind, detail=detail, trace=trace, data=worker.data)


async def _keep(target: str, corpus: Path, folder: Path) -> None:
    """Take from all that was found a few inputs that reach as many branches, beside those with a name."""
    kept, fixed, found = corpus / target, folder / "fixed", folder / "work"
    fixed.mkdir()
    for path in staying(target, corpus):
        shutil.copyfile(path, fixed / path.name)
    for path in set(inputs(kept)) - set(named(kept)):
        shutil.copyfile(path, found / path.name)
    before = set(inputs(fixed))
    # Of branches, not of how often each was taken: that would keep ten times as many.
    options = [*_OPTIONS, "-merge=1", "-use_counters=0", f"-merge_control_file={folder / 'control'}"]
    with trio.move_on_after(_MERGE_LIMIT):
        async with Worker.open(
            "atheris",
            target,
            [*options, str(fixed), str(found)],
            folder=folder,
            memory_mib=1 << 20,
            hang_limit=_MERGE_LIMIT,
        ) as worker:
            while await worker.is_running():
                pass
        if worker.returncode == 0:
            keep(kept, set(inputs(fixed)) - before)
