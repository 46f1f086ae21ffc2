"""What the server's and the client's handshake have in common."""

import hashlib
import hmac
from abc import ABC, abstractmethod
from typing import Final

import attrs
from cryptography.hazmat.primitives.asymmetric import ec

from voicegate.dtls.alert import AlertDescription
from voicegate.dtls.certificate import PublicKey, accept_certificate
from voicegate.dtls.config import HandshakeConfig
from voicegate.dtls.failure import DtlsError, FailureCause
from voicegate.dtls.handshake import HandshakeType, Message, expect
from voicegate.dtls.signature import DigitallySigned, SignatureScheme, sign, verify
from voicegate.dtls.srtp import SrtpProfile
from voicegate.dtls.v13.cipher import CipherSuite
from voicegate.dtls.v13.key_schedule import KeySchedule, TrafficSecrets, finished_data
from voicegate.dtls.v13.message import CertificateEntry, CertificateMessage

__all__ = [
    "APPLICATION_EPOCH",
    "CLIENT_CONTEXT",
    "HANDSHAKE_EPOCH",
    "HELLO_RETRY_RANDOM",
    "Handshake",
    "Outgoing",
    "SERVER_CONTEXT",
    "Transcript",
]

HANDSHAKE_EPOCH: Final = 2
APPLICATION_EPOCH: Final = 3

HELLO_RETRY_RANDOM: Final = hashlib.sha256(b"HelloRetryRequest").digest()
"""The random of a ServerHello that is a HelloRetryRequest (RFC 8446 §4.1.3)."""

CLIENT_CONTEXT: Final = b" " * 64 + b"TLS 1.3, client CertificateVerify\0"
SERVER_CONTEXT: Final = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"

_MAX_MESSAGE_SEQUENCE: Final = 0xFFFF

_IN_THE_CLEAR: Final = frozenset({HandshakeType.CLIENT_HELLO, HandshakeType.SERVER_HELLO})


@attrs.frozen(kw_only=True)
class Outgoing:
    """Messages to send, each with its epoch."""

    answers: int
    """message_seq that ended the peer's flight before this one, or -1."""
    messages: tuple[Message, ...]


class Transcript:
    """The hash of the messages so far, with TLS's headers (RFC 9147 §5.2)."""

    def __init__(self) -> None:
        self._early = bytearray()
        self._hash_name = ""
        self._hash = hashlib.sha256()

    def choose(self, hash_name: str) -> None:
        """Settle on a hash; until then messages are kept."""
        self._hash_name = hash_name
        self._hash = hashlib.new(hash_name, self._early)
        self._early.clear()

    def add(self, type_: int, body: bytes) -> None:
        """Append a message."""
        data = bytes((type_,)) + len(body).to_bytes(3, "big") + body
        if self._hash_name:
            self._hash.update(data)
        else:
            self._early += data

    def digest(self) -> bytes:
        """Return the hash of all so far."""
        return self._hash.copy().digest()

    def condense(self) -> None:
        """Put the hash of the first ClientHello in its place (RFC 8446 §4.4.1)."""
        digest = self._hash.digest()
        self._hash = hashlib.new(self._hash_name)
        self.add(HandshakeType.MESSAGE_HASH, digest)


class Handshake(ABC):
    """Takes whole messages in sequence, produces flights and secrets; knows nothing of records and time.

    After each `handle_message` look at `take_flight`, `secrets` and `is_completed`; what was negotiated is
    known once there are secrets of epoch 3.

    Errors: `handle_message` raises DtlsError, or WireError for a malformed body; both are the end.
    """

    # Known from a certain state on, and read in later ones only.
    suite: CipherSuite
    srtp_profile: SrtpProfile
    peer_certificate: bytes
    exporter_secret: bytes
    _peer_key: PublicKey
    _schedule: KeySchedule

    def __init__(self, config: HandshakeConfig) -> None:
        self._config = config
        self._transcript = Transcript()
        self._next_sequence = 0
        self._flight: Outgoing | None = None
        self.secrets: dict[int, TrafficSecrets] = {}
        """By epoch."""

    @property
    @abstractmethod
    def is_completed(self) -> bool:
        """Whether the peer's Finished was verified."""

    def take_flight(self) -> Outgoing | None:
        """Return a flight to send, once."""
        flight, self._flight = self._flight, None
        return flight

    def handle_message(self, message: Message) -> None:
        """Take the next message of the peer."""
        if message.epoch != (0 if message.type in _IN_THE_CLEAR else HANDSHAKE_EPOCH):
            raise DtlsError(
                f"handshake message {message.type} in epoch {message.epoch}",
                alert=AlertDescription.UNEXPECTED_MESSAGE,
            )
        self._step(message)

    @property
    def has_numbers(self) -> bool:
        """Whether one more message can be numbered."""
        return self._next_sequence <= _MAX_MESSAGE_SEQUENCE

    def number(self, type_: HandshakeType, body: bytes, *, epoch: int) -> Message:
        """Number one of our messages."""
        message = Message(type=type_, message_seq=self._next_sequence, body=body, epoch=epoch)
        self._next_sequence += 1
        return message

    @abstractmethod
    def _step(self, message: Message) -> None:
        """Hand the message to the method of the state, which returns the next state."""

    def _compose(self, type_: HandshakeType, body: bytes, *, epoch: int = HANDSHAKE_EPOCH) -> Message:
        """Number one of our messages and add it to the transcript."""
        self._transcript.add(type_, body)
        return self.number(type_, body, epoch=epoch)

    def _agree(self, shared_secret: bytes) -> None:
        """Make the secrets of epoch 2; the transcript ends with ServerHello."""
        self._schedule = KeySchedule(self.suite.hash_name, shared_secret)
        self.secrets[HANDSHAKE_EPOCH] = self._schedule.handshake_secrets(self._transcript.digest())

    def _settle(self) -> None:
        """Make the secrets of epoch 3; the transcript ends with the server's Finished."""
        transcript_hash = self._transcript.digest()
        self.secrets[APPLICATION_EPOCH] = self._schedule.application_secrets(transcript_hash)
        self.exporter_secret = self._schedule.exporter_secret(transcript_hash)

    def _accept_certificate(self, message: Message) -> None:
        """Check the peer's certificate against the SDP, and keep it and its key."""
        expect(message, HandshakeType.CERTIFICATE)
        chain = CertificateMessage.decode(message.body)
        if chain.context:
            raise DtlsError("a certificate for a request that was not made")
        certificates = [entry.data for entry in chain.entries]
        self._peer_key = accept_certificate(certificates, self._config.remote_fingerprints)
        self.peer_certificate = certificates[0]
        self._transcript.add(message.type, message.body)

    def _accept_certificate_verify(self, message: Message, context: bytes) -> None:
        """Check that the peer has the key of its certificate, and means this handshake."""
        expect(message, HandshakeType.CERTIFICATE_VERIFY)
        signed = DigitallySigned.decode(message.body)
        _check_scheme(self._peer_key, signed.scheme)
        verify(self._peer_key, signed, context + self._transcript.digest())
        self._transcript.add(message.type, message.body)

    def _accept_finished(self, message: Message, traffic_secret: bytes) -> None:
        expect(message, HandshakeType.FINISHED)
        expected = finished_data(self.suite.hash_name, traffic_secret, self._transcript.digest())
        if not hmac.compare_digest(message.body, expected):
            raise DtlsError(
                "the peer's Finished does not verify",
                alert=AlertDescription.DECRYPT_ERROR,
                cause=FailureCause.AUTHENTICATION_FAILED,
            )
        self._transcript.add(message.type, message.body)

    def _compose_proof(self, context: bytes, traffic_secret: bytes) -> tuple[Message, ...]:
        """Say who we are, and prove it: Certificate, CertificateVerify, Finished."""
        own = self._config.certificate
        chain = CertificateMessage(entries=(CertificateEntry(own.der),))
        certificate = self._compose(HandshakeType.CERTIFICATE, chain.encode())
        signed = sign(own.private_key, context + self._transcript.digest())
        certificate_verify = self._compose(HandshakeType.CERTIFICATE_VERIFY, signed.encode())
        verify_data = finished_data(self.suite.hash_name, traffic_secret, self._transcript.digest())
        return certificate, certificate_verify, self._compose(HandshakeType.FINISHED, verify_data)


def _check_scheme(key: PublicKey, scheme: int) -> None:
    """Refuse what only DTLS 1.2 allows: PKCS #1, and a curve other than the scheme names (RFC 8446 §4.2.3).

    Errors: DtlsError.
    """
    match key:
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
            allowed = {SignatureScheme.ECDSA_SECP256R1_SHA256}
        case ec.EllipticCurvePublicKey():
            allowed = {SignatureScheme.ECDSA_SECP384R1_SHA384}
        case _:
            allowed = {
                SignatureScheme.RSA_PSS_RSAE_SHA256,
                SignatureScheme.RSA_PSS_RSAE_SHA384,
                SignatureScheme.RSA_PSS_RSAE_SHA512,
            }
    if scheme not in allowed:
        raise DtlsError(f"signature scheme {scheme:#06x} does not go with the peer's key")
