"""The STUN message: decoding, views of its attributes, integrity, and the messages that ICE sends.

The codec keeps every attribute, known or not, in order and as raw bytes. It doesn't keep the bytes that pad
an attribute to four: they must be zero and are ignored when they aren't (RFC 8489 §14), so canonical means
padded with zeros, and only such a message encodes to the bytes it came from. Integrity is therefore never
computed from the attributes but from the bytes as received, which a decoded message carries along.

Left out: the older header without magic cookie (RFC 3489; RFC 8445 §7.3 forbids it), long-term credentials,
and MESSAGE-INTEGRITY-SHA256, which ICE doesn't use.

Header (RFC 8489 §5):

- 0: u16 two zero bits, method and class interleaved; u16 length of what follows the header
- 4: u32 magic cookie
- 8: 12 bytes transaction id
"""

import hmac
from collections.abc import Iterable
from enum import IntEnum
from struct import Struct
from typing import Final, Self
from zlib import crc32

import attrs

from voicegate.errors import UsageError, WireError
from voicegate.wire.path import MAPPED_PREFIX

__all__ = [
    "BINDING",
    "AttributeType",
    "ErrorCode",
    "Message",
    "MessageClass",
    "binding_error",
    "binding_request",
    "binding_success",
    "sign",
]

BINDING: Final = 0x001
"""The one method that ICE uses (RFC 8489 §18.2)."""
MAGIC_COOKIE: Final = 0x2112A442

_HEADER: Final = Struct("!HHI12s")
_ATTRIBUTE: Final = Struct("!HH")
_ADDRESS: Final = Struct("!BBH")
_HEADER_LENGTH: Final = _HEADER.size
_TRANSACTION_ID_LENGTH: Final = 12
_MAX_BODY_LENGTH: Final = 0xFFFF
"""What the header's length field can say."""
_INTEGRITY_LENGTH: Final = 20
_FINGERPRINT_LENGTH: Final = 4
_FINGERPRINT_MASK: Final = 0x5354554E
"""Keeps the checksum apart from that of a protocol which ends in a plain CRC-32 (RFC 8489 §14.7)."""
_FIRST_OPTIONAL_TYPE: Final = 0x8000
"""Below it, a receiver must understand an attribute or refuse the request (RFC 8489 §14)."""
_IPV4: Final = 0x01
_IPV6: Final = 0x02


class MessageClass(IntEnum):
    """What a message is to its transaction (RFC 8489 §5)."""

    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


class AttributeType(IntEnum):
    """The attributes met in ICE; the code point of any other stays a plain number."""

    MAPPED_ADDRESS = 0x0001
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    SOFTWARE = 0x8022
    FINGERPRINT = 0x8028
    ICE_CONTROLLED = 0x8029
    ICE_CONTROLLING = 0x802A
    GOOG_NETWORK_INFO = 0xC057
    """Chromium's network id and cost; in every check it sends."""
    DTLS_IN_STUN_DATA = 0xC070
    """One DTLS datagram (draft-hancke-webrtc-sped)."""
    DTLS_IN_STUN_ACK = 0xC071
    """The checksums of DTLS datagrams received (draft-hancke-webrtc-sped)."""


class ErrorCode(IntEnum):
    """The error responses we send."""

    UNKNOWN_ATTRIBUTE = 420
    """RFC 8489 §14.8."""
    ROLE_CONFLICT = 487
    """RFC 8445 §7.3.1.1."""


_REASONS: Final = {
    ErrorCode.UNKNOWN_ATTRIBUTE: "Unknown Attribute",
    ErrorCode.ROLE_CONFLICT: "Role Conflict",
}
_CLASSES: Final = tuple(MessageClass)
_UNDERSTOOD: Final = frozenset(int(known) for known in AttributeType if known < _FIRST_OPTIONAL_TYPE)
# Plain numbers for the loops below: looking a member up in its class costs as much as the rest of a turn.
_MESSAGE_INTEGRITY: Final = int(AttributeType.MESSAGE_INTEGRITY)
_FINGERPRINT: Final = int(AttributeType.FINGERPRINT)


@attrs.frozen(kw_only=True)
class Message:
    """One STUN message.

    The views below return None for an attribute that is absent or not as long as it must be. They see
    nothing behind MESSAGE-INTEGRITY except FINGERPRINT, for anybody on the way could have added it
    (RFC 8489 §14.5).
    """

    method: int
    """12 bits; `BINDING` in ICE."""
    message_class: MessageClass
    transaction_id: bytes
    """12 bytes."""
    attributes: tuple[tuple[int, bytes], ...] = ()
    """Type and value of each attribute in order, repeated and unknown ones included, without padding."""
    received: bytes = attrs.field(default=b"", eq=False, repr=False)
    """What it was decoded from; empty for a message built here, which thus never counts as verified."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Take a datagram apart.

        Errors: WireError.
        """
        end = len(data)
        if end < _HEADER_LENGTH:
            raise WireError(f"a STUN message of {end} bytes is shorter than its header")
        message_type, length, cookie, transaction_id = _HEADER.unpack_from(data)
        if message_type >> 14 or cookie != MAGIC_COOKIE:
            raise WireError("not a STUN message")
        if length != end - _HEADER_LENGTH or length & 3:
            raise WireError(f"STUN length {length}, {end - _HEADER_LENGTH} bytes received")
        attributes = []
        position = _HEADER_LENGTH
        # The length is a multiple of four and so is every step: a whole attribute header is always left.
        while position < end:
            attribute_type, value_length = _ATTRIBUTE.unpack_from(data, position)
            start = position + 4
            position = start + (value_length + 3 & ~3)
            if position > end:
                raise WireError(f"STUN attribute {attribute_type:#06x} is longer than its message")
            attributes.append((attribute_type, data[start : start + value_length]))
        return cls(
            method=message_type & 0x000F | (message_type & 0x00E0) >> 1 | (message_type & 0x3E00) >> 2,
            message_class=_CLASSES[(message_type & 0x0010) >> 4 | (message_type & 0x0100) >> 7],
            transaction_id=transaction_id,
            attributes=tuple(attributes),
            received=data,
        )

    def encode(self) -> bytes:
        """Put the message together as it is; `sign` adds integrity and fingerprint.

        Errors: UsageError for a transaction id of the wrong length, and for more than 65535 bytes of
        attributes.
        """
        parts = [b""]
        for attribute_type, value in self.attributes:
            if len(value) > _MAX_BODY_LENGTH:
                raise UsageError(f"a STUN attribute of {len(value)} bytes")
            parts += _ATTRIBUTE.pack(attribute_type, len(value)), value, bytes(-len(value) % 4)
        length = sum(map(len, parts))
        if length > _MAX_BODY_LENGTH or len(self.transaction_id) != _TRANSACTION_ID_LENGTH:
            raise UsageError(f"STUN attributes of {length} bytes, id of {len(self.transaction_id)}")
        method, class_ = self.method, self.message_class
        message_type = (
            method & 0x000F
            | (method & 0x0070) << 1
            | (method & 0x0F80) << 2
            | (class_ & 1) << 4
            | (class_ & 2) << 7
        )
        parts[0] = _HEADER.pack(message_type, length, MAGIC_COOKIE, self.transaction_id)
        return b"".join(parts)

    def get(self, attribute_type: int) -> bytes | None:
        """Return the first value of an attribute, or None; later ones don't count (RFC 8489 §14)."""
        for candidate, value in self.attributes:
            if candidate == attribute_type:
                return value
            if candidate == _MESSAGE_INTEGRITY and attribute_type != _FINGERPRINT:
                return None
        return None

    def _integer(self, attribute_type: int, length: int) -> int | None:
        value = self.get(attribute_type)
        return int.from_bytes(value, "big") if value is not None and len(value) == length else None

    @property
    def username(self) -> str | None:
        """USERNAME: in ICE the receiver's ufrag, a colon, the sender's (RFC 8445 §7.2.2)."""
        value = self.get(AttributeType.USERNAME)
        # An ICE username is ASCII (RFC 8839 §5.4); anything else can match no ufrag.
        return value.decode("ascii") if value is not None and value.isascii() else None

    @property
    def priority(self) -> int | None:
        """PRIORITY, 32 bits (RFC 8445 §7.1.1)."""
        return self._integer(AttributeType.PRIORITY, 4)

    @property
    def has_use_candidate(self) -> bool:
        """Whether the sender nominates this path (RFC 8445 §7.1.2)."""
        return self.get(AttributeType.USE_CANDIDATE) is not None

    @property
    def ice_controlling(self) -> int | None:
        """The 64-bit tiebreaker of a sender in the controlling role (RFC 8445 §7.1.3)."""
        return self._integer(AttributeType.ICE_CONTROLLING, 8)

    @property
    def ice_controlled(self) -> int | None:
        """The 64-bit tiebreaker of a sender in the controlled role (RFC 8445 §7.1.3)."""
        return self._integer(AttributeType.ICE_CONTROLLED, 8)

    @property
    def error_code(self) -> int | None:
        """The number of an error response, such as 487 (RFC 8489 §14.8)."""
        value = self.get(AttributeType.ERROR_CODE)
        return (value[2] & 7) * 100 + value[3] if value is not None and len(value) >= 4 else None

    @property
    def xor_mapped_address(self) -> tuple[bytes, int] | None:
        """Where the responder saw the request come from: 16 bytes as in `Path.host`, and the port."""
        value = self.get(AttributeType.XOR_MAPPED_ADDRESS)
        if value is None or len(value) < _ADDRESS.size:
            return None
        _reserved, family, masked_port = _ADDRESS.unpack_from(value)
        address = _xor(value[_ADDRESS.size :], self.transaction_id)
        if family == _IPV4 and len(address) == 4:
            address = MAPPED_PREFIX + address
        elif family != _IPV6 or len(address) != 16:
            return None
        return address, masked_port ^ MAGIC_COOKIE >> 16

    @property
    def unknown_required(self) -> tuple[int, ...]:
        """The types we'd have to understand and don't, in order, each once (RFC 8489 §6.3.1)."""
        unknown: dict[int, None] = {}
        for attribute_type, _value in self.attributes:
            if attribute_type == _MESSAGE_INTEGRITY:
                break
            if attribute_type < _FIRST_OPTIONAL_TYPE and attribute_type not in _UNDERSTOOD:
                unknown[attribute_type] = None
        return tuple(unknown)

    def has_valid_integrity(self, key: bytes) -> bool:
        """Tell whether the message was made by somebody who knows ``key``, the ice-pwd (RFC 8489 §14.5)."""
        offset = _HEADER_LENGTH
        for attribute_type, value in self.attributes:
            if attribute_type == _MESSAGE_INTEGRITY:
                return len(value) == _INTEGRITY_LENGTH and hmac.compare_digest(
                    _integrity(self.received[:offset], key), value
                )
            offset += 4 + (len(value) + 3 & ~3)
        return False

    @property
    def has_valid_fingerprint(self) -> bool:
        """Whether the last attribute is FINGERPRINT and right (RFC 8489 §14.7)."""
        if not self.attributes or self.attributes[-1][0] != _FINGERPRINT:
            return False
        covered = self.received[: -4 - _FINGERPRINT_LENGTH]
        return self.attributes[-1][1] == (crc32(covered) ^ _FINGERPRINT_MASK).to_bytes(
            _FINGERPRINT_LENGTH, "big"
        )


def sign(message: Message, *, key: bytes) -> bytes:
    """Encode a message with MESSAGE-INTEGRITY and FINGERPRINT behind its attributes.

    Errors: as `Message.encode`.
    """
    unsigned = message.encode()
    # Each of the two covers a header whose length already counts it, and nothing behind it (RFC 8489 §14.5,
    # §14.7).
    length = len(unsigned) - _HEADER_LENGTH + 4 + _INTEGRITY_LENGTH + 4 + _FINGERPRINT_LENGTH
    if length > _MAX_BODY_LENGTH:
        raise UsageError(f"signed STUN attributes of {length} bytes")
    integrity = _ATTRIBUTE.pack(_MESSAGE_INTEGRITY, _INTEGRITY_LENGTH) + _integrity(unsigned, key)
    covered = _with_length(unsigned, length) + integrity
    return (
        covered
        + _ATTRIBUTE.pack(_FINGERPRINT, _FINGERPRINT_LENGTH)
        + (crc32(covered) ^ _FINGERPRINT_MASK).to_bytes(_FINGERPRINT_LENGTH, "big")
    )


def binding_request(
    *,
    transaction_id: bytes,
    username: str,
    key: bytes,
    priority: int,
    ice_controlling: int | None = None,
    ice_controlled: int | None = None,
    has_use_candidate: bool = False,
    extra: Iterable[tuple[int, bytes]] = (),
) -> bytes:
    """Build a connectivity check (RFC 8445 §7.1).

    Args:
        transaction_id: 12 bytes nobody can guess.
        username: The peer's ufrag, a colon, our own.
        key: The peer's ice-pwd.
        priority: 32 bits (RFC 8445 §5.1.2).
        ice_controlling: Our 64-bit tiebreaker if we control.
        ice_controlled: The same if we don't.
        has_use_candidate: Whether to nominate the path.
        extra: Further attributes, put last.
    """
    attributes: list[tuple[int, bytes]] = [
        (AttributeType.USERNAME, username.encode("ascii")),
        (AttributeType.PRIORITY, priority.to_bytes(4, "big")),
    ]
    if ice_controlling is not None:
        attributes.append((AttributeType.ICE_CONTROLLING, ice_controlling.to_bytes(8, "big")))
    if ice_controlled is not None:
        attributes.append((AttributeType.ICE_CONTROLLED, ice_controlled.to_bytes(8, "big")))
    if has_use_candidate:
        attributes.append((AttributeType.USE_CANDIDATE, b""))
    request = Message(
        method=BINDING,
        message_class=MessageClass.REQUEST,
        transaction_id=transaction_id,
        attributes=(*attributes, *extra),
    )
    return sign(request, key=key)


def binding_success(
    request: Message, *, host: bytes, port: int, key: bytes, extra: Iterable[tuple[int, bytes]] = ()
) -> bytes:
    """Build the answer to a check that came from ``host`` (16 bytes as in `Path.host`) and ``port``.

    ``extra`` are further attributes, put last.
    """
    family, address = (_IPV4, host[12:]) if host.startswith(MAPPED_PREFIX) else (_IPV6, host)
    mapped = _ADDRESS.pack(0, family, port ^ MAGIC_COOKIE >> 16) + _xor(address, request.transaction_id)
    answer = _response(request, MessageClass.SUCCESS, (AttributeType.XOR_MAPPED_ADDRESS, mapped), *extra)
    return sign(answer, key=key)


def binding_error(request: Message, *, code: ErrorCode, key: bytes, unknown: Iterable[int] = ()) -> bytes:
    """Build the refusal of a check; a 420 is about the ``unknown`` types (RFC 8489 §14.8, §14.13)."""
    error = bytes((0, 0, code // 100, code % 100)) + _REASONS[code].encode()
    attributes: list[tuple[int, bytes]] = [(AttributeType.ERROR_CODE, error)]
    types = b"".join(attribute_type.to_bytes(2, "big") for attribute_type in unknown)
    if types:
        attributes.append((AttributeType.UNKNOWN_ATTRIBUTES, types))
    return sign(_response(request, MessageClass.ERROR, *attributes), key=key)


def _response(request: Message, message_class: MessageClass, *attributes: tuple[int, bytes]) -> Message:
    return Message(
        method=request.method,
        message_class=message_class,
        transaction_id=request.transaction_id,
        attributes=attributes,
    )


def _integrity(covered: bytes, key: bytes) -> bytes:
    """Compute MESSAGE-INTEGRITY over what precedes it, the header's length ending right behind it."""
    return hmac.digest(
        key, _with_length(covered, len(covered) - _HEADER_LENGTH + 4 + _INTEGRITY_LENGTH), "sha1"
    )


def _with_length(data: bytes, length: int) -> bytes:
    return data[:2] + length.to_bytes(2, "big") + data[4:]


def _xor(address: bytes, transaction_id: bytes) -> bytes:
    """Mask or unmask an address (RFC 8489 §14.2)."""
    mask = (MAGIC_COOKIE.to_bytes(4, "big") + transaction_id)[: len(address)]
    return (int.from_bytes(address, "big") ^ int.from_bytes(mask, "big")).to_bytes(len(address), "big")
