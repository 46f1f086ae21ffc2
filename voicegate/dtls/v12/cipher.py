"""Cipher suites and the protection of records with AES-GCM (RFC 5288, RFC 5289, RFC 6347 §4.1.2)."""

from enum import IntEnum
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from voicegate.dtls.record import ProtocolVersion, Record

__all__ = ["RecordCipher", "CipherSuite", "OVERHEAD"]

# Explicit nonce, which is epoch and sequence number, then type, version and plaintext length.
_ADDITIONAL_DATA: Final = Struct("!QBHH")
_EXPLICIT_NONCE_LENGTH: Final = 8
_TAG_LENGTH: Final = 16
OVERHEAD: Final = _EXPLICIT_NONCE_LENGTH + _TAG_LENGTH


class CipherSuite(IntEnum):
    """What we negotiate, in order of preference: AES-128 is as safe here and costs less."""

    ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 = 0xC02B
    ECDHE_RSA_WITH_AES_128_GCM_SHA256 = 0xC02F
    ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 = 0xC02C
    ECDHE_RSA_WITH_AES_256_GCM_SHA384 = 0xC030

    @property
    def is_ecdsa(self) -> bool:
        """Whether the server signs with ECDSA (otherwise with RSA)."""
        return self in (self.ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, self.ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)

    @property
    def _is_aes_256(self) -> bool:
        return self in (self.ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, self.ECDHE_RSA_WITH_AES_256_GCM_SHA384)

    @property
    def key_length(self) -> int:
        """Bytes of a traffic key."""
        return 32 if self._is_aes_256 else 16

    @property
    def hash_name(self) -> str:
        """The hash of the PRF and of the transcript, as hashlib names it."""
        return "sha384" if self._is_aes_256 else "sha256"


class RecordCipher:
    """Protection of one direction of one epoch."""

    __slots__ = ("_aead", "_iv")

    def __init__(self, *, key: bytes, iv: bytes) -> None:
        self._aead = AESGCM(key)
        self._iv = iv

    def protect(self, content_type: int, epoch: int, sequence_number: int, plaintext: bytes) -> Record:
        """Make a protected record. No number may be used twice with one key: the nonce is made of it."""
        number = epoch << 48 | sequence_number
        version = ProtocolVersion.DTLS_1_2
        additional_data = _ADDITIONAL_DATA.pack(number, content_type, version, len(plaintext))
        nonce = number.to_bytes(_EXPLICIT_NONCE_LENGTH, "big")
        ciphertext = self._aead.encrypt(self._iv + nonce, plaintext, additional_data)
        return Record(content_type, version, epoch, sequence_number, nonce + ciphertext)

    def unprotect(self, record: Record) -> bytes | None:
        """Return the plaintext of a record, or None when it is not authentic."""
        length = len(record.fragment) - OVERHEAD
        if length < 0:
            return None
        number = record.epoch << 48 | record.sequence_number
        additional_data = _ADDITIONAL_DATA.pack(number, record.content_type, record.version, length)
        nonce = self._iv + record.fragment[:_EXPLICIT_NONCE_LENGTH]
        try:
            return self._aead.decrypt(nonce, record.fragment[_EXPLICIT_NONCE_LENGTH:], additional_data)
        except InvalidTag:
            return None
