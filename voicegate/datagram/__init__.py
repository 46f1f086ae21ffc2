"""UDP sockets that are drained and filled in batches.

Layer: shell (Trio).
"""

from typing import TYPE_CHECKING

from voicegate.datagram.kernel import HAS_BATCHES, address_of, decode_address, encode_address
from voicegate.datagram.port import BATCH_LIMIT, DatagramPort, bind, open_socket
from voicegate.datagram.segment import SegmentPort

if TYPE_CHECKING or HAS_BATCHES:
    from voicegate.datagram.batch import Receiver, SegmentSender, Sender
else:
    from voicegate.datagram.plain import Receiver, SegmentSender, Sender

__all__ = [
    "BATCH_LIMIT",
    "DatagramPort",
    "Receiver",
    "SegmentPort",
    "SegmentSender",
    "Sender",
    "address_of",
    "bind",
    "decode_address",
    "encode_address",
    "open_socket",
]
