"""DATA_CHANNEL_OPEN and DATA_CHANNEL_ACK on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.datachannel.establishment import (
    ChannelType,
    DataChannelAck,
    DataChannelOpen,
    MessageType,
    decode_establishment,
)
from voicegate.errors import UsageError, WireError

# As Chromium sends it for createDataChannel("chat", {protocol: "json", maxRetransmits: 3, ordered: false}).
CHROMIUM = bytes.fromhex("03 81 0100 00000003 0004 0004") + b"chatjson"

messages = st.builds(
    DataChannelOpen,
    channel_type=st.integers(0, 255),
    priority=st.integers(0, 0xFFFF),
    reliability=st.integers(0, 0xFFFFFFFF),
    label=st.text(max_size=60),
    protocol=st.text(max_size=60),
)


def test_an_open_has_its_fields_where_the_rfc_has_them() -> None:
    message = DataChannelOpen.decode(CHROMIUM)
    assert message == DataChannelOpen(
        channel_type=0x80 | ChannelType.PARTIAL_RELIABLE_REXMIT,
        priority=256,
        reliability=3,
        label="chat",
        protocol="json",
    )
    assert message.encode() == CHROMIUM
    assert decode_establishment(CHROMIUM) == message


def test_an_ack_is_one_byte() -> None:
    assert DataChannelAck().encode() == bytes((MessageType.ACK,)) == b"\2"
    assert DataChannelAck.decode(b"\2") == decode_establishment(b"\2") == DataChannelAck()


@given(messages)
def test_an_open_survives_the_wire(message: DataChannelOpen) -> None:
    assert DataChannelOpen.decode(message.encode()) == message


@given(st.binary(max_size=40) | st.binary(max_size=20).map(lambda tail: CHROMIUM[:12] + tail))
def test_no_bytes_let_out_anything_but_a_wire_error(data: bytes) -> None:
    for decode in (DataChannelOpen.decode, DataChannelAck.decode, decode_establishment):
        try:
            message = decode(data)
        except WireError:
            continue
        assert isinstance(message, DataChannelOpen | DataChannelAck)
        assert message.encode() == data


@given(messages, st.integers(1, 20))
def test_an_open_is_as_long_as_it_says(message: DataChannelOpen, surplus: int) -> None:
    data = message.encode()
    for wrong in (data + bytes(surplus), data[:-surplus]):
        with pytest.raises(WireError):
            DataChannelOpen.decode(wrong)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\2\0",  # an ACK and something behind it
        b"\1",
        b"\xff" + CHROMIUM[1:],
        b"\2" + CHROMIUM[1:],
        CHROMIUM[:-8] + b"ch\xffts" + b"son",  # no UTF-8
        CHROMIUM[:-4] + b"\xed\xa0\x80s",  # a surrogate
        CHROMIUM[:8] + b"\xff\xff\xff\xff" + b"chatjson",
    ],
)
def test_what_is_neither_is_a_wire_error(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_establishment(data)
    with pytest.raises(WireError):
        DataChannelOpen.decode(data)
    with pytest.raises(WireError):
        DataChannelAck.decode(data)


@pytest.mark.parametrize("field", ["label", "protocol"])
def test_the_longest_text_that_fits_is_written_and_a_longer_one_is_our_mistake(field: str) -> None:
    def message(text: str) -> DataChannelOpen:
        return DataChannelOpen(label=text) if field == "label" else DataChannelOpen(protocol=text)

    longest = message("ä" * 32767 + "a")
    assert DataChannelOpen.decode(longest.encode()) == longest
    for text in ("ä" * 32768, "a\ud800"):
        with pytest.raises(UsageError):
            message(text).encode()
