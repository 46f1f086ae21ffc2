import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.dtls.record import (
    MAX_SEQUENCE_NUMBER,
    ContentType,
    ProtocolVersion,
    Record,
    ReplayWindow,
    pack,
)
from voicegate.errors import WireError
from voicegate.wire import Reader

records = st.builds(
    Record,
    content_type=st.integers(0, 255),
    version=st.integers(0xFE00, 0xFEFF),
    epoch=st.integers(0, 0xFFFF),
    sequence_number=st.integers(0, MAX_SEQUENCE_NUMBER),
    fragment=st.binary(max_size=100),
)


def test_the_header_is_laid_out_as_in_the_rfc() -> None:
    record = Record(ContentType.ALERT, ProtocolVersion.DTLS_1_2, 1, 2, b"\x01\x00")
    assert record.encode() == bytes.fromhex("15 fefd 0001 000000000002 0002 0100")


@given(st.lists(records, max_size=4))
def test_records_that_share_a_datagram_come_apart_again(sent: list[Record]) -> None:
    reader = Reader(b"".join(record.encode() for record in sent))
    received = []
    while reader.remaining:
        received.append(Record.read(reader))
    assert received == sent


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_that_encodes_to_them_or_a_wire_error(data: bytes) -> None:
    reader = Reader(data)
    try:
        record = Record.read(reader)
    except WireError:
        return
    assert record.encode() == data[: reader.position]


def test_a_record_of_another_protocol_is_refused() -> None:
    with pytest.raises(WireError, match="version"):
        Record.read(Reader(bytes.fromhex("16 0303 0000 000000000000 0000")))


def test_a_record_longer_than_the_rfc_allows_is_refused() -> None:
    data = Record(ContentType.HANDSHAKE, ProtocolVersion.DTLS_1_2, 0, 0, bytes(2**14 + 257)).encode()
    with pytest.raises(WireError, match="16641"):
        Record.read(Reader(data))


@given(st.lists(st.integers(0, 200), max_size=200))
def test_the_replay_window_takes_each_number_once_and_none_older_than_sixty_four(numbers: list[int]) -> None:
    window = ReplayWindow()
    seen: set[int] = set()
    for number in numbers:
        expected = number not in seen and number > max(seen, default=-1) - 64
        assert window.accepts(number) is expected
        if expected:
            window.add(number)
            seen.add(number)


def test_a_jump_over_the_whole_window_costs_no_memory() -> None:
    window = ReplayWindow()
    window.add(0)
    window.add(MAX_SEQUENCE_NUMBER)
    assert not window.accepts(0)
    assert not window.accepts(MAX_SEQUENCE_NUMBER)
    assert window.accepts(MAX_SEQUENCE_NUMBER - 63)


@given(st.lists(st.binary(min_size=1, max_size=80), max_size=20), st.integers(50, 120))
def test_packing_keeps_all_records_whole_and_in_order(records_: list[bytes], mtu: int) -> None:
    datagrams = list(pack(records_, mtu=mtu))
    assert b"".join(datagrams) == b"".join(records_)
    assert all(len(datagram) <= mtu or datagram in records_ for datagram in datagrams)


def test_packing_uses_as_few_datagrams_as_it_can() -> None:
    assert list(pack([b"a" * 50, b"b" * 50, b"c"], mtu=100)) == [b"a" * 50 + b"b" * 50, b"c"]
