import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Machines are shared and stall at times: what an example costs says nothing about what it proves.
settings.register_profile("voicegate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("voicegate")

# A shell's background jobs are born deaf to Ctrl-C; so would be the servers that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def spawned() -> Callable[[], set[int]]:
    """Return what tells the child processes that there are since; others' fixtures have some, too."""
    before = _children()
    return lambda: _children() - before


def _children() -> set[int]:
    """Return our child processes, each of which some thread of ours has started."""
    found: set[int] = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has just ended
            found.update(map(int, (thread / "children").read_text().split()))
    return found
