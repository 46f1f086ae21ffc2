"""The server's handshake.

1. client: ClientHello (its cookie ignored: ICE has already proven the client's address)
2. server: ServerHello, Certificate, ServerKeyExchange, CertificateRequest, ServerHelloDone
3. client: Certificate, ClientKeyExchange, CertificateVerify, [ChangeCipherSpec], Finished
4. server: [ChangeCipherSpec], Finished
"""

from enum import Enum
from typing import Final

from voicegate.dtls.alert import AlertDescription
from voicegate.dtls.config import HandshakeConfig
from voicegate.dtls.extension import (
    UNCOMPRESSED_POINTS,
    Extension,
    ExtensionType,
    decode_code_points,
    encode_point_formats,
    encode_renegotiation_info,
    has_repeats,
)
from voicegate.dtls.failure import DtlsError, no_shared
from voicegate.dtls.handshake import HandshakeType, Message, expect
from voicegate.dtls.hello import (
    DOWNGRADE_MARK,
    NULL_COMPRESSION,
    RANDOM_LENGTH,
    ClientHello,
    ServerHello,
)
from voicegate.dtls.key_exchange import KeyShare, NamedGroup
from voicegate.dtls.record import ProtocolVersion
from voicegate.dtls.signature import OWN_SCHEME, DigitallySigned, SignatureScheme, sign, verify
from voicegate.dtls.srtp import UseSrtp, choose_profile
from voicegate.dtls.v12.cipher import CipherSuite, RecordCipher
from voicegate.dtls.v12.flight import Flight
from voicegate.dtls.v12.handshake import (
    CLIENT_FINISHED,
    RENEGOTIATION_SCSV,
    SERVER_FINISHED,
    Handshake,
    RecordCiphers,
    check_point_formats,
    check_renegotiation_info,
    require_extended_master_secret,
)
from voicegate.dtls.v12.message import (
    CertificateMessage,
    CertificateRequest,
    ClientKeyExchange,
    ServerKeyExchange,
)

__all__ = ["ServerHandshake", "ServerState"]

_CERTIFICATE_TYPES: Final = bytes([64, 1])  # ecdsa_sign, rsa_sign


class ServerState(Enum):
    """What the server waits for, in order."""

    AWAIT_CLIENT_HELLO = "await ClientHello"
    AWAIT_CERTIFICATE = "await Certificate"
    AWAIT_CLIENT_KEY_EXCHANGE = "await ClientKeyExchange"
    AWAIT_CERTIFICATE_VERIFY = "await CertificateVerify"
    AWAIT_FINISHED = "await Finished"
    COMPLETED = "completed"


class ServerHandshake(Handshake):
    """The passive side."""

    def __init__(self, config: HandshakeConfig) -> None:
        super().__init__(config)
        self.state = ServerState.AWAIT_CLIENT_HELLO

    @property
    def is_completed(self) -> bool:
        """Whether the client's Finished was verified."""
        return self.state is ServerState.COMPLETED

    def _step(self, message: Message) -> None:
        match self.state:
            case ServerState.AWAIT_CLIENT_HELLO:
                self.state = self._await_client_hello(message)
            case ServerState.AWAIT_CERTIFICATE:
                self.state = self._await_certificate(message)
            case ServerState.AWAIT_CLIENT_KEY_EXCHANGE:
                self.state = self._await_client_key_exchange(message)
            case ServerState.AWAIT_CERTIFICATE_VERIFY:
                self.state = self._await_certificate_verify(message)
            case ServerState.AWAIT_FINISHED:
                self.state = self._await_finished(message)
            case ServerState.COMPLETED:  # pragma: no branch - there is no other
                raise DtlsError("the handshake is over", alert=AlertDescription.UNEXPECTED_MESSAGE)

    def _await_client_hello(self, message: Message) -> ServerState:
        expect(message, HandshakeType.CLIENT_HELLO)
        hello = ClientHello.decode(message.body)
        self._check_hello(hello)
        self.suite = _choose_suite(hello)
        self.srtp_profile = choose_profile(
            hello.extension(ExtensionType.USE_SRTP), self._config.srtp_profiles
        )
        self._share = KeyShare.generate(_choose_group(hello))
        self._client_random = hello.random
        self._server_random = self._make_random(hello)
        self._flight = Flight(
            answers=message.message_seq,
            messages=(
                self._compose(HandshakeType.SERVER_HELLO, self._server_hello(hello).encode()),
                self._compose(
                    HandshakeType.CERTIFICATE,
                    CertificateMessage(certificates=(self._config.certificate.der,)).encode(),
                ),
                self._compose(HandshakeType.SERVER_KEY_EXCHANGE, self._key_exchange().encode()),
                self._compose(
                    HandshakeType.CERTIFICATE_REQUEST,
                    CertificateRequest(
                        certificate_types=_CERTIFICATE_TYPES, signature_schemes=tuple(SignatureScheme)
                    ).encode(),
                ),
                self._compose(HandshakeType.SERVER_HELLO_DONE, b""),
            ),
        )
        return ServerState.AWAIT_CERTIFICATE

    def _await_certificate(self, message: Message) -> ServerState:
        self._accept_certificate(message)
        return ServerState.AWAIT_CLIENT_KEY_EXCHANGE

    def _await_client_key_exchange(self, message: Message) -> ServerState:
        expect(message, HandshakeType.CLIENT_KEY_EXCHANGE)
        keys = self._derive(ClientKeyExchange.decode(message.body).public)
        self.ciphers = RecordCiphers(
            read=RecordCipher(key=keys.client_key, iv=keys.client_iv),
            write=RecordCipher(key=keys.server_key, iv=keys.server_iv),
        )
        return ServerState.AWAIT_CERTIFICATE_VERIFY

    def _await_certificate_verify(self, message: Message) -> ServerState:
        expect(message, HandshakeType.CERTIFICATE_VERIFY)
        signed = DigitallySigned.decode(message.body)
        verify(self._peer_key, signed, bytes(self._transcript[: self._covered]))
        return ServerState.AWAIT_FINISHED

    def _await_finished(self, message: Message) -> ServerState:
        self._check_finished(message, CLIENT_FINISHED)
        finished = self._compose_finished(SERVER_FINISHED)
        self._flight = Flight(answers=message.message_seq, finished=finished, is_last=True)
        return ServerState.COMPLETED

    def _check_hello(self, hello: ClientHello) -> None:
        if has_repeats(hello.extensions):
            raise DtlsError("an extension occurs twice")
        if NULL_COMPRESSION not in hello.compression_methods:
            raise DtlsError("the client insists on compression")
        require_extended_master_secret(hello.extensions)
        renegotiation_info = hello.extension(ExtensionType.RENEGOTIATION_INFO)
        if renegotiation_info is not None:
            check_renegotiation_info(renegotiation_info)
        point_formats = hello.extension(ExtensionType.EC_POINT_FORMATS)
        if point_formats is not None:
            check_point_formats(point_formats)
        schemes = hello.extension(ExtensionType.SIGNATURE_ALGORITHMS)
        # Without the extension it would be SHA-1 (RFC 5246 §7.4.1.4.1).
        if schemes is None or OWN_SCHEME not in decode_code_points(schemes):
            raise no_shared("signature algorithm")

    def _make_random(self, hello: ClientHello) -> bytes:
        random = self._config.random(RANDOM_LENGTH)
        is_able = ProtocolVersion.DTLS_1_3 in self._config.versions
        # Marked for a client that would have liked 1.3 as we would: then somebody changed its hello
        # (RFC 8446 §4.1.3). Browsers abort on a mark where their offer of 1.3 was merely declined.
        if is_able and ProtocolVersion.DTLS_1_3 not in hello.versions:
            return random[: -len(DOWNGRADE_MARK)] + DOWNGRADE_MARK
        return random

    def _server_hello(self, hello: ClientHello) -> ServerHello:
        extensions = [
            Extension(ExtensionType.EXTENDED_MASTER_SECRET, b""),
            Extension(ExtensionType.USE_SRTP, UseSrtp(profiles=(self.srtp_profile,)).encode()),
        ]
        if (
            RENEGOTIATION_SCSV in hello.cipher_suites
            or hello.extension(ExtensionType.RENEGOTIATION_INFO) is not None
        ):
            extensions.append(Extension(ExtensionType.RENEGOTIATION_INFO, encode_renegotiation_info(b"")))
        if hello.extension(ExtensionType.EC_POINT_FORMATS) is not None:
            formats = encode_point_formats(bytes([UNCOMPRESSED_POINTS]))
            extensions.append(Extension(ExtensionType.EC_POINT_FORMATS, formats))
        return ServerHello(
            version=ProtocolVersion.DTLS_1_2,
            random=self._server_random,
            cipher_suite=self.suite,
            extensions=tuple(extensions),
        )

    def _key_exchange(self) -> ServerKeyExchange:
        group, public = self._share.group, self._share.public
        covered = self._client_random + self._server_random + ServerKeyExchange.parameters(group, public)
        signed = sign(self._config.certificate.private_key, covered)
        return ServerKeyExchange(group=group, public=public, signed=signed)


def _choose_suite(hello: ClientHello) -> CipherSuite:
    for suite in CipherSuite:
        # Our certificate signs with ECDSA.
        if suite.is_ecdsa and suite in hello.cipher_suites:
            return suite
    raise no_shared("cipher suite")


def _choose_group(hello: ClientHello) -> NamedGroup:
    data = hello.extension(ExtensionType.SUPPORTED_GROUPS)
    if data is None:
        # The client leaves it to us (RFC 8422 §4); P-256 is the one everybody has.
        return NamedGroup.SECP256R1
    offered = decode_code_points(data)
    for group in NamedGroup:
        if group in offered:
            return group
    raise no_shared("group")
