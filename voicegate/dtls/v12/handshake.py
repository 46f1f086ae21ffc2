"""What the server's and the client's handshake have in common."""

import hashlib
import hmac
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, NamedTuple

from voicegate.dtls.alert import AlertDescription
from voicegate.dtls.certificate import PublicKey, accept_certificate
from voicegate.dtls.config import HandshakeConfig
from voicegate.dtls.extension import (
    UNCOMPRESSED_POINTS,
    Extension,
    ExtensionType,
    decode_point_formats,
    decode_renegotiation_info,
    find_extension,
)
from voicegate.dtls.failure import DtlsError, FailureCause, no_shared
from voicegate.dtls.handshake import HandshakeType, Message, expect
from voicegate.dtls.key_exchange import KeyShare
from voicegate.dtls.srtp import SrtpProfile
from voicegate.dtls.v12.cipher import CipherSuite, RecordCipher
from voicegate.dtls.v12.flight import Flight
from voicegate.dtls.v12.key_schedule import KeyBlock, MasterSecret
from voicegate.dtls.v12.message import CertificateMessage

__all__ = [
    "Handshake",
    "CLIENT_FINISHED",
    "RENEGOTIATION_SCSV",
    "RecordCiphers",
    "SERVER_FINISHED",
    "check_point_formats",
    "check_renegotiation_info",
    "require_extended_master_secret",
]

RENEGOTIATION_SCSV: Final = 0x00FF  # RFC 5746 §3.3

# RFC 5246 §7.4.9
CLIENT_FINISHED: Final = b"client finished"
SERVER_FINISHED: Final = b"server finished"


class RecordCiphers(NamedTuple):
    """Protection of epoch 1."""

    read: RecordCipher
    write: RecordCipher


class Handshake(ABC):
    """Takes whole messages in sequence, produces flights and keys; knows nothing of records and time.

    After each `handle_message` look at `take_flight`, `ciphers` and `is_completed`; once completed, at what
    was negotiated.

    Errors: `handle_message` raises DtlsError, or WireError for a malformed body; both are the end.
    """

    # Known from a certain state on, and read in later ones only.
    suite: CipherSuite
    srtp_profile: SrtpProfile
    peer_certificate: bytes
    master_secret: MasterSecret
    _peer_key: PublicKey
    _share: KeyShare

    def __init__(self, config: HandshakeConfig) -> None:
        self._config = config
        self._transcript = bytearray()
        self._covered = 0  # bytes of the transcript before the message in hand
        self._next_sequence = 0
        self._flight: Flight | None = None
        self._client_random = b""
        self._server_random = b""
        self.ciphers: RecordCiphers | None = None

    @property
    @abstractmethod
    def is_completed(self) -> bool:
        """Whether the peer's Finished was verified."""

    def take_flight(self) -> Flight | None:
        """Return a flight to send, once."""
        flight, self._flight = self._flight, None
        return flight

    def handle_message(self, message: Message) -> None:
        """Take the next message of the peer."""
        # What is protected and what is not is settled by the epoch; ChangeCipherSpec adds nothing to it.
        if (message.type == HandshakeType.FINISHED) != (message.epoch == 1):
            raise DtlsError(
                f"handshake message {message.type} in epoch {message.epoch}",
                alert=AlertDescription.UNEXPECTED_MESSAGE,
            )
        self._covered = len(self._transcript)
        self._transcript += message.encode()
        self._step(message)

    @abstractmethod
    def _step(self, message: Message) -> None:
        """Hand the message to the method of the state, which returns the next state."""

    def _compose(self, type_: HandshakeType, body: bytes) -> Message:
        """Number one of our messages and add it to the transcript."""
        message = Message(type=type_, message_seq=self._next_sequence, body=body)
        self._next_sequence += 1
        self._transcript += message.encode()
        return message

    def _transcript_hash(self, length: int | None = None) -> bytes:
        """Hash the first ``length`` bytes of the transcript, or all."""
        return hashlib.new(self.suite.hash_name, self._transcript[:length]).digest()

    def _accept_certificate(self, message: Message) -> None:
        """Check the peer's certificate against the SDP, and keep it and its key."""
        expect(message, HandshakeType.CERTIFICATE)
        certificates = CertificateMessage.decode(message.body).certificates
        self._peer_key = accept_certificate(certificates, self._config.remote_fingerprints)
        self.peer_certificate = certificates[0]

    def _derive(self, peer_public: bytes) -> KeyBlock:
        """Make the secrets; the transcript must end with ClientKeyExchange."""
        self.master_secret = MasterSecret.derive(
            self.suite,
            self._share.exchange(peer_public),
            session_hash=self._transcript_hash(),
            client_random=self._client_random,
            server_random=self._server_random,
        )
        return self.master_secret.key_block(self.suite)

    def _compose_finished(self, label: bytes) -> Message:
        return self._compose(
            HandshakeType.FINISHED, self.master_secret.verify_data(label, self._transcript_hash())
        )

    def _check_finished(self, message: Message, label: bytes) -> None:
        expect(message, HandshakeType.FINISHED)
        expected = self.master_secret.verify_data(label, self._transcript_hash(self._covered))
        if not hmac.compare_digest(message.body, expected):
            raise DtlsError(
                "the peer's Finished does not verify",
                alert=AlertDescription.DECRYPT_ERROR,
                cause=FailureCause.AUTHENTICATION_FAILED,
            )


def require_extended_master_secret(extensions: Sequence[Extension]) -> None:
    """Refuse a peer without extended master secret (RFC 7627 §5.2), or with something in it.

    Errors: DtlsError.
    """
    data = find_extension(extensions, ExtensionType.EXTENDED_MASTER_SECRET)
    if data is None:
        raise no_shared("extended master secret")
    if data:
        raise DtlsError("extended_master_secret is not empty", alert=AlertDescription.DECODE_ERROR)


def check_renegotiation_info(data: bytes) -> None:
    """Refuse a renegotiation that poses as a first handshake (RFC 5746 §3.4, §3.6).

    Errors: DtlsError, WireError.
    """
    if decode_renegotiation_info(data):
        raise DtlsError("renegotiation_info is not empty", alert=AlertDescription.HANDSHAKE_FAILURE)


def check_point_formats(data: bytes) -> None:
    """Refuse a peer that cannot take uncompressed points (RFC 8422 §5.1.2).

    Errors: DtlsError, WireError.
    """
    if UNCOMPRESSED_POINTS not in decode_point_formats(data):
        raise DtlsError("ec_point_formats without uncompressed points")
