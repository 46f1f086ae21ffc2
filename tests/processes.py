"""What the system says of processes; nothing of those that are gone meanwhile."""

import os
from contextlib import suppress
from pathlib import Path


def children(pid: int | None = None) -> list[int]:
    """Return the child processes of a process, ours if not given, each of which some thread has started."""
    found: list[int] = []
    for thread in Path("/proc", str(pid or os.getpid()), "task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, (thread / "children").read_text().split())
    return found


def command_of(pid: int) -> str:
    """Return how a process was started."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path("/proc", str(pid), "cmdline").read_text()
    return ""
