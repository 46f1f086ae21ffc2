"""Alerts (RFC 5246 §7.2); the same two bytes in DTLS 1.2 and 1.3."""

from enum import IntEnum
from typing import Self

import attrs

from voicegate.wire import Reader

__all__ = ["Alert", "AlertDescription", "AlertLevel"]


class AlertLevel(IntEnum):
    """How bad it is."""

    WARNING = 1
    FATAL = 2


class AlertDescription(IntEnum):
    """What it is (IANA TLS Alerts)."""

    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    BAD_RECORD_MAC = 20
    RECORD_OVERFLOW = 22
    HANDSHAKE_FAILURE = 40
    BAD_CERTIFICATE = 42
    UNSUPPORTED_CERTIFICATE = 43
    CERTIFICATE_REVOKED = 44
    CERTIFICATE_EXPIRED = 45
    CERTIFICATE_UNKNOWN = 46
    ILLEGAL_PARAMETER = 47
    UNKNOWN_CA = 48
    ACCESS_DENIED = 49
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51
    PROTOCOL_VERSION = 70
    INSUFFICIENT_SECURITY = 71
    INTERNAL_ERROR = 80
    USER_CANCELED = 90
    NO_RENEGOTIATION = 100
    MISSING_EXTENSION = 109
    UNSUPPORTED_EXTENSION = 110
    CERTIFICATE_REQUIRED = 116


@attrs.frozen(kw_only=True)
class Alert:
    """One alert; code points we have no name for stay numbers."""

    level: int
    description: int

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the payload of an alert record.

        Errors: WireError.
        """
        reader = Reader(data)
        alert = cls(level=reader.u8(), description=reader.u8())
        reader.finish()
        return alert

    def encode(self) -> bytes:
        """Write the payload of an alert record."""
        return bytes((self.level, self.description))
