"""The fleet: many machines answer as one, whichever of them is asked.

Layer: shell (Trio).
"""

from voicegate.fleet.calls import FleetCalls, MachineCalls
from voicegate.fleet.count import FleetCounts
from voicegate.fleet.peer import PeerDoor, run_peer_listener

__all__ = ["FleetCalls", "FleetCounts", "MachineCalls", "PeerDoor", "run_peer_listener"]
