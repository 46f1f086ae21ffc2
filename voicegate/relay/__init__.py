"""The relay: one public address for all transceivers; forwards by ufrag, decrypts nothing, answers nobody.

Layer: shell (Trio), with a sans-IO core in `voicegate.relay.router` and what it imports.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voicegate.relay.control import RelayConfig
    from voicegate.relay.counter import RelayStatistics
    from voicegate.relay.keeper import FlowStore
    from voicegate.relay.supervisor import Relay, run_relay

__all__ = ["FlowStore", "Relay", "RelayConfig", "RelayStatistics", "run_relay"]

# Loaded at first use: media waits while a worker starts, and a worker needs nothing of its supervisor's.
_MODULES = {
    "RelayConfig": "voicegate.relay.control",
    "RelayStatistics": "voicegate.relay.counter",
    "FlowStore": "voicegate.relay.keeper",
    **dict.fromkeys(("Relay", "run_relay"), "voicegate.relay.supervisor"),
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
