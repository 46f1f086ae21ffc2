"""Parameters and error causes: type, length and value inside a chunk (RFC 9260 §3.2.1, §3.3.10).

Header: u16 type; u16 length of header and value. Each is padded to four bytes outside its length, except that
the last one's padding is the chunk's own.
"""

from collections.abc import Iterable
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from voicegate.errors import WireError

__all__ = ["Parameter", "ParameterType", "CauseCode", "decode_parameters", "encode_parameters"]

_HEADER: Final = Struct("!HH")
_STOP_MASK: Final = 0x8000
_REPORT_MASK: Final = 0x4000


class ParameterType(IntEnum):
    """The parameters that are used here; the code point of any other stays a plain number."""

    HEARTBEAT_INFO = 0x0001
    IPV4_ADDRESS = 0x0005
    IPV6_ADDRESS = 0x0006
    STATE_COOKIE = 0x0007
    UNRECOGNIZED_PARAMETER = 0x0008
    COOKIE_PRESERVATIVE = 0x0009
    SUPPORTED_ADDRESS_TYPES = 0x000C
    OUTGOING_RESET_REQUEST = 0x000D
    """RFC 6525 §4.1, as the five below are of its section 4."""
    INCOMING_RESET_REQUEST = 0x000E
    ASSOCIATION_RESET_REQUEST = 0x000F
    RECONFIGURATION_RESPONSE = 0x0010
    ADD_OUTGOING_STREAMS = 0x0011
    ADD_INCOMING_STREAMS = 0x0012
    ECN_CAPABLE = 0x8000
    SUPPORTED_EXTENSIONS = 0x8008
    """RFC 5061 §4.2.7."""
    FORWARD_TSN_SUPPORTED = 0xC000
    """RFC 3758 §3.1."""


class CauseCode(IntEnum):
    """The error causes that are sent or understood (RFC 9260 §3.3.10)."""

    INVALID_STREAM = 1
    MISSING_PARAMETER = 2
    STALE_COOKIE = 3
    UNRECOGNIZED_CHUNK = 6
    INVALID_PARAMETER = 7
    UNRECOGNIZED_PARAMETERS = 8
    NO_USER_DATA = 9
    RESTART = 11
    USER_ABORT = 12
    PROTOCOL_VIOLATION = 13


class Parameter(NamedTuple):
    """One parameter, or one error cause."""

    type: int
    value: bytes

    @property
    def stops(self) -> bool:
        """Whether a receiver that does not know it leaves the ones behind it alone."""
        return not self.type & _STOP_MASK

    @property
    def is_reported(self) -> bool:
        """Whether a receiver that does not know it says so."""
        return bool(self.type & _REPORT_MASK)

    def encode(self) -> bytes:
        """Write header and value, without padding."""
        return _HEADER.pack(self.type, 4 + len(self.value)) + self.value


def decode_parameters(data: bytes) -> tuple[Parameter, ...]:
    """Take a list of parameters apart, unknown and repeated ones kept in order.

    Errors: WireError.
    """
    parameters = []
    position, end = 0, len(data)
    while position < end:
        if end - position < 4:
            raise WireError(f"{end - position} bytes where a parameter should be")
        parameter_type, length = _HEADER.unpack_from(data, position)
        if length < 4 or position + length > end:
            raise WireError(f"a parameter of length {length}, {end - position} bytes left")
        parameters.append(Parameter(parameter_type, data[position + 4 : position + length]))
        position += length + 3 & ~3
    return tuple(parameters)


def encode_parameters(parameters: Iterable[Parameter]) -> bytes:
    """Write parameters, padded between them but not at the end."""
    data = b""
    for parameter in parameters:
        data += bytes(-len(data) % 4) + parameter.encode()
    return data
