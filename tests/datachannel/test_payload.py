"""User messages and their payload protocol identifiers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.datachannel.payload import ProtocolId, decode_payload, encode_payload
from voicegate.errors import UsageError, WireError


@given(st.text() | st.binary())
def test_a_message_survives_the_wire_and_stays_text_or_binary(message: str | bytes) -> None:
    protocol_id, data = encode_payload(message)
    assert data, "SCTP has no empty messages"
    decoded = decode_payload(protocol_id, data)
    assert decoded == message
    assert type(decoded) is type(message)


@pytest.mark.parametrize(
    ("message", "protocol_id", "data"),
    [("ä", 51, b"\xc3\xa4"), (b"\xff", 53, b"\xff"), ("", 56, b"\0"), (b"", 57, b"\0")],
)
def test_each_kind_has_its_identifier(message: str | bytes, protocol_id: int, data: bytes) -> None:
    assert encode_payload(message) == (protocol_id, data)


@pytest.mark.parametrize(("protocol_id", "message"), [(56, ""), (57, b"")])
def test_what_stands_for_emptiness_is_ignored(protocol_id: int, message: str | bytes) -> None:
    assert decode_payload(protocol_id, b"anything \xff") == message


@given(
    st.integers(0, 0xFFFFFFFF).filter(lambda protocol_id: protocol_id not in (51, 53, 56, 57)), st.binary()
)
def test_other_identifiers_are_refused(protocol_id: int, data: bytes) -> None:
    with pytest.raises(WireError):
        decode_payload(protocol_id, data)


@pytest.mark.parametrize(
    "protocol_id", [ProtocolId.ESTABLISHMENT, ProtocolId.STRING_PARTIAL, ProtocolId.BINARY_PARTIAL]
)
def test_pieces_of_messages_are_refused_and_dcep_is_no_message(protocol_id: ProtocolId) -> None:
    with pytest.raises(WireError):
        decode_payload(protocol_id, b"a")


@pytest.mark.parametrize("data", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_a_string_that_is_not_utf_8_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_payload(ProtocolId.STRING, data)


def test_a_string_that_has_no_utf_8_is_our_mistake() -> None:
    with pytest.raises(UsageError):
        encode_payload("\ud800")
