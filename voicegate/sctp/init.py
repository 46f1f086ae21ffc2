"""INIT and INIT ACK, which say what an end can do; the first is also what SNAP puts into the SDP.

u8 type, u8 flags, u16 length; u32 initiate tag; u32 window; u16 outbound streams; u16 inbound streams;
u32 initial TSN; parameters (RFC 9260 §3.3.2).
"""

from struct import Struct
from typing import Final, Self

import attrs

from voicegate.errors import WireError
from voicegate.sctp.chunk import ChunkType
from voicegate.sctp.parameter import Parameter, ParameterType, decode_parameters, encode_parameters

__all__ = ["Init", "MIN_WINDOW", "decode_init"]

_FIXED: Final = Struct("!BBHIIHHI")
_TYPES: Final = (ChunkType.INIT, ChunkType.INIT_ACK)
MIN_WINDOW: Final = 1500
"""The smallest window an end may begin with (RFC 9260 §3.3.2)."""


@attrs.frozen(kw_only=True)
class Init:
    """An INIT chunk, or with ``type`` 2 an INIT ACK."""

    initiate_tag: int
    """What the receiver is to write as verification tag."""
    window: int
    outbound_streams: int
    inbound_streams: int
    """The most that may be opened towards the sender."""
    initial_tsn: int
    parameters: tuple[Parameter, ...] = ()
    type: int = ChunkType.INIT

    @classmethod
    def decode(cls, chunk: bytes) -> Self:
        """Take a chunk apart; whether its values make sense is `fault`'s business.

        Errors: WireError.
        """
        if len(chunk) < _FIXED.size:
            raise WireError(f"an INIT chunk of {len(chunk)} bytes")
        chunk_type, _flags, length, tag, window, outbound, inbound, tsn = _FIXED.unpack_from(chunk)
        if chunk_type not in _TYPES or length != len(chunk):
            raise WireError(f"type {chunk_type} and length {length} on {len(chunk)} bytes, INIT wanted")
        return cls(
            initiate_tag=tag,
            window=window,
            outbound_streams=outbound,
            inbound_streams=inbound,
            initial_tsn=tsn,
            parameters=decode_parameters(chunk[_FIXED.size :]),
            type=chunk_type,
        )

    def encode(self) -> bytes:
        """Put the chunk together."""
        parameters = encode_parameters(self.parameters)
        return (
            _FIXED.pack(
                self.type,
                0,
                _FIXED.size + len(parameters),
                self.initiate_tag,
                self.window,
                self.outbound_streams,
                self.inbound_streams,
                self.initial_tsn,
            )
            + parameters
        )

    @property
    def fault(self) -> str | None:
        """Why no association can come of it, in a few words (RFC 9260 §3.3.2)."""
        if not self.initiate_tag:
            return "a tag of zero"
        if not self.outbound_streams or not self.inbound_streams:
            return "no streams"
        return f"a window of {self.window}" if self.window < MIN_WINDOW else None

    def get(self, parameter_type: int) -> bytes | None:
        """Return the first value of a parameter, or None."""
        return next((value for known, value in self.parameters if known == parameter_type), None)

    @property
    def has_forward_tsn(self) -> bool:
        """Whether the sender does partial reliability (RFC 3758 §3.3.1)."""
        return self.get(ParameterType.FORWARD_TSN_SUPPORTED) is not None

    @property
    def has_reconfiguration(self) -> bool:
        """Whether the sender can reset streams (RFC 6525 §3.1)."""
        return ChunkType.RECONFIGURATION in (self.get(ParameterType.SUPPORTED_EXTENSIONS) or b"")


def decode_init(token: bytes) -> Init:
    """Take the peer's INIT as SNAP carries it in the SDP, one that an association can begin with.

    Errors: WireError.
    """
    init = Init.decode(token)
    if init.type != ChunkType.INIT:
        raise WireError("an INIT ACK for a token")
    if init.fault is not None:
        raise WireError(f"an INIT with {init.fault}")
    return init
