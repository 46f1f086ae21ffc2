"""The directory: who serves which transceiver id. Soft state; no call depends on it once it is up.

Layer: shell (Trio).
"""

from voicegate.directory.base import FLOW_ROW_SECONDS, Address, Directory, Snapshot
from voicegate.directory.memory import MemoryDirectory

__all__ = ["FLOW_ROW_SECONDS", "Address", "Directory", "MemoryDirectory", "Snapshot"]
