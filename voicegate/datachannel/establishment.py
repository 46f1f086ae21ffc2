"""The messages of the Data Channel Establishment Protocol (RFC 8832 §5): syntax only."""

from enum import IntEnum
from struct import Struct
from typing import Final, Self

import attrs

from voicegate.errors import UsageError, WireError
from voicegate.wire import Reader, Writer

__all__ = ["ChannelType", "DataChannelAck", "DataChannelOpen", "MessageType", "decode_establishment"]

UNORDERED: Final = 0x80
"""The bit of a channel type that says that messages may overtake each other."""
MAX_TEXT_LENGTH: Final = 0xFFFF
"""Bytes of a label or a protocol, each behind a 16-bit length."""

# message type u8 | channel type u8 | priority u16 | reliability u32 | label length u16 | protocol length u16
_OPEN: Final = Struct("!BBHIHH")


class MessageType(IntEnum):
    """The first byte of a message (RFC 8832 §8.2.1)."""

    ACK = 0x02
    OPEN = 0x03


class ChannelType(IntEnum):
    """How hard a message is tried for (RFC 8832 §5.1); together with 0x80: unordered."""

    RELIABLE = 0x00
    PARTIAL_RELIABLE_REXMIT = 0x01
    """The reliability parameter is the number of retransmissions."""
    PARTIAL_RELIABLE_TIMED = 0x02
    """The reliability parameter is the lifetime of a message in milliseconds."""


@attrs.frozen(kw_only=True)
class DataChannelOpen:
    """Asks the peer for a channel on the stream that it is sent on (RFC 8832 §5.1)."""

    channel_type: int = ChannelType.RELIABLE
    priority: int = 0
    reliability: int = 0
    """Without meaning for a reliable channel."""
    label: str = ""
    protocol: str = ""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Take a message apart.

        Errors: WireError, also where label or protocol is no UTF-8.
        """
        reader = Reader(data)
        type_, channel_type, priority, reliability, label_length, protocol_length = reader.unpack(_OPEN)
        if type_ != MessageType.OPEN:
            raise WireError(f"message type {type_:#04x} is not DATA_CHANNEL_OPEN")
        label = _text(reader.read(label_length))
        protocol = _text(reader.read(protocol_length))
        reader.finish()
        return cls(
            channel_type=channel_type,
            priority=priority,
            reliability=reliability,
            label=label,
            protocol=protocol,
        )

    def encode(self) -> bytes:
        """Put the message together.

        Errors: UsageError when a text is too long, or no text because of lone surrogates.
        """
        try:
            label, protocol = self.label.encode(), self.protocol.encode()
        except UnicodeEncodeError as error:
            raise UsageError("a label or protocol with lone surrogates has no UTF-8") from error
        if max(len(label), len(protocol)) > MAX_TEXT_LENGTH:
            raise UsageError(f"label and protocol have at most {MAX_TEXT_LENGTH} bytes each")
        head = _OPEN.pack(
            MessageType.OPEN, self.channel_type, self.priority, self.reliability, len(label), len(protocol)
        )
        return head + label + protocol


@attrs.frozen
class DataChannelAck:
    """Answers a `DataChannelOpen` (RFC 8832 §5.2)."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Take a message apart.

        Errors: WireError.
        """
        reader = Reader(data)
        if (type_ := reader.u8()) != MessageType.ACK:
            raise WireError(f"message type {type_:#04x} is not DATA_CHANNEL_ACK")
        reader.finish()
        return cls()

    def encode(self) -> bytes:
        """Put the message together."""
        writer = Writer()
        writer.u8(MessageType.ACK)
        return writer.finish()


def decode_establishment(data: bytes) -> DataChannelOpen | DataChannelAck:
    """Take a message of either kind apart.

    Errors: WireError, also for an unknown kind: there is nothing to be done with one.
    """
    if data[:1] == bytes((MessageType.ACK,)):
        return DataChannelAck.decode(data)
    return DataChannelOpen.decode(data)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise WireError("a label or protocol is not UTF-8") from error
