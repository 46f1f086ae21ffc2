"""UDP sockets that are drained and filled in batches.

Layer: shell (Trio).
"""

from voicegate.datagram.port import BATCH_LIMIT, DatagramPort, bind

__all__ = ["BATCH_LIMIT", "DatagramPort", "bind"]
