"""Rows, and their seal."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicegate.directory import RelayLease, TransceiverLease
from voicegate.directory.row import (
    MAX_ADDRESSES,
    MAX_NAME,
    MAX_ROW,
    LeaseRow,
    RelayText,
    Seal,
    SealError,
    TransceiverText,
    is_name,
)
from voicegate.errors import WireError

ONE = b"the secret of one"
OTHER = b"the secret of another"

ports = st.integers(1, 0xFFFF)
addresses = st.tuples(st.ip_addresses().map(str).filter(lambda host: "%" not in host), ports)
names = st.just("") | st.text(max_size=MAX_NAME).filter(is_name)
numbers = st.integers(0, 2**53 - 1)
transceivers = st.builds(
    TransceiverLease,
    hop=addresses,
    peer=st.none() | addresses,
    region=names,
    calls=numbers,
    max_calls=numbers,
    is_draining=st.booleans(),
)
relays = st.builds(
    RelayLease,
    udp=st.lists(addresses, max_size=MAX_ADDRESSES).map(tuple),
    tcp=st.lists(addresses, max_size=MAX_ADDRESSES).map(tuple),
    region=names,
    is_draining=st.booleans(),
)
rows = st.builds(
    LeaseRow,
    owner=st.binary(min_size=8, max_size=8),
    mark=st.binary(min_size=8, max_size=8),
    text=st.binary(max_size=MAX_ROW - 33),
)


@settings(max_examples=40)
@given(row=rows, key=st.binary(max_size=100), secrets=st.sampled_from([[ONE], [ONE, OTHER]]))
def test_a_row_opens_under_its_own_key_and_no_other(row: LeaseRow, key: bytes, secrets: list[bytes]) -> None:
    seal = Seal(secrets)
    data = seal.encode_lease(key, row)
    assert seal.decode_lease(key, data) == Seal([OTHER, ONE]).decode_lease(key, data) == row
    with pytest.raises(SealError):
        seal.decode_lease(key + b"x", data)
    with pytest.raises(SealError):
        Seal([OTHER]).decode_lease(key, data)


@settings(max_examples=40)
@given(row=rows, change=st.integers(8, 8 * MAX_ROW))
def test_no_bit_of_a_row_can_be_changed(row: LeaseRow, change: int) -> None:
    data = bytearray(Seal([ONE]).encode_lease(b"key", row))
    bit = 8 + change % (8 * len(data) - 8)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealError):
        Seal([ONE]).decode_lease(b"key", bytes(data))


@settings(max_examples=40)
@given(key=st.binary(max_size=40), transceiver_id=st.integers(0, 2**32 - 1))
def test_a_flow_row_opens_under_its_own_key_and_no_other(key: bytes, transceiver_id: int) -> None:
    data = Seal([ONE]).encode_flow(key, transceiver_id)
    assert len(data) == 12
    assert Seal([OTHER, ONE]).decode_flow(key, data) == transceiver_id
    for seal, at in ((Seal([OTHER]), key), (Seal([ONE]), key + b"x")):
        with pytest.raises(SealError):
            seal.decode_flow(at, data)
    with pytest.raises(SealError):
        Seal([ONE]).decode_flow(key, data[:8] + ((transceiver_id + 1) % 2**32).to_bytes(4, "big"))


@settings(max_examples=40)
@given(data=st.binary(max_size=60))
def test_a_row_made_by_hand_is_a_wire_error(data: bytes) -> None:
    for decode in (Seal([ONE]).decode_lease, Seal([ONE]).decode_flow):
        with pytest.raises(WireError):
            decode(b"key", data)


@pytest.mark.parametrize("data", [b"", b"\1" * 32, b"\2" * 33, b"\1" * (MAX_ROW + 1)])
def test_what_is_no_row_is_not_even_checked(data: bytes) -> None:
    with pytest.raises(WireError) as refused:
        Seal([ONE]).decode_lease(b"key", data)
    assert not isinstance(refused.value, SealError)


@settings(max_examples=40)
@given(lease=st.none() | transceivers, written_at=numbers)
def test_what_a_transceiver_says_arrives(lease: TransceiverLease | None, written_at: int) -> None:
    text = TransceiverText(lease=lease, written_at=written_at)
    assert TransceiverText.decode(text.encode()) == text
    assert len(text.encode()) <= MAX_ROW - 33


@settings(max_examples=40)
@given(lease=st.none() | relays, written_at=numbers)
def test_what_a_relay_says_arrives(lease: RelayLease | None, written_at: int) -> None:
    text = RelayText(lease=lease, written_at=written_at)
    assert RelayText.decode(text.encode()) == text
    assert len(text.encode()) <= MAX_ROW - 33


@settings(max_examples=40)
@given(lease=transceivers)
def test_the_mark_of_a_transceiver_follows_all_but_load_and_time(lease: TransceiverLease) -> None:
    text = TransceiverText(lease=lease, written_at=1)
    table = json.loads(text.encode())
    for name, value in {"region": "?", "is_draining": not lease.is_draining, "hop": ["10.9.9.9", 9]}.items():
        other = TransceiverText.decode(json.dumps({**table, name: value}).encode())
        assert (other.mark(told_calls=1) == text.mark(told_calls=1)) == (other == text)
    later = TransceiverText.decode(json.dumps({**table, "calls": 7, "at": 2}).encode())
    assert later.mark(told_calls=1) == text.mark(told_calls=1) != later.mark(told_calls=2)


def test_what_later_versions_add_is_skipped() -> None:
    text = TransceiverText.decode(b'{"hop": ["10.0.0.1", 9], "colour": {"of": "blue"}, "at": 7}')
    assert text.lease == TransceiverLease(hop=("10.0.0.1", 9))
    assert RelayText.decode(b'{"udp": [], "shape": [1]}').lease == RelayLease(udp=())


GOOD: dict[str, Any] = {"hop": ["10.0.0.1", 9], "udp": [["10.0.0.1", 9]]}


@pytest.mark.parametrize(
    "change",
    [
        {"hop": None, "udp": None},
        {"hop": ["10.0.0.1", 0], "udp": [["10.0.0.1", 65536]]},
        {"hop": ["10.0.0.1", True], "udp": [["10.0.0.1", True]]},
        {"hop": ["10.0.0.1", "9"], "udp": ["10.0.0.1", 9]},
        {"hop": ["example.com", 9], "udp": [["example.com", 9]]},
        {"hop": ["fe80::1%eth0", 9], "udp": [["fe80::1%eth0", 9]]},
        {"hop": ["10.0.0.1", 9, 9], "udp": [["10.0.0.1", 9]] * (MAX_ADDRESSES + 1)},
        {"region": 1},
        {"region": "a" * (MAX_NAME + 1)},
        {"region": "\ud800"},
        {"at": -1},
        {"at": 1.5},
        {"at": 2**53},
    ],
)
@pytest.mark.parametrize("text", [TransceiverText, RelayText])
def test_what_is_no_lease_is_refused(
    change: dict[str, Any], text: type[TransceiverText] | type[RelayText]
) -> None:
    text.decode(json.dumps(GOOD).encode())
    with pytest.raises(WireError):
        text.decode(json.dumps({**GOOD, **change}).encode())


@pytest.mark.parametrize("change", [{"calls": "1"}, {"max_calls": -1}, {"peer": []}, {"calls": False}])
def test_what_no_transceiver_says_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        TransceiverText.decode(json.dumps({**GOOD, **change}).encode())


@settings(max_examples=40)
@given(
    data=st.binary(max_size=100)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["hop", "udp", "tcp", "at", "calls"]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_only_wire_errors_come_of_any_text(data: bytes) -> None:
    for text in (TransceiverText, RelayText):
        with contextlib.suppress(WireError):
            text.decode(data)


@pytest.mark.parametrize("data", [b"[" * MAX_ROW, b"1" * 5000, b"\xff\xfe", b"[]", b"9" * MAX_ROW])
def test_what_would_hurt_a_parser_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        TransceiverText.decode(data)
