"""A process that feeds one target; `voicegate.testing.fuzz.run` starts it and watches it.

    python -m voicegate.testing.fuzz.worker ENGINE TARGET RECORDER MEMORY_MIB [ARGUMENT...]

Engines: ``atheris`` takes libFuzzer's options, ``mutation`` a number of seconds and folders of seeds,
``replay`` files. An input that breaks the target ends the process with a traceback. A target is one of
`voicegate.testing.targets`, or ``module:function`` of whatever can be imported.

Layer: shell (no Trio: a fuzzer has the process to itself).
"""

import faulthandler
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random  # noqa: TID251 - what to try next: no secret
from resource import RUSAGE_SELF, getrusage
from typing import Final

from voicegate.testing.fuzz.recorder import Recorder

__all__ = ["Guard", "MemoryGrownError", "main"]

_BROKEN: Final = 77
"""Exit status, as of libFuzzer."""

_REPLAYS: Final = 10
"""How often an input is replayed: a target with cryptography in it makes new keys each time."""

_MAX_LENGTH: Final = 4096
"""Bytes of an input of our own engine, unless a seed is longer; libFuzzer does the same."""
_MAX_CHANGES: Final = 4
"""Changes from a seed: with more of them, hardly anything gets past the first check."""

Target = Callable[[bytes], None]


class MemoryGrownError(Exception):
    """The process has taken more memory than any input should need."""


class Guard:
    """A target that says what it is on, and looks at how much memory was taken for it."""

    def __init__(self, target: Target, recorder: Recorder, *, memory_mib: int) -> None:
        self._target = target
        self._recorder = recorder
        self._memory_mib = memory_mib

    def __call__(self, data: bytes) -> None:
        """Run an input; whatever it breaks is said, and ends the process."""
        self._recorder.record(data)
        try:
            self._target(data)
            self._check_memory()
        except BaseException:
            # Here, and not where it would get to: all engines say the same then.
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(_BROKEN)

    def _check_memory(self) -> None:
        # The high-water mark: it shows memory that was given back, too. This one costs little, but begins at
        # what the process had that started us; the other is ours alone.
        if getrusage(RUSAGE_SELF).ru_maxrss >> 10 > self._memory_mib < (taken := _high_water_mib()):
            raise MemoryGrownError(f"{taken} MiB, where {self._memory_mib} MiB are allowed")


def _high_water_mib() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) >> 10 for line in status.splitlines() if line.startswith("VmHWM:"))


def main(arguments: Sequence[str]) -> None:
    """Run an engine on a target."""
    # Asked for when an input takes too long: it tells where.
    faulthandler.register(signal.SIGUSR1)
    engine, name, recorder, memory_mib, *rest = arguments
    guard = partial(Guard, recorder=Recorder(Path(recorder)), memory_mib=int(memory_mib))
    if engine == "atheris":
        command = shlex.join((sys.executable, "-m", "voicegate.testing.fuzz.worker", *arguments[:4]))
        _run_atheris(name, guard, [command, *rest])
    elif engine == "mutation":
        _run_mutation(name, guard, float(rest[0]), _read(rest[1:]))
    else:
        target = guard(_find(name))
        for data in _read(rest):
            for _ in range(_REPLAYS):
                target(data)


def _run_atheris(name: str, guard: Callable[[Target], Guard], command: list[str]) -> None:
    """Let libFuzzer run; to merge, it starts ``command`` again, by the shell."""
    atheris = import_module("atheris")
    # Branches and comparisons are seen in what is imported from here on.
    with atheris.instrument_imports(include=["voicegate", name.partition(":")[0].partition(".")[0]]):
        target = guard(_find(name))
        from voicegate.testing.fuzz.mutation import mutate_script

    def mutate(script: bytes, max_length: int, seed: int) -> bytes:
        return mutate_script(script, max_length, Random(seed), atheris.Mutate)  # noqa: S311

    extra = {"custom_mutator": mutate} if _is_scripted(name) else {}
    atheris.Setup(command, target, **extra)
    atheris.Fuzz()


def _run_mutation(
    name: str, guard: Callable[[Target], Guard], seconds: float, seeds: Sequence[bytes]
) -> None:
    """Run what is like the seeds, until the time is over."""
    from voicegate.testing.fuzz.mutation import mutate_bytes, mutate_script

    random = Random()  # noqa: S311
    target = guard(_find(name))
    max_length = max(_MAX_LENGTH, *map(len, seeds), 0)
    mutate = partial(mutate_bytes, random=random)
    change = partial(mutate_script, random=random, mutate=mutate) if _is_scripted(name) else mutate
    end = time.monotonic() + seconds  # noqa: TID251 - a process that runs for that long
    for data in seeds:
        target(data)
    while time.monotonic() < end:  # noqa: TID251
        data = random.choice(seeds) if seeds else b""
        for _ in range(random.randint(1, _MAX_CHANGES)):
            data = change(data, max_length)
        target(data)


def _find(name: str) -> Target:
    if _is_own(name):
        module, _, function = name.partition(":")
        found: Target = getattr(import_module(module), function)
        return found
    from voicegate.testing.targets import TARGETS

    return TARGETS[name]


def _is_scripted(name: str) -> bool:
    if _is_own(name):
        return False
    from voicegate.testing.targets import SCRIPTED

    return name in SCRIPTED


def _is_own(name: str) -> bool:
    """Tell whether a target is the user's own: it needs none of ours, which take seconds to instrument."""
    return ":" in name


def _read(paths: Sequence[str]) -> list[bytes]:
    """Read files, and all that is in folders."""
    files = [
        file for path in map(Path, paths) for file in (sorted(path.iterdir()) if path.is_dir() else [path])
    ]
    return [file.read_bytes() for file in files]


if __name__ == "__main__":
    main(sys.argv[1:])
