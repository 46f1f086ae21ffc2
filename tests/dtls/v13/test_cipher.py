from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from voicegate.dtls.record import ContentType
from voicegate.dtls.statistic import DropReason
from voicegate.dtls.v13.cipher import CipherSuite, Plaintext, ReadEpoch, WriteEpoch
from voicegate.dtls.v13.key_schedule import expand_label
from voicegate.dtls.v13.record import ProtectedRecord
from voicegate.wire import Reader

SECRETS = {suite: bytes(range(48 if suite.hash_name == "sha384" else 32)) for suite in CipherSuite}


def pair(suite: CipherSuite, epoch: int = 3) -> tuple[WriteEpoch, ReadEpoch]:
    return WriteEpoch.make(suite, SECRETS[suite], epoch), ReadEpoch.make(suite, SECRETS[suite], epoch)


def record_of(data: bytes) -> ProtectedRecord:
    return ProtectedRecord.read(Reader(data))


def in_form(data: bytes, suite: CipherSuite, number: int, content: bytes, *, is_long: bool) -> bytes:
    """Make by hand a record without length, with a number of either size."""
    del data
    secret = SECRETS[suite]

    def expand(label: bytes, length: int) -> bytes:
        return expand_label(suite.hash_name, secret, label, b"", length)

    keys = pair(suite)[0]._keys
    low = number.to_bytes(8, "big")[-2 if is_long else -1 :]
    header = bytes([0x28 if is_long else 0x20 | 0]) + low
    header = bytes([header[0] | 3]) + low
    nonce = (int.from_bytes(expand(b"iv", 12), "big") ^ number).to_bytes(12, "big")
    ciphertext = keys.aead.encrypt(nonce, content, header)
    if suite is CipherSuite.CHACHA20_POLY1305_SHA256:
        cipher = Cipher(algorithms.ChaCha20(expand(b"sn", 32), ciphertext[:16]), mode=None)
        mask = cipher.encryptor().update(bytes(16))
    else:
        cipher_ = Cipher(algorithms.AES(expand(b"sn", suite.key_length)), modes.ECB())
        mask = cipher_.encryptor().update(ciphertext[:16])
    masked = bytes(one ^ other for one, other in zip(low, mask, strict=False))
    return header[:1] + masked + ciphertext


@pytest.mark.parametrize("suite", CipherSuite)
@given(contents=st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_what_is_protected_is_opened_once(suite: CipherSuite, contents: list[bytes]) -> None:
    writing, reading = pair(suite)
    records = [writing.protect(ContentType.APPLICATION_DATA, content) for content in contents]
    for number, (content, data) in enumerate(zip(contents, records, strict=True)):
        assert len(data) == len(content) + 22
        assert data[0] == 0x2F
        record = record_of(data)
        assert reading.unprotect(record) == Plaintext(number, 23, content)
        assert reading.unprotect(record) is DropReason.REPLAYED


@pytest.mark.parametrize("suite", CipherSuite)
@pytest.mark.parametrize("is_long", [True, False])
def test_records_with_short_numbers_and_padding_and_no_length_are_opened(
    suite: CipherSuite, is_long: bool
) -> None:
    _, reading = pair(suite)
    for number in (0, 1, 5, 100, 227, 300):
        data = in_form(b"", suite, number, b"content\x17" + bytes(number % 3), is_long=is_long)
        assert reading.unprotect(record_of(data)) == Plaintext(number, 23, b"content")


@pytest.mark.parametrize("suite", CipherSuite)
def test_a_record_of_padding_alone_is_of_no_type(suite: CipherSuite) -> None:
    _, reading = pair(suite)
    data = in_form(b"", suite, 0, bytes(5), is_long=True)
    assert reading.unprotect(record_of(data)) == Plaintext(0, 0, b"")


@pytest.mark.parametrize("suite", CipherSuite)
@given(where=st.integers(0, 24), flip=st.integers(1, 255))
def test_a_record_changed_anywhere_does_not_count_and_changes_nothing(
    suite: CipherSuite, where: int, flip: int
) -> None:
    writing, reading = pair(suite)
    data = bytearray(writing.protect(ContentType.APPLICATION_DATA, b"abc"))
    genuine = bytes(data)
    # The header's first byte and its length are the parser's business.
    data[where if where not in {0, 3, 4} else 5] ^= flip
    assert reading.unprotect(record_of(bytes(data))) is DropReason.BAD_MAC
    assert reading.failures == 1
    assert reading.unprotect(record_of(genuine)) == Plaintext(0, 23, b"abc")


@given(newest=st.integers(-1, 2**48), distance=st.integers(-120, 120))
def test_numbers_near_the_next_are_found_from_their_low_bits(newest: int, distance: int) -> None:
    _, reading = pair(CipherSuite.AES_128_GCM_SHA256)
    reading._newest = newest
    number = max(newest + 1 + distance, 0)
    assert reading._reconstruct(number % 256, 256) == number
    assert reading._reconstruct(number % 65536, 65536) == number


@given(newest=st.integers(-1, 2**20), low=st.integers(0, 255))
def test_a_number_found_ends_in_what_was_sent_and_is_the_closest(newest: int, low: int) -> None:
    _, reading = pair(CipherSuite.AES_128_GCM_SHA256)
    reading._newest = newest
    number = reading._reconstruct(low, 256)
    assert number >= 0
    assert number % 256 == low
    assert abs(number - newest - 1) <= 128 or number < 256


@pytest.mark.parametrize("make", [WriteEpoch.make, ReadEpoch.make])
def test_each_epoch_has_its_own_keys(make: Callable[..., WriteEpoch | ReadEpoch]) -> None:
    suite = CipherSuite.AES_128_GCM_SHA256
    epoch = make(suite, SECRETS[suite], 3)
    assert (epoch.epoch, epoch.next().epoch) == (3, 4)
    writing, reading = pair(suite)
    later = record_of(writing.next().protect(23, b"later"))
    assert later.epoch_bits == 0
    assert reading.unprotect(later) is DropReason.BAD_MAC
    assert reading.next().unprotect(later) == Plaintext(0, 23, b"later")


def test_the_length_of_keys_and_hashes_is_the_suites() -> None:
    assert [(suite, suite.key_length, suite.hash_name) for suite in CipherSuite] == [
        (0x1301, 16, "sha256"),
        (0x1302, 32, "sha384"),
        (0x1303, 32, "sha256"),
    ]
