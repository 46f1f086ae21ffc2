import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import UsageError, WireError
from voicegate.wire import hop

hosts = st.binary(min_size=16, max_size=16)
ports = st.integers(0, 0xFFFF)


@given(
    type_=st.integers(0, 15), host=hosts, port=ports, is_stream=st.booleans(), payload=st.binary(max_size=64)
)
def test_what_is_encoded_decodes_to_the_same(
    type_: int, host: bytes, port: int, is_stream: bool, payload: bytes
) -> None:
    datagram = hop.encode(type_, host=host, port=port, payload=payload, is_stream=is_stream)
    assert hop.decode(datagram) == (type_, host, port, is_stream, payload)
    assert len(datagram) == hop.HEADER_LENGTH + len(payload)


@given(st.binary(max_size=64) | st.binary(max_size=48).map(lambda tail: b"\x56\x10" + tail))
def test_nothing_but_wire_error_leaves_decode(datagram: bytes) -> None:
    try:
        decoded = hop.decode(datagram)
    except WireError:
        return
    assert len(decoded.payload) <= len(datagram) - hop.HEADER_LENGTH
    # Canonical once encoded: reserved bits and padding are gone, and nothing else.
    again = hop.encode(
        decoded.type,
        host=decoded.host,
        port=decoded.port,
        payload=decoded.payload,
        is_stream=decoded.is_stream,
    )
    assert hop.decode(again) == decoded


def test_the_header_is_laid_out_as_documented() -> None:
    datagram = hop.encode(
        hop.HopType.PONG, host=bytes(range(16)), port=0x1234, payload=b"payload", is_stream=True
    )
    assert datagram == bytes.fromhex("56140007 01001234") + bytes(range(16)) + b"payload"


def test_padding_behind_the_payload_is_ignored() -> None:
    datagram = hop.encode(hop.HopType.DATA, host=bytes(16), port=1, payload=b"packet")
    assert hop.decode(datagram + bytes(100)).payload == b"packet"


@pytest.mark.parametrize(
    ("datagram", "fault"),
    [
        (b"", "shorter than its header"),
        (bytes.fromhex("56100000 00000000") + bytes(15), "shorter than its header"),
        (bytes.fromhex("57100000 00000000") + bytes(16), "not a hop datagram"),
        (bytes.fromhex("56200000 00000000") + bytes(16), "not a hop datagram of version 1"),
        (bytes.fromhex("56100002 00000000") + bytes(17), "2 bytes, 1 received"),
    ],
)
def test_what_is_no_hop_datagram_is_refused_with_the_reason(datagram: bytes, fault: str) -> None:
    with pytest.raises(WireError, match=fault):
        hop.decode(datagram)


def test_a_payload_that_the_length_cannot_say_is_refused() -> None:
    assert hop.decode(hop.encode(0, host=bytes(16), port=1, payload=bytes(0xFFFF))).payload == bytes(0xFFFF)
    with pytest.raises(UsageError, match="65536 bytes"):
        hop.encode(0, host=bytes(16), port=1, payload=bytes(0x10000))


@given(host=st.binary(min_size=16, max_size=16), port=st.integers(0, 0xFFFF), is_stream=st.booleans())
def test_the_clients_key_stands_for_it_in_every_header(host: bytes, port: int, is_stream: bool) -> None:
    key = hop.client_key(host=host, port=port, is_stream=is_stream)
    datagram = hop.encode_data(key, b"packet")
    assert datagram == hop.encode(
        hop.HopType.DATA, host=host, port=port, payload=b"packet", is_stream=is_stream
    )
    assert hop.short_header(b"before" + datagram, 6) == (hop.DATA_MAGIC, 6, key)


def test_only_a_packet_of_a_client_begins_like_one() -> None:
    for type_ in hop.HopType:
        magic, _length, _key = hop.short_header(hop.encode(type_, host=bytes(16), port=1), 0)
        assert (magic == hop.DATA_MAGIC) == (type_ is hop.HopType.DATA)
