"""Which protocol a datagram belongs to, told from its first bytes (RFC 7983 §7, RFC 5761 §4)."""

from enum import Enum
from typing import Final

__all__ = ["PacketKind", "classify"]


class PacketKind(Enum):
    """What shares one 5-tuple in WebRTC."""

    STUN = "stun"
    DTLS = "dtls"
    RTP = "rtp"
    RTCP = "rtcp"
    UNKNOWN = "unknown"


_BY_FIRST_BYTE: Final = tuple(
    PacketKind.STUN
    if byte < 4
    else PacketKind.DTLS
    if 20 <= byte < 64
    else PacketKind.RTP
    if 128 <= byte < 192
    else PacketKind.UNKNOWN
    for byte in range(256)
)


# Members of an enum by name cost ten times what they cost by these, and this is asked of every packet.
_RTP: Final = PacketKind.RTP
_RTCP: Final = PacketKind.RTCP


def classify(datagram: bytes) -> PacketKind:
    """Name the protocol of a datagram; an empty one is `PacketKind.UNKNOWN`."""
    if len(datagram) < 2:
        return PacketKind.UNKNOWN
    kind = _BY_FIRST_BYTE[datagram[0]]
    # RTCP packet types 192..223 stand where RTP has marker and payload type (RFC 5761 §4).
    if kind is _RTP and 192 <= datagram[1] < 224:
        return _RTCP
    return kind
