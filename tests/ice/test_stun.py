import json
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from aioice import stun as aioice_stun
from hypothesis import example, given
from hypothesis import strategies as st

from voicegate.errors import UsageError, WireError
from voicegate.ice.stun import (
    BINDING,
    AttributeType,
    ErrorCode,
    Message,
    MessageClass,
    binding_error,
    binding_request,
    binding_success,
    sign,
)
from voicegate.wire.path import address_bytes, address_text

VECTORS: Final = Path(__file__).parent.parent / "vectors" / "stun"
CAPTURES: Final[list[dict[str, str]]] = json.loads((VECTORS / "manifest.json").read_text())
RFC5769_PASSWORD: Final = b"VOkJxbRl1RmTxUk/WvJxBt"
TRANSACTION_ID: Final = b"abcdefghijkl"
KEY: Final = b"a password of some length"

REQUEST: Final = Message(method=BINDING, message_class=MessageClass.REQUEST, transaction_id=TRANSACTION_ID)

attribute_lists = st.lists(
    st.tuples(st.sampled_from(AttributeType).map(int) | st.integers(0, 0xFFFF), st.binary(max_size=40)),
    max_size=8,
).map(tuple)
messages = st.builds(
    Message,
    method=st.integers(0, 0xFFF),
    message_class=st.sampled_from(MessageClass),
    transaction_id=st.binary(min_size=12, max_size=12),
    attributes=attribute_lists,
)


def vector(name: str) -> bytes:
    return (VECTORS / name).read_bytes()


def views(message: Message) -> list[object]:
    return [
        message.username,
        message.priority,
        message.has_use_candidate,
        message.ice_controlling,
        message.ice_controlled,
        message.error_code,
        message.xor_mapped_address,
        message.unknown_required,
        message.has_valid_fingerprint,
        message.has_valid_integrity(KEY),
    ]


# The laws


@given(messages)
def test_what_was_encoded_decodes_to_the_same_message(message: Message) -> None:
    assert Message.decode(message.encode()) == message


@given(messages)
def test_a_canonical_datagram_encodes_to_the_bytes_it_came_from(message: Message) -> None:
    datagram = message.encode()
    assert Message.decode(datagram).encode() == datagram


@given(st.binary(max_size=200) | messages.map(Message.encode), st.data())
def test_hostile_bytes_end_in_a_wire_error_or_a_readable_message(
    datagram: bytes, data: st.DataObject
) -> None:
    datagram = data.draw(st.just(datagram) | mutated(datagram))
    try:
        message = Message.decode(datagram)
    except WireError:
        return
    assert len(views(message)) == 10
    assert len(message.attributes) * 4 <= len(datagram), "each attribute takes at least its header"


@st.composite
def mutated(draw: st.DrawFn, datagram: bytes) -> bytes:
    mutable = bytearray(datagram)
    for _ in range(draw(st.integers(1, 4))):
        if mutable:
            mutable[draw(st.integers(0, len(mutable) - 1))] = draw(st.integers(0, 255))
    return bytes(mutable[: draw(st.integers(0, len(mutable)))])


@given(messages, st.binary(min_size=1, max_size=64), st.data())
def test_a_signature_holds_for_its_key_and_for_no_changed_byte(
    message: Message, key: bytes, data: st.DataObject
) -> None:
    attributes = tuple(pair for pair in message.attributes if pair[0] != AttributeType.MESSAGE_INTEGRITY)
    datagram = sign(attrs.evolve(message, attributes=attributes), key=key)
    signed = Message.decode(datagram)
    assert signed.has_valid_integrity(key)
    assert signed.has_valid_fingerprint
    assert not signed.has_valid_integrity(key + b"x")
    position = data.draw(st.integers(0, len(datagram) - 8 - 1))
    flipped = bytearray(datagram)
    flipped[position] ^= data.draw(st.integers(1, 255))
    try:
        forged = Message.decode(bytes(flipped))
    except WireError:
        return
    assert not forged.has_valid_integrity(key)
    assert not forged.has_valid_fingerprint


# Published and captured messages


def test_the_sample_request_of_rfc_5769_is_read() -> None:
    message = Message.decode(vector("rfc5769-2.1-request.bin"))
    assert (message.method, message.message_class) == (BINDING, MessageClass.REQUEST)
    assert message.transaction_id == bytes.fromhex("b7e7a701bc34d686fa87dfae")
    assert message.get(AttributeType.SOFTWARE) == b"STUN test client"
    assert message.username == "evtj:h6vY"
    assert message.priority == 0x6E0001FF
    assert message.ice_controlled == 0x932FF9B151263B36
    assert message.ice_controlling is None
    assert not message.has_use_candidate
    assert message.unknown_required == ()
    assert message.has_valid_integrity(RFC5769_PASSWORD)
    assert message.has_valid_fingerprint


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("rfc5769-2.2-response-ipv4.bin", "192.0.2.1"),
        ("rfc5769-2.3-response-ipv6.bin", "2001:db8:1234:5678:11:2233:4455:6677"),
    ],
)
def test_the_sample_responses_of_rfc_5769_are_read(name: str, host: str) -> None:
    message = Message.decode(vector(name))
    assert message.message_class is MessageClass.SUCCESS
    assert message.get(AttributeType.SOFTWARE) == b"test vector"
    assert message.xor_mapped_address == (address_bytes(host), 32853)
    assert message.has_valid_integrity(RFC5769_PASSWORD)
    assert message.has_valid_fingerprint


def test_padding_is_ignored_but_covered_by_the_integrity_it_was_sent_with() -> None:
    datagram = vector("rfc5769-2.1-request.bin")  # pads with spaces
    message = Message.decode(datagram)
    zero_padded = Message.decode(message.encode())
    assert zero_padded == message
    assert message.encode() != datagram
    assert not zero_padded.has_valid_integrity(RFC5769_PASSWORD)


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture["file"])
def test_a_captured_message_is_verified_and_encoded_to_the_same_bytes(capture: dict[str, str]) -> None:
    datagram = vector(capture["file"])
    message = Message.decode(datagram)
    assert message.encode() == datagram
    assert message.has_valid_fingerprint
    # A response is signed with the same password as its request (RFC 8445 §7.2.2).
    assert message.has_valid_integrity(capture["our_ice_pwd"].encode())
    assert not message.has_valid_integrity(capture["browser_ice_pwd"].encode())
    assert message.unknown_required == ()
    if message.message_class is MessageClass.REQUEST:
        assert message.username == f"{capture['our_ice_ufrag']}:{capture['browser_ice_ufrag']}"
        assert message.priority is not None
        assert message.ice_controlling is not None
    else:
        assert message.xor_mapped_address is not None


def test_the_captures_are_those_of_two_browsers_with_and_without_nomination_and_embedded_dtls() -> None:
    requests = [Message.decode(vector(capture["file"])) for capture in CAPTURES]
    assert {message.has_use_candidate for message in requests} == {True, False}
    assert any(message.get(AttributeType.DTLS_IN_STUN_DATA) for message in requests)
    assert {capture["file"].partition("-")[0] for capture in CAPTURES} == {"chromium", "firefox"}


def test_code_points_are_those_of_an_independent_implementation() -> None:
    theirs = {name.replace("-", "_"): code for code, name, _pack, _unpack in aioice_stun.ATTRIBUTES}
    ours = {known.name: int(known) for known in AttributeType if known.name in theirs}
    assert ours == {name: theirs[name] for name in ours}
    assert len(ours) >= 11


# Decoding


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        REQUEST.encode()[:-1],
        REQUEST.encode() + b"\0",
        REQUEST.encode() + bytes(4),
        b"\x40" + REQUEST.encode()[1:],
        REQUEST.encode()[:4] + b"\x21\x12\xa4\x43" + TRANSACTION_ID,
        b"\x00\x01\x00\x02" + REQUEST.encode()[4:] + b"\0\0",
        b"\x00\x01\x00\x04" + REQUEST.encode()[4:] + b"\x80\x22\x00\x01",
        b"\x00\x01\x00\x08" + REQUEST.encode()[4:] + b"\x80\x22\xff\xff" + bytes(4),
    ],
    ids=[
        "empty",
        "short",
        "trailing byte",
        "trailing attribute",
        "not zero bits",
        "wrong cookie",
        "odd length",
        "attribute without its value",
        "attribute beyond the end",
    ],
)
def test_what_is_not_a_stun_message_is_refused(datagram: bytes) -> None:
    with pytest.raises(WireError):
        Message.decode(datagram)


def test_unknown_and_repeated_attributes_are_kept_in_order() -> None:
    attributes = ((0xC0DE, b"one"), (0x8022, b""), (0xC0DE, b"two"), (0x7ABC, b"12345"))
    message = attrs.evolve(REQUEST, attributes=attributes)
    decoded = Message.decode(message.encode())
    assert decoded.attributes == attributes
    assert decoded.get(0xC0DE) == b"one"


@pytest.mark.parametrize("method", [0, 1, 0x00F, 0x010, 0x070, 0x080, 0xF80, 0xFFF])
@pytest.mark.parametrize("message_class", MessageClass)
def test_method_and_class_are_interleaved_in_the_type(method: int, message_class: MessageClass) -> None:
    message = attrs.evolve(REQUEST, method=method, message_class=message_class)
    message_type = int.from_bytes(message.encode()[:2], "big")
    assert message_type & 0x0110 == (message_class & 1) << 4 | (message_class & 2) << 7
    assert message_type & 0x3EEF == (method & 0xF80) << 2 | (method & 0x70) << 1 | method & 0xF
    assert Message.decode(message.encode()) == message


def test_a_datagram_near_the_largest_possible_is_carried_whole() -> None:
    attributes = ((AttributeType.DTLS_IN_STUN_DATA, bytes(1110)), (0xC0DE, bytes(0xFFFF - 1200)))
    datagram = sign(attrs.evolve(REQUEST, attributes=attributes), key=KEY)
    assert len(datagram) > 65000
    message = Message.decode(datagram)
    assert message.attributes[:2] == attributes
    assert message.has_valid_integrity(KEY)
    assert message.encode() == datagram


def test_an_integrity_of_the_wrong_length_at_the_very_end_of_the_largest_message_is_invalid() -> None:
    attributes = ((0xC0DE, bytes(0xFFFC - 8)), (AttributeType.MESSAGE_INTEGRITY, b""))
    message = Message.decode(attrs.evolve(REQUEST, attributes=attributes).encode())
    assert not message.has_valid_integrity(KEY)


@pytest.mark.parametrize(
    "message",
    [
        attrs.evolve(REQUEST, transaction_id=b"short"),
        attrs.evolve(REQUEST, attributes=((1, bytes(0x10000)),)),
        attrs.evolve(REQUEST, attributes=((1, bytes(0xFFFF)),)),
    ],
)
def test_what_no_datagram_can_say_is_a_fault_of_the_caller(message: Message) -> None:
    with pytest.raises(UsageError):
        message.encode()


def test_a_message_without_room_for_its_signature_is_a_fault_of_the_caller() -> None:
    full = attrs.evolve(REQUEST, attributes=((1, bytes(0xFFFC - 4)),))
    assert len(full.encode()) == 20 + 0xFFFC
    with pytest.raises(UsageError):
        sign(full, key=KEY)


# Views


def test_attributes_behind_the_integrity_are_not_seen_except_the_fingerprint() -> None:
    honest = binding_request(transaction_id=TRANSACTION_ID, username="a:b", key=KEY, priority=7)
    message = Message.decode(honest)
    fingerprint = message.attributes[-1]
    added = ((AttributeType.USE_CANDIDATE, b""), (AttributeType.ICE_CONTROLLED, bytes(8)), (0x7ABC, b""))
    longer = attrs.evolve(message, attributes=(*message.attributes[:-1], *added, fingerprint))
    seen = Message.decode(longer.encode())
    assert seen.has_valid_integrity(KEY), "what follows is not covered"
    assert not seen.has_use_candidate
    assert seen.ice_controlled is None
    assert seen.unknown_required == ()
    assert seen.get(AttributeType.FINGERPRINT) == fingerprint[1]
    assert len(seen.attributes) == len(message.attributes) + 3


@pytest.mark.parametrize(
    ("attribute_type", "value", "view"),
    [
        (AttributeType.USERNAME, "häns:x".encode(), "username"),
        (AttributeType.USERNAME, b"\xff\xfe", "username"),
        (AttributeType.PRIORITY, b"123", "priority"),
        (AttributeType.PRIORITY, b"", "priority"),
        (AttributeType.ICE_CONTROLLING, b"1234567", "ice_controlling"),
        (AttributeType.ICE_CONTROLLED, b"123456789", "ice_controlled"),
        (AttributeType.ERROR_CODE, b"\0\0\4", "error_code"),
        (AttributeType.XOR_MAPPED_ADDRESS, b"", "xor_mapped_address"),
        (AttributeType.XOR_MAPPED_ADDRESS, b"\0\1\0\0", "xor_mapped_address"),
        (AttributeType.XOR_MAPPED_ADDRESS, b"\0\1\0\0" + bytes(16), "xor_mapped_address"),
        (AttributeType.XOR_MAPPED_ADDRESS, b"\0\2\0\0" + bytes(4), "xor_mapped_address"),
        (AttributeType.XOR_MAPPED_ADDRESS, b"\0\2\0\0" + bytes(40), "xor_mapped_address"),
        (AttributeType.XOR_MAPPED_ADDRESS, b"\0\3\0\0" + bytes(16), "xor_mapped_address"),
    ],
)
def test_an_attribute_of_a_wrong_form_reads_as_absent(attribute_type: int, value: bytes, view: str) -> None:
    message = Message.decode(attrs.evolve(REQUEST, attributes=((attribute_type, value),)).encode())
    assert getattr(message, view) is None
    assert message.get(attribute_type) == value


def test_unknown_attributes_that_must_be_understood_are_listed_once_each() -> None:
    attributes = (
        (0x7001, b""),
        (0x9001, b""),
        (0x0015, b""),
        (0x7001, b"x"),
        (AttributeType.USERNAME, b"a:b"),
    )
    assert attrs.evolve(REQUEST, attributes=attributes).unknown_required == (0x7001, 0x0015)


def test_a_message_without_attributes_has_neither_integrity_nor_fingerprint() -> None:
    message = Message.decode(REQUEST.encode())
    assert not message.has_valid_integrity(KEY)
    assert not message.has_valid_fingerprint


def test_a_fingerprint_counts_only_at_the_end() -> None:
    message = Message.decode(sign(REQUEST, key=KEY))
    moved = attrs.evolve(message, attributes=message.attributes[::-1])
    assert not Message.decode(moved.encode()).has_valid_fingerprint


def test_a_message_built_here_never_counts_as_verified() -> None:
    signed = Message.decode(sign(REQUEST, key=KEY))
    rebuilt = attrs.evolve(signed, received=b"")
    assert rebuilt == signed
    assert not rebuilt.has_valid_integrity(KEY)
    assert not rebuilt.has_valid_fingerprint


# Messages we build, read by another implementation


def parsed(datagram: bytes) -> Any:
    message = aioice_stun.parse_message(datagram)
    message.check_message_integrity(KEY)
    return message


@given(st.booleans(), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.booleans())
def test_a_request_is_understood_by_another_implementation(
    controls: bool, priority: int, tiebreaker: int, nominates: bool
) -> None:
    message = parsed(
        binding_request(
            transaction_id=TRANSACTION_ID,
            username="ours:theirs",
            key=KEY,
            priority=priority,
            ice_controlling=tiebreaker if controls else None,
            ice_controlled=None if controls else tiebreaker,
            has_use_candidate=nominates,
            extra=[(0xC0DE, b"more")],
        )
    )
    assert message.message_class is aioice_stun.Class.REQUEST
    assert message.transaction_id == TRANSACTION_ID
    assert message.attributes["USERNAME"] == "ours:theirs"
    assert message.attributes["PRIORITY"] == priority
    assert message.attributes["ICE-CONTROLLING" if controls else "ICE-CONTROLLED"] == tiebreaker
    assert ("USE-CANDIDATE" in message.attributes) is nominates


@given(st.ip_addresses().map(str), st.integers(0, 0xFFFF), st.binary(min_size=12, max_size=12))
@example("0.0.0.0", 0, bytes(12))
def test_a_success_tells_another_implementation_the_address_it_was_seen_at(
    host: str, port: int, transaction_id: bytes
) -> None:
    request = attrs.evolve(REQUEST, transaction_id=transaction_id)
    datagram = binding_success(request, host=address_bytes(host), port=port, key=KEY)
    assert Message.decode(datagram).xor_mapped_address == (address_bytes(host), port)
    message = parsed(datagram)
    assert message.message_class is aioice_stun.Class.RESPONSE
    assert message.transaction_id == transaction_id
    assert message.attributes["XOR-MAPPED-ADDRESS"] == (address_text(address_bytes(host)), port)


def test_an_error_tells_its_code_and_what_was_not_understood() -> None:
    datagram = binding_error(
        REQUEST, code=ErrorCode.UNKNOWN_ATTRIBUTE, key=KEY, unknown=[0x7001, 0x0015, 0x7ABC]
    )
    assert parsed(datagram).attributes["ERROR-CODE"] == (420, "Unknown Attribute")
    message = Message.decode(datagram)
    assert message.message_class is MessageClass.ERROR
    assert message.error_code == 420
    assert message.get(AttributeType.UNKNOWN_ATTRIBUTES) == bytes.fromhex("700100157abc")


def test_a_role_conflict_carries_no_list() -> None:
    datagram = binding_error(REQUEST, code=ErrorCode.ROLE_CONFLICT, key=KEY)
    assert parsed(datagram).attributes["ERROR-CODE"] == (487, "Role Conflict")
    assert Message.decode(datagram).get(AttributeType.UNKNOWN_ATTRIBUTES) is None
