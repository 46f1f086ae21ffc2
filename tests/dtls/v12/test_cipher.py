import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.dtls.record import MAX_SEQUENCE_NUMBER, ContentType
from voicegate.dtls.v12.cipher import OVERHEAD, CipherSuite, RecordCipher

KEY, IV = bytes(16), bytes(4)


@pytest.mark.parametrize(
    ("suite", "code", "is_ecdsa", "key_length", "hash_name"),
    [
        (CipherSuite.ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, 0xC02B, True, 16, "sha256"),
        (CipherSuite.ECDHE_RSA_WITH_AES_128_GCM_SHA256, 0xC02F, False, 16, "sha256"),
        (CipherSuite.ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, 0xC02C, True, 32, "sha384"),
        (CipherSuite.ECDHE_RSA_WITH_AES_256_GCM_SHA384, 0xC030, False, 32, "sha384"),
    ],
)
def test_suites_mean_what_iana_says(
    suite: CipherSuite, code: int, is_ecdsa: bool, key_length: int, hash_name: str
) -> None:
    assert (suite, suite.is_ecdsa, suite.key_length, suite.hash_name) == (
        code,
        is_ecdsa,
        key_length,
        hash_name,
    )


@given(st.integers(0, 255), st.integers(0, MAX_SEQUENCE_NUMBER), st.binary(max_size=200))
def test_a_protected_record_opens_again(content_type: int, number: int, plaintext: bytes) -> None:
    cipher = RecordCipher(key=KEY, iv=IV)
    record = cipher.protect(content_type, 1, number, plaintext)
    assert len(record.fragment) == len(plaintext) + OVERHEAD
    assert cipher.unprotect(record) == plaintext


@given(st.data())
def test_a_record_changed_anywhere_does_not_open(data: st.DataObject) -> None:
    cipher = RecordCipher(key=KEY, iv=IV)
    record = cipher.protect(ContentType.APPLICATION_DATA, 1, 7, b"plaintext")
    changed = bytearray(record.fragment)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    assert cipher.unprotect(record._replace(fragment=bytes(changed))) is None
    assert cipher.unprotect(record._replace(sequence_number=8)) is None
    assert cipher.unprotect(record._replace(epoch=2)) is None
    assert cipher.unprotect(record._replace(content_type=ContentType.ALERT)) is None
    assert cipher.unprotect(record._replace(version=0xFEFF)) is None
    assert RecordCipher(key=KEY, iv=b"iv 2").unprotect(record) is None


@given(st.binary(max_size=OVERHEAD + 5))
def test_any_bytes_as_fragment_are_only_not_authentic(fragment: bytes) -> None:
    cipher = RecordCipher(key=KEY, iv=IV)
    record = cipher.protect(ContentType.ALERT, 1, 0, b"")
    assert cipher.unprotect(record._replace(fragment=fragment)) is None
