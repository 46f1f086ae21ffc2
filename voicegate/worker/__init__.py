"""Workers: transceivers in processes of their own, which share one HTTP address and one relay.

Layer: shell (Trio).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voicegate.worker.agents import Agents, run_agents
    from voicegate.worker.calls import (
        LocalCalls,
        make_gate,
        make_transceiver,
        open_port,
    )
    from voicegate.worker.supervisor import Workers, run_workers

__all__ = [
    "Agents",
    "LocalCalls",
    "Workers",
    "make_gate",
    "make_transceiver",
    "open_port",
    "run_agents",
    "run_workers",
]

# Loaded at first use: a worker needs nothing of its supervisor's.
_MODULES = {
    **dict.fromkeys(("Agents", "run_agents"), "voicegate.worker.agents"),
    **dict.fromkeys(("LocalCalls", "make_gate", "make_transceiver", "open_port"), "voicegate.worker.calls"),
    **dict.fromkeys(("Workers", "run_workers"), "voicegate.worker.supervisor"),
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
