"""User messages as they go through SCTP, told apart by payload protocol identifiers (RFC 8831 §8)."""

from enum import IntEnum
from typing import Final

from voicegate.errors import UsageError, WireError

__all__ = ["ProtocolId", "decode_payload", "encode_payload"]

_EMPTY: Final = b"\0"
"""Stands for a message without bytes, which SCTP cannot carry (RFC 8831 §6.6)."""


class ProtocolId(IntEnum):
    """The payload protocol identifiers of data channels."""

    ESTABLISHMENT = 50
    STRING = 51
    BINARY_PARTIAL = 52
    """Deprecated, and refused like every unknown one: nobody sends pieces of messages any more."""
    BINARY = 53
    STRING_PARTIAL = 54
    """Deprecated, as `BINARY_PARTIAL`."""
    STRING_EMPTY = 56
    BINARY_EMPTY = 57


def decode_payload(protocol_id: int, data: bytes) -> str | bytes:
    """Return the message that came as ``data`` under ``protocol_id``.

    Errors: WireError when the identifier is not one of a user message, or a string is no UTF-8.
    """
    match protocol_id:
        case ProtocolId.BINARY:
            return data
        case ProtocolId.STRING:
            try:
                return data.decode()
            except UnicodeDecodeError as error:
                raise WireError("a string is not UTF-8") from error
        # What stands for emptiness is to be ignored (RFC 8831 §6.6).
        case ProtocolId.STRING_EMPTY:
            return ""
        case ProtocolId.BINARY_EMPTY:
            return b""
        case _:
            raise WireError(f"payload protocol identifier {protocol_id} is none of a user message")


def encode_payload(message: str | bytes) -> tuple[ProtocolId, bytes]:
    """Return the identifier and the bytes, at least one, that ``message`` goes under and as.

    Errors: UsageError when a string has lone surrogates and so no UTF-8.
    """
    if isinstance(message, str):
        try:
            data = message.encode()
        except UnicodeEncodeError as error:
            raise UsageError("a string with lone surrogates has no UTF-8") from error
        return (ProtocolId.STRING, data) if data else (ProtocolId.STRING_EMPTY, _EMPTY)
    return (ProtocolId.BINARY, message) if message else (ProtocolId.BINARY_EMPTY, _EMPTY)
