"""What crosses between parts: byte readers and writers, demultiplexing, paths, the hop header.

Layer: core (sans-IO).
"""

from voicegate.wire.buffer import Reader, Writer
from voicegate.wire.demux import PacketKind, classify
from voicegate.wire.path import Path, Transmit

__all__ = ["PacketKind", "Path", "Reader", "Transmit", "Writer", "classify"]
