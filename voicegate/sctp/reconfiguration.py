"""What a RE-CONFIG chunk carries (RFC 6525 §4)."""

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple, Self

from voicegate.errors import WireError
from voicegate.sctp.parameter import Parameter, ParameterType

__all__ = ["AddStreams", "IncomingReset", "OutgoingReset", "Response", "Result"]

_OUTGOING: Final = Struct("!III")
_INCOMING: Final = Struct("!I")
_ADD: Final = Struct("!IHH")
_RESPONSE: Final = Struct("!II")
_RESPONSE_LENGTHS: Final = (8, 16)
"""Without and with the TSNs that follow a reset of the whole association, which we never ask for."""


class Result(IntEnum):
    """How a request was answered (RFC 6525 §4.4)."""

    NOTHING_TO_DO = 0
    PERFORMED = 1
    DENIED = 2
    WRONG_STREAM = 3
    ALREADY_IN_PROGRESS = 4
    BAD_SEQUENCE_NUMBER = 5
    IN_PROGRESS = 6


class OutgoingReset(NamedTuple):
    """The sender's own streams begin anew, from behind its last TSN."""

    request: int
    response: int
    """The number of the request that asked for it, else of the last one."""
    last_tsn: int
    streams: tuple[int, ...]
    """None listed means all."""

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Take a parameter's value apart.

        Errors: WireError.
        """
        if len(value) < _OUTGOING.size:
            raise WireError(f"a reset request of {len(value)} bytes")
        request, response, last_tsn = _OUTGOING.unpack_from(value)
        return cls(request, response, last_tsn, _stream_ids(value[_OUTGOING.size :]))

    def encode(self) -> Parameter:
        """Put the parameter together."""
        fixed = _OUTGOING.pack(self.request, self.response, self.last_tsn)
        return Parameter(ParameterType.OUTGOING_RESET_REQUEST, fixed + _pack(self.streams))


class IncomingReset(NamedTuple):
    """The receiver is asked to reset its streams."""

    request: int
    streams: tuple[int, ...]

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Take a parameter's value apart.

        Errors: WireError.
        """
        if len(value) < _INCOMING.size:
            raise WireError(f"a reset request of {len(value)} bytes")
        (request,) = _INCOMING.unpack_from(value)
        return cls(request, _stream_ids(value[_INCOMING.size :]))

    def encode(self) -> Parameter:
        """Put the parameter together."""
        return Parameter(
            ParameterType.INCOMING_RESET_REQUEST, _INCOMING.pack(self.request) + _pack(self.streams)
        )


class AddStreams(NamedTuple):
    """The sender wants more streams of its own."""

    request: int
    streams: int
    """How many."""

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Take a parameter's value apart.

        Errors: WireError.
        """
        if len(value) != _ADD.size:
            raise WireError(f"a request for streams of {len(value)} bytes")
        request, streams, _reserved = _ADD.unpack(value)
        return cls(request, streams)

    def encode(self) -> Parameter:
        """Put the parameter together."""
        return Parameter(ParameterType.ADD_OUTGOING_STREAMS, _ADD.pack(self.request, self.streams, 0))


class Response(NamedTuple):
    """The answer to a request."""

    request: int
    result: int

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Take a parameter's value apart.

        Errors: WireError.
        """
        if len(value) not in _RESPONSE_LENGTHS:
            raise WireError(f"a response of {len(value)} bytes")
        return cls(*_RESPONSE.unpack_from(value))

    def encode(self) -> Parameter:
        """Put the parameter together."""
        return Parameter(ParameterType.RECONFIGURATION_RESPONSE, _RESPONSE.pack(self.request, self.result))


def _stream_ids(data: bytes) -> tuple[int, ...]:
    if len(data) % 2:
        raise WireError(f"stream identifiers in {len(data)} bytes")
    return Struct(f"!{len(data) // 2}H").unpack(data)


def _pack(stream_ids: Sequence[int]) -> bytes:
    return Struct(f"!{len(stream_ids)}H").pack(*stream_ids)
