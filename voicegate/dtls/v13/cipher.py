"""Cipher suites, and the protection of records and of their numbers (RFC 9147 §4.2.3, RFC 8446 §5.2)."""

from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from voicegate.dtls.record import ReplayWindow
from voicegate.dtls.statistic import DropReason
from voicegate.dtls.v13.key_schedule import expand_label, next_secret
from voicegate.dtls.v13.record import MIN_CIPHERTEXT_LENGTH, OWN_FORM, ProtectedRecord

__all__ = ["CipherSuite", "Plaintext", "ReadEpoch", "WriteEpoch"]

_IV_LENGTH: Final = 12
_TAG_LENGTH: Final = 16


class CipherSuite(IntEnum):
    """What we negotiate, in order of preference: AES-128 is as safe here and costs less."""

    AES_128_GCM_SHA256 = 0x1301
    AES_256_GCM_SHA384 = 0x1302
    CHACHA20_POLY1305_SHA256 = 0x1303

    @property
    def hash_name(self) -> str:
        """The hash of the key schedule and of the transcript, as hashlib names it."""
        return "sha384" if self is CipherSuite.AES_256_GCM_SHA384 else "sha256"

    @property
    def key_length(self) -> int:
        """Bytes of a traffic key."""
        return 16 if self is CipherSuite.AES_128_GCM_SHA256 else 32


class Plaintext(NamedTuple):
    """A record that was opened."""

    sequence_number: int
    content_type: int
    data: bytes


class _Keys:
    """One direction of one epoch: a cipher for content, a mask for numbers, both made once."""

    __slots__ = ("_secret", "_suite", "aead", "epoch", "iv", "mask")

    def __init__(self, suite: CipherSuite, secret: bytes, epoch: int) -> None:
        self._suite = suite
        self._secret = secret
        self.epoch = epoch
        key = self._expand(b"key", suite.key_length)
        number_key = self._expand(b"sn", suite.key_length)
        self.iv = int.from_bytes(self._expand(b"iv", _IV_LENGTH), "big")
        self.aead: AESGCM | ChaCha20Poly1305
        self.mask: Callable[[bytes], bytes]
        if suite is CipherSuite.CHACHA20_POLY1305_SHA256:
            self.aead = ChaCha20Poly1305(key)
            self.mask = _ChaCha20Mask(number_key)
        else:
            self.aead = AESGCM(key)
            # One block at a time is what is wanted here.
            self.mask = Cipher(algorithms.AES(number_key), modes.ECB()).encryptor().update  # noqa: S305

    def next(self) -> "_Keys":
        """Make the keys of the epoch after this one."""
        return _Keys(self._suite, next_secret(self._suite.hash_name, self._secret), self.epoch + 1)

    def _expand(self, label: bytes, length: int) -> bytes:
        return expand_label(self._suite.hash_name, self._secret, label, b"", length)


class _ChaCha20Mask:
    """The first key stream bytes of a block whose counter and nonce are the ciphertext's first 16 bytes."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, sample: bytes) -> bytes:
        return Cipher(algorithms.ChaCha20(self._key, sample), mode=None).encryptor().update(bytes(2))


class WriteEpoch:
    """Protects what we send in one epoch."""

    __slots__ = ("_form", "_keys", "next_number")

    def __init__(self, keys: _Keys) -> None:
        self._keys = keys
        self._form = OWN_FORM | keys.epoch & 3
        self.next_number = 0

    @classmethod
    def make(cls, suite: CipherSuite, secret: bytes, epoch: int) -> "WriteEpoch":
        """Make the protection of an epoch from its traffic secret."""
        return cls(_Keys(suite, secret, epoch))

    def next(self) -> "WriteEpoch":
        """Make the protection of the epoch after this one."""
        return WriteEpoch(self._keys.next())

    @property
    def epoch(self) -> int:
        """The epoch's number."""
        return self._keys.epoch

    def protect(self, content_type: int, data: bytes) -> bytes:
        """Make the next record."""
        keys = self._keys
        number = self.next_number
        self.next_number = number + 1
        length = len(data) + 1 + _TAG_LENGTH
        header = bytes((self._form, number >> 8 & 255, number & 255, length >> 8, length & 255))
        nonce = (keys.iv ^ number).to_bytes(_IV_LENGTH, "big")
        ciphertext = keys.aead.encrypt(nonce, data + bytes((content_type,)), header)
        mask = keys.mask(ciphertext[:MIN_CIPHERTEXT_LENGTH])
        masked = bytes((header[0], header[1] ^ mask[0], header[2] ^ mask[1]))
        return masked + header[3:] + ciphertext


class ReadEpoch:
    """Opens what the peer sends in one epoch, each record once."""

    __slots__ = ("_keys", "_newest", "_window", "failures")

    def __init__(self, keys: _Keys) -> None:
        self._keys = keys
        self._window = ReplayWindow()
        self._newest = -1
        self.failures = 0
        """Records that were not authentic."""

    @classmethod
    def make(cls, suite: CipherSuite, secret: bytes, epoch: int) -> "ReadEpoch":
        """Make the protection of an epoch from its traffic secret."""
        return cls(_Keys(suite, secret, epoch))

    def next(self) -> "ReadEpoch":
        """Make the protection of the epoch after this one."""
        return ReadEpoch(self._keys.next())

    @property
    def epoch(self) -> int:
        """The epoch's number."""
        return self._keys.epoch

    def unprotect(self, record: ProtectedRecord) -> Plaintext | DropReason:
        """Open a record, or say why it does not count."""
        keys = self._keys
        header, ciphertext = record
        mask = keys.mask(ciphertext[:MIN_CIPHERTEXT_LENGTH])
        # The additional data has the number in the clear (RFC 9147 §4).
        if record.number_length == 2:
            low = (header[1] ^ mask[0]) << 8 | header[2] ^ mask[1]
            number = self._reconstruct(low, 1 << 16)
            header = bytes((header[0], low >> 8, low & 255)) + header[3:]
        else:
            low = header[1] ^ mask[0]
            number = self._reconstruct(low, 1 << 8)
            header = bytes((header[0], low)) + header[2:]
        if not self._window.accepts(number):
            return DropReason.REPLAYED
        try:
            inner = keys.aead.decrypt((keys.iv ^ number).to_bytes(_IV_LENGTH, "big"), ciphertext, header)
        except InvalidTag:
            self.failures += 1
            return DropReason.BAD_MAC
        self._window.add(number)
        if number > self._newest:
            self._newest = number
        if not inner or not inner[-1]:  # padded
            inner = inner.rstrip(b"\0")
        # Nothing but padding is of no content type, and has no place anywhere.
        return Plaintext(number, inner[-1] if inner else 0, inner[:-1])

    def _reconstruct(self, low: int, modulus: int) -> int:
        """Find the number closest to the one after the newest that ends in ``low`` (RFC 9147 §4.2.2)."""
        expected = self._newest + 1
        number = expected - expected % modulus + low
        if number - expected > modulus >> 1 and number >= modulus:
            return number - modulus
        if expected - number > modulus >> 1:
            return number + modulus
        return number
