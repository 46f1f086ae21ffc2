"""All keys and how they hang together (RFC 8446 §7, RFC 9147 §5.9)."""

import hashlib
import hmac
from functools import cache
from typing import Final, NamedTuple

__all__ = ["KeySchedule", "TrafficSecrets", "expand_label", "export", "finished_data", "next_secret"]

_PREFIX: Final = b"dtls13"
"""What DTLS has in place of ``tls13 ``; there is no space (RFC 9147 §5.9)."""


class TrafficSecrets(NamedTuple):
    """What an epoch's keys are made of."""

    client: bytes
    server: bytes


class KeySchedule:
    """From the shared secret to the secrets of the epochs. There are no pre-shared keys."""

    def __init__(self, hash_name: str, shared_secret: bytes) -> None:
        self.hash_name = hash_name
        self._handshake = hmac.digest(_derived(hash_name, _early(hash_name)), shared_secret, hash_name)
        zeros = bytes(hashlib.new(hash_name).digest_size)
        self._master = hmac.digest(_derived(hash_name, self._handshake), zeros, hash_name)

    def handshake_secrets(self, transcript_hash: bytes) -> TrafficSecrets:
        """Make the secrets of epoch 2, given the transcript up to ServerHello."""
        return TrafficSecrets(
            self._derive(self._handshake, b"c hs traffic", transcript_hash),
            self._derive(self._handshake, b"s hs traffic", transcript_hash),
        )

    def application_secrets(self, transcript_hash: bytes) -> TrafficSecrets:
        """Make the secrets of epoch 3, given the transcript up to the server's Finished."""
        return TrafficSecrets(
            self._derive(self._master, b"c ap traffic", transcript_hash),
            self._derive(self._master, b"s ap traffic", transcript_hash),
        )

    def exporter_secret(self, transcript_hash: bytes) -> bytes:
        """Make the secret for `export`, given the transcript up to the server's Finished."""
        return self._derive(self._master, b"exp master", transcript_hash)

    def _derive(self, secret: bytes, label: bytes, transcript_hash: bytes) -> bytes:
        return expand_label(self.hash_name, secret, label, transcript_hash, len(transcript_hash))


def expand_label(hash_name: str, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446 §7.1)."""
    label = _PREFIX + label
    info = b"".join((length.to_bytes(2, "big"), bytes((len(label),)), label, bytes((len(context),)), context))
    output = block = b""
    counter = 0
    while len(output) < length:
        counter += 1
        block = hmac.digest(secret, block + info + bytes((counter,)), hash_name)
        output += block
    return output[:length]


def finished_data(hash_name: str, traffic_secret: bytes, transcript_hash: bytes) -> bytes:
    """Make the content of a Finished message (RFC 8446 §4.4.4)."""
    key = expand_label(hash_name, traffic_secret, b"finished", b"", len(transcript_hash))
    return hmac.digest(key, transcript_hash, hash_name)


def next_secret(hash_name: str, traffic_secret: bytes) -> bytes:
    """Make the secret of the next epoch, after a KeyUpdate (RFC 8446 §7.2)."""
    return expand_label(hash_name, traffic_secret, b"traffic upd", b"", len(traffic_secret))


def export(hash_name: str, exporter_secret: bytes, label: bytes, length: int, context: bytes) -> bytes:
    """Export keying material (RFC 8446 §7.5)."""
    secret = expand_label(hash_name, exporter_secret, label, _empty_hash(hash_name), len(exporter_secret))
    return expand_label(hash_name, secret, b"exporter", hashlib.new(hash_name, context).digest(), length)


@cache
def _empty_hash(hash_name: str) -> bytes:
    return hashlib.new(hash_name).digest()


@cache
def _early(hash_name: str) -> bytes:
    zeros = bytes(hashlib.new(hash_name).digest_size)
    return hmac.digest(zeros, zeros, hash_name)


def _derived(hash_name: str, secret: bytes) -> bytes:
    return expand_label(hash_name, secret, b"derived", _empty_hash(hash_name), len(secret))
