"""The hop: UDP datagrams between relay and transceiver, a 24-byte header before the client's packet.

Header, laid out so that batch code can write it as columns:

- 0: u8 magic 0x56, u8 version << 4 | type, u16 payload length
- 4: u8 flags, u8 reserved (zero), u16 client port
- 8: 16 bytes client address, IPv4 mapped into IPv6

The length lets a batch be padded to one size for UDP_SEGMENT; what is behind it is padding and ignored.
"""

from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from voicegate.errors import UsageError, WireError

__all__ = [
    "DATA_MAGIC",
    "HEADER_LENGTH",
    "MAX_PAYLOAD_LENGTH",
    "HopDatagram",
    "HopType",
    "client_key",
    "decode",
    "encode",
    "encode_data",
    "short_header",
]

_MAGIC: Final = 0x56
_VERSION: Final = 1
_HEADER: Final = Struct("!BBHBBH16s")
HEADER_LENGTH: Final = _HEADER.size
DATA_MAGIC: Final = _MAGIC << 8 | _VERSION << 4
"""What the first 16 bits of a client's packet are."""
_BEGINNING: Final = Struct("!HH")
_KEY_AT: Final = 4
_USUAL: Final = 512
_BEGINNINGS: Final = [_BEGINNING.pack(DATA_MAGIC, length) for length in range(_USUAL)]
"""What stands before the client's key, for the lengths of audio packets."""
_CLIENT: Final = Struct("!BBH16s")
MAX_PAYLOAD_LENGTH: Final = 0xFFFF
"""What the header's length can say."""
_FLAG_STREAM: Final = 0x01


class HopType(IntEnum):
    """What a hop datagram says."""

    DATA = 0
    """A client's packet, or one for a client."""
    FLOW_GONE = 1
    """Transceiver to relay: no such session here, drop the flow of this client."""
    FLOW_MOVED = 2
    """Transceiver to relay: the session now lives at the transceiver whose 4-byte id is the payload."""
    PING = 3
    """Are you there? The payload comes back in a PONG."""
    PONG = 4
    CHECK_REFUSED = 5
    """Relay to transceiver: a connectivity check named a session of yours but failed its integrity check.

    The payload is the session id (8 bytes). It only feeds the cause of a call that never connects."""


class HopDatagram(NamedTuple):
    """A decoded hop datagram; whose it is, is the sender's word."""

    type: int
    """A `HopType`, or a number from a later version of this table."""
    host: bytes
    """The client's address, 16 bytes as in `Path.host`."""
    port: int
    """The client's port."""
    is_stream: bool
    """Whether the client is on TCP or TLS."""
    payload: bytes
    """The client's packet; or what the type says."""


def decode(datagram: bytes) -> HopDatagram:
    """Take a hop datagram apart.

    Errors: WireError.
    """
    if len(datagram) < HEADER_LENGTH:
        raise WireError(f"a hop datagram of {len(datagram)} bytes is shorter than its header")
    magic, version_and_type, length, flags, _reserved, port, host = _HEADER.unpack_from(datagram)
    if magic != _MAGIC or version_and_type >> 4 != _VERSION:
        raise WireError(f"not a hop datagram of version {_VERSION}: {datagram[:2].hex()}")
    if length > len(datagram) - HEADER_LENGTH:
        raise WireError(f"hop payload of {length} bytes, {len(datagram) - HEADER_LENGTH} received")
    payload = datagram[HEADER_LENGTH : HEADER_LENGTH + length]
    return HopDatagram(version_and_type & 0x0F, host, port, bool(flags & _FLAG_STREAM), payload)


def encode(type_: int, *, host: bytes, port: int, payload: bytes = b"", is_stream: bool = False) -> bytes:
    """Put a hop datagram together; ``host`` is 16 bytes.

    Errors: UsageError for a payload longer than the header can say.
    """
    if len(payload) > MAX_PAYLOAD_LENGTH:
        raise UsageError(f"hop payload of {len(payload)} bytes")
    flags = _FLAG_STREAM if is_stream else 0
    return _HEADER.pack(_MAGIC, _VERSION << 4 | type_, len(payload), flags, 0, port, host) + payload


def client_key(*, host: bytes, port: int, is_stream: bool = False) -> bytes:
    """Return the 20 bytes that stand for a client in each of its headers."""
    return _CLIENT.pack(_FLAG_STREAM if is_stream else 0, 0, port, host)


def short_header(run: bytes, at: int) -> tuple[int, int, bytes]:
    """Take apart the header at an offset, for who handles many: there have to be 24 bytes.

    Returns magic with version and type, the payload's length, and the client's key: all that tells one client
    of a relay from another.
    """
    key = run[at + _KEY_AT : at + HEADER_LENGTH]
    return run[at] << 8 | run[at + 1], run[at + 2] << 8 | run[at + 3], key


def encode_data(key: bytes, payload: bytes) -> bytes:
    """Put a packet for a client together, as `encode` does, from the client's key."""
    length = len(payload)
    begin = _BEGINNINGS[length] if length < _USUAL else _BEGINNING.pack(DATA_MAGIC, length)
    return b"".join((begin, key, payload))
