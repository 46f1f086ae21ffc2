"""Workers: transceivers in processes of their own, which share one HTTP address and one relay.

Layer: shell (Trio).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voicegate.worker.calls import LocalCalls, make_transceiver, new_transceiver_id, open_port, run_agent
    from voicegate.worker.supervisor import Workers, run_workers

__all__ = [
    "LocalCalls",
    "Workers",
    "make_transceiver",
    "new_transceiver_id",
    "open_port",
    "run_agent",
    "run_workers",
]

# Loaded at first use: a worker needs nothing of its supervisor's.
_MODULES = {
    **dict.fromkeys(
        ("LocalCalls", "make_transceiver", "new_transceiver_id", "open_port", "run_agent"),
        "voicegate.worker.calls",
    ),
    **dict.fromkeys(("Workers", "run_workers"), "voicegate.worker.supervisor"),
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
