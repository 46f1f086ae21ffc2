import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.dtls.v13.record import ProtectedRecord, is_unified
from voicegate.errors import WireError
from voicegate.wire import Reader

ciphertexts = st.binary(min_size=16, max_size=60)


def read(data: bytes) -> list[ProtectedRecord]:
    reader = Reader(data)
    records = []
    while reader.remaining:
        records.append(ProtectedRecord.read(reader))
    return records


@given(st.integers(0, 3), ciphertexts)
def test_every_legal_form_of_header_is_read(epoch: int, ciphertext: bytes) -> None:
    for flags, number in ((0x20, b"\5"), (0x28, b"\5\6")):
        bare = bytes([flags | epoch]) + number
        (record,) = read(bare + ciphertext)
        assert record == (bare, ciphertext)
        assert (record.epoch_bits, record.number_length) == (epoch, len(number))
        full = bytes([flags | 4 | epoch]) + number + len(ciphertext).to_bytes(2, "big")
        (record,) = read(full + ciphertext)
        assert record == (full, ciphertext)
        assert record.encode() == full + ciphertext


@given(st.lists(ciphertexts, min_size=1, max_size=4), ciphertexts)
def test_records_share_a_datagram_and_only_the_last_may_be_without_length(
    contents: list[bytes], last: bytes
) -> None:
    data = b"".join(b"\x2e\0\0" + len(one).to_bytes(2, "big") + one for one in contents)
    assert [record.ciphertext for record in read(data + b"\x2a\0\0" + last)] == [*contents, last]


@pytest.mark.parametrize(
    "data",
    [
        b"\x3e\0\0\0\x10" + bytes(16),
        b"\x16\0\0\0\x10" + bytes(16),
        b"\x4e\0\0\0\x10" + bytes(16),
        b"\x2e\0\0\0\x0f" + bytes(15),
        b"\x2e\0\0\0\x11" + bytes(16),
        b"\x2e\0\0\x41\x01" + bytes(0x4101),
        b"\x2a\0\0" + bytes(0x4101),
        b"\x2e\0",
        b"\x2e",
        b"",
    ],
    ids=["connection id", "plain", "other", "short", "cut", "long", "long bare", "header", "byte", "none"],
)
def test_what_is_no_protected_record_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        ProtectedRecord.read(Reader(data))


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_a_wire_error(data: bytes) -> None:
    try:
        record = ProtectedRecord.read(Reader(data))
    except WireError:
        return
    assert data.startswith(record.encode())


def test_the_first_byte_tells_the_two_headers_apart() -> None:
    assert [byte for byte in range(256) if is_unified(byte)] == list(range(0x20, 0x40))
