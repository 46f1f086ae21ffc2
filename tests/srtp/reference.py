"""SRTP once more, straight from the RFCs on `cryptography`: slow, stateless and independent of libsrtp."""

import hashlib
import hmac
from struct import pack

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

RTP_LABELS = (0, 1, 2)
RTCP_LABELS = (3, 4, 5)
_ENCRYPTED = 1 << 31


def derive_key(master_key: bytes, master_salt: bytes, label: int, length: int) -> bytes:
    """Derive a session key, salt or authentication key at a derivation rate of 0 (RFC 3711 §4.3)."""
    salt = int.from_bytes(master_salt.ljust(14, b"\0"), "big") ^ label << 48
    return _counter_mode(master_key, pack("!QQ", salt >> 48, (salt << 16) & ((1 << 64) - 1)), bytes(length))


def protect_rtp_gcm(
    key: bytes, salt: bytes, packet: bytes, *, rollover: int, header_length: int = 12
) -> bytes:
    """Protect with session keys (RFC 7714 §8)."""
    nonce = _xor(b"\0\0" + packet[8:12] + pack("!I", rollover) + packet[2:4], salt)
    header, payload = packet[:header_length], packet[header_length:]
    return header + AESGCM(key).encrypt(nonce, payload, header)


def protect_rtcp_gcm(key: bytes, salt: bytes, packet: bytes, *, index: int) -> bytes:
    """Protect with session keys (RFC 7714 §9)."""
    nonce = _xor(b"\0\0" + packet[4:8] + b"\0\0" + pack("!I", index), salt)
    trailer = pack("!I", _ENCRYPTED | index)
    return packet[:8] + AESGCM(key).encrypt(nonce, packet[8:], packet[:8] + trailer) + trailer


def protect_rtp_cm(
    key: bytes,
    salt: bytes,
    authentication_key: bytes,
    packet: bytes,
    *,
    rollover: int,
    header_length: int = 12,
) -> bytes:
    """Protect with session keys (RFC 3711 §3.1, §4.1.1, §4.2)."""
    iv = _cm_iv(salt, packet[8:12], pack("!I", rollover) + packet[2:4])
    body = packet[:header_length] + _counter_mode(key, iv, packet[header_length:])
    return body + hmac.digest(authentication_key, body + pack("!I", rollover), hashlib.sha1)[:10]


def protect_rtcp_cm(
    key: bytes, salt: bytes, authentication_key: bytes, packet: bytes, *, index: int
) -> bytes:
    """Protect with session keys (RFC 3711 §3.4)."""
    iv = _cm_iv(salt, packet[4:8], pack("!HI", 0, index))
    body = packet[:8] + _counter_mode(key, iv, packet[8:]) + pack("!I", _ENCRYPTED | index)
    return body + hmac.digest(authentication_key, body, hashlib.sha1)[:10]


def protect_rtp(master_key: bytes, master_salt: bytes, packet: bytes, *, rollover: int) -> bytes:
    """Protect with master keys; the length of the salt tells the transform."""
    key, authentication_key, salt = _session_keys(master_key, master_salt, RTP_LABELS)
    if len(master_salt) == 12:
        return protect_rtp_gcm(key, salt, packet, rollover=rollover)
    return protect_rtp_cm(key, salt, authentication_key, packet, rollover=rollover)


def protect_rtcp(master_key: bytes, master_salt: bytes, packet: bytes, *, index: int) -> bytes:
    """Protect with master keys; the length of the salt tells the transform."""
    key, authentication_key, salt = _session_keys(master_key, master_salt, RTCP_LABELS)
    if len(master_salt) == 12:
        return protect_rtcp_gcm(key, salt, packet, index=index)
    return protect_rtcp_cm(key, salt, authentication_key, packet, index=index)


def _session_keys(
    master_key: bytes, master_salt: bytes, labels: tuple[int, int, int]
) -> tuple[bytes, bytes, bytes]:
    lengths = (len(master_key), 20, len(master_salt))
    key, authentication_key, salt = (
        derive_key(master_key, master_salt, label, length)
        for label, length in zip(labels, lengths, strict=True)
    )
    return key, authentication_key, salt


def _counter_mode(key: bytes, iv: bytes, data: bytes) -> bytes:
    return Cipher(AES(key), CTR(iv)).encryptor().update(data)


def _cm_iv(salt: bytes, ssrc: bytes, index: bytes) -> bytes:
    """Put the counter block of RFC 3711 §4.1.1 together."""
    return _xor(_xor(salt + b"\0\0", bytes(4) + ssrc + bytes(8)), bytes(8) + index + b"\0\0")


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
