"""What of the machine is ours: the cores and the memory that a container or a unit may use.

Layer: shell (Trio).

A core is what the kernel would let us run on all the time: of those that we are bound to, as many as the
quota of any control group above us pays for. Memory is the least limit of these groups, or all there is.
"""

import os
from collections.abc import Iterator
from math import ceil, inf
from pathlib import Path
from typing import Final

import attrs

__all__ = ["Machine", "read_machine"]

MAX_LIMIT: Final = 1 << 60
"""Version 1 of control groups writes "no limit" as a number of about this size."""

MAX_FILE: Final = 64 * 1024
MAX_DEPTH: Final = 64
"""Control groups inside each other; the kernel is far from having so many."""


@attrs.frozen(kw_only=True)
class Machine:
    """What may be used."""

    cores: int
    memory: int | None
    """Bytes; None when nobody says."""


def read_machine(root: Path = Path("/"), *, processors: int | None = None) -> Machine:
    """Read the limits; what can't be read limits nothing.

    Args:
        root: Where ``proc`` and ``sys`` are.
        processors: Those that we are bound to; None: ask the kernel.
    """
    bound = len(os.sched_getaffinity(0)) if processors is None else processors
    groups = dict(_groups(root))
    cores: float = bound
    memory: float = _total_memory(root)
    for controller, folder in groups.items():
        for each in _upwards(folder, root):
            if controller in ("", "cpu"):
                cores = min(cores, _quota(each))
            if controller in ("", "cpuset"):
                cores = min(cores, _set_size(each))
            if controller in ("", "memory"):
                memory = min(memory, _memory_limit(each))
    # Half a core is one that runs half of the time: one worker, not none.
    whole = max(1, ceil(cores) if cores < 1 else int(cores))
    return Machine(cores=whole, memory=None if memory == inf else int(memory))


def _groups(root: Path) -> Iterator[tuple[str, Path]]:
    """Find our group for each controller; version 2 has one for all, whose name is empty."""
    mounted = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if not colon:
            continue
        if not controllers:
            yield "", _inside(mounted, path)
            continue
        for controller in controllers.split(","):
            for folder in (mounted / controllers, mounted / controller):
                if folder.is_dir():
                    yield controller, _inside(folder, path)
                    break


def _inside(folder: Path, path: str) -> Path:
    # In a container, the path may be that of the host, while what is mounted is the group itself.
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    inner = folder.joinpath(*parts)
    return inner if inner.is_dir() else folder


def _upwards(folder: Path, root: Path) -> Iterator[Path]:
    top = root / "sys/fs/cgroup"
    for _ in range(MAX_DEPTH):
        yield folder
        if folder == top or folder.parent == top or top not in folder.parents:
            break
        folder = folder.parent
    yield top


def _quota(folder: Path) -> float:
    """Return the cores' worth of time that a group may use."""
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    share, whole = _number(quota), _number(period)
    return share / whole if 0 < share < inf and 0 < whole < inf else inf


def _set_size(folder: Path) -> float:
    """Count the processors that a group may run on."""
    text = _read(folder / "cpuset.cpus.effective") or _read(folder / "cpuset.effective_cpus")
    count = 0.0
    for part in (text or _read(folder / "cpuset.cpus")).strip().split(","):
        first, dash, last = part.partition("-")
        low, high = _number(first), _number(last if dash else first)
        if low <= high < inf:
            count += high - low + 1
    return count or inf


def _memory_limit(folder: Path) -> float:
    limit = _number(_read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes"))
    return limit if 0 < limit < MAX_LIMIT else inf


def _total_memory(root: Path) -> float:
    for line in _read(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            return _number(rest.partition("kB")[0]) * 1024
    return inf


def _number(text: str) -> float:
    text = text.strip()
    return float(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else inf


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE).decode(errors="replace")
    except (OSError, ValueError):
        return ""
