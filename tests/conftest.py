import signal
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from tests.processes import children

# Machines are shared and stall at times: what an example costs says nothing about what it proves.
settings.register_profile("voicegate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("voicegate")

# A shell's background jobs are born deaf to Ctrl-C; so would be the servers that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def spawned() -> Callable[[], set[int]]:
    """Return what tells the child processes that there are since; others' fixtures have some, too."""
    before = children()
    return lambda: set(children()) - set(before)
