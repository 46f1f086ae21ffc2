from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.dtls.extension import Extension
from voicegate.dtls.v13.message import (
    Ack,
    CertificateEntry,
    CertificateMessage,
    CertificateRequest,
    EncryptedExtensions,
    KeyUpdate,
    RecordNumber,
)
from voicegate.errors import WireError

u64 = st.integers(0, 2**64 - 1)
extensions = st.lists(st.builds(Extension, st.integers(0, 0xFFFF), st.binary(max_size=9)), max_size=3).map(
    tuple
)
entries = st.lists(st.builds(CertificateEntry, st.binary(max_size=20), extensions), max_size=3).map(tuple)
messages = st.one_of(
    st.builds(EncryptedExtensions, extensions=extensions),
    st.builds(CertificateRequest, context=st.binary(max_size=5), extensions=extensions),
    st.builds(CertificateMessage, context=st.binary(max_size=5), entries=entries),
    st.builds(KeyUpdate, is_requested=st.booleans()),
    st.builds(Ack, record_numbers=st.lists(st.builds(RecordNumber, u64, u64), max_size=4).map(tuple)),
)
KINDS: list[Any] = [EncryptedExtensions, CertificateRequest, CertificateMessage, KeyUpdate, Ack]


@given(messages)
def test_what_is_encoded_is_decoded_to_the_same(message: Any) -> None:
    assert type(message).decode(message.encode()) == message


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_decoded_or_a_wire_error(kind: Any, data: bytes) -> None:
    try:
        message = kind.decode(data)
    except WireError:
        return
    assert message.encode() == data


@pytest.mark.parametrize("kind", KINDS)
@given(messages)
def test_nothing_may_be_missing_or_too_much(kind: Any, message: Any) -> None:
    if isinstance(message, kind):
        for data in (message.encode()[:-1], message.encode() + b"\0"):
            with pytest.raises(WireError):
                kind.decode(data)


def test_known_encodings() -> None:
    assert Ack(record_numbers=(RecordNumber(2, 0),)).encode().hex() == "0010" + "00" * 7 + "02" + "00" * 8
    assert Ack(record_numbers=()).encode() == b"\0\0"
    assert KeyUpdate(is_requested=True).encode() == b"\1"
    assert EncryptedExtensions(extensions=()).encode() == b"\0\0"
    chain = CertificateMessage(entries=(CertificateEntry(b"der"),))
    assert chain.encode() == b"\0\0\0\x08\0\0\3der\0\0"


@pytest.mark.parametrize("data", [bytes(8), b"\0\x08" + bytes(8), b"\0\x11" + bytes(17)])
def test_acks_of_other_forms_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        Ack.decode(data)


def test_a_key_update_says_yes_or_no() -> None:
    with pytest.raises(WireError):
        KeyUpdate.decode(b"\2")
