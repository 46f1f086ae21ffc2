"""How much a machine can take: what ``auto`` stands for."""

from collections.abc import Mapping
from typing import Any, Final

from voicegate.config.role import Role
from voicegate.machine import Machine, read_machine

__all__ = ["AUTO", "SIZED", "choose_sizes"]

AUTO: Final = "auto"

SIZED: Final = ("relay_workers", "workers", "max_calls")
"""The keys that can be left to the machine, in the order in which they are chosen."""

WORKERS_PER_RELAY_WORKER: Final = 4
"""Workers whose packets one relay worker carries with room to spare: a worker full of calls has some 40 000
packets a second, each of which costs a relay worker 5 µs."""

CALLS_PER_WORKER: Final = 120
"""A call whose sound is decoded and encoded takes 0.6 % of a core (README), and frames keep their time until
about three quarters of it are used. Where Opus passes through, 400 go: say so in figures."""

BASE_BYTES: Final = 256 * 1024 * 1024
"""The supervisor, and what ready agents take."""

WORKER_BYTES: Final = 128 * 1024 * 1024
"""A Python process with all that it imports, and its buffers."""

CALL_BYTES: Final = 1024 * 1024
"""A call has 0.1 MB while idle; the rest is speech that waits to be played, and what its agent keeps."""


MAX_CORES: Final = 256
"""Cores that are counted: limits that nobody has set can still be shared out among as many workers."""


def choose_sizes(given: Mapping[str, Any], role: Role, *, machine: Machine | None = None) -> dict[str, int]:
    """Choose for each of `SIZED` that is `AUTO`; what isn't a number is taken for one.

    One core is left to agents and the kernel, wherever there is more than one.
    """
    machine = machine or read_machine()
    sizes = {key: value for key, value in given.items() if isinstance(value, int) and value > 0}
    spare = max(1, min(machine.cores, MAX_CORES) - 1)
    if "relay_workers" not in sizes:
        share = spare // (WORKERS_PER_RELAY_WORKER + 1)
        sizes["relay_workers"] = spare if role == "relay" else max(1, share)
    if "workers" not in sizes:
        sizes["workers"] = spare if role == "transceiver" else max(1, spare - sizes["relay_workers"])
    if "max_calls" not in sizes:
        workers = sizes["workers"]
        calls = workers * CALLS_PER_WORKER
        if machine.memory is not None:
            calls = min(calls, (machine.memory - BASE_BYTES - workers * WORKER_BYTES) // CALL_BYTES)
        sizes["max_calls"] = max(workers, calls)
    return sizes
