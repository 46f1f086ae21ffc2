"""The client's handshake.

1. client: ClientHello
2. server: HelloVerifyRequest, if it doubts our address; then the client repeats its hello with the cookie
3. server: ServerHello, Certificate, ServerKeyExchange, CertificateRequest, ServerHelloDone
4. client: Certificate, ClientKeyExchange, CertificateVerify, [ChangeCipherSpec], Finished
5. server: [ChangeCipherSpec], Finished
"""

from enum import Enum
from typing import Final

import attrs
from cryptography.hazmat.primitives.asymmetric import ec

from voicegate.dtls.alert import AlertDescription
from voicegate.dtls.config import HandshakeConfig
from voicegate.dtls.extension import (
    UNCOMPRESSED_POINTS,
    Extension,
    ExtensionType,
    encode_code_points,
    encode_point_formats,
    encode_renegotiation_info,
    has_repeats,
)
from voicegate.dtls.failure import DtlsError, FailureCause, no_shared
from voicegate.dtls.handshake import HandshakeType, Message, expect
from voicegate.dtls.hello import (
    DOWNGRADE_MARK,
    NULL_COMPRESSION,
    RANDOM_LENGTH,
    ClientHello,
    HelloVerifyRequest,
    ServerHello,
)
from voicegate.dtls.key_exchange import KeyShare, NamedGroup
from voicegate.dtls.record import ProtocolVersion
from voicegate.dtls.signature import OWN_SCHEME, SignatureScheme, sign, verify
from voicegate.dtls.srtp import UseSrtp, accept_profile
from voicegate.dtls.v12.cipher import CipherSuite, RecordCipher
from voicegate.dtls.v12.flight import Flight
from voicegate.dtls.v12.handshake import (
    CLIENT_FINISHED,
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

__all__ = ["ClientHandshake", "ClientState", "offer"]

_NO_FLIGHT: Final = -1


class ClientState(Enum):
    """What the client waits for, in order."""

    AWAIT_SERVER_HELLO = "await ServerHello or HelloVerifyRequest"
    AWAIT_CERTIFICATE = "await Certificate"
    AWAIT_SERVER_KEY_EXCHANGE = "await ServerKeyExchange"
    AWAIT_CERTIFICATE_REQUEST = "await CertificateRequest"
    AWAIT_SERVER_HELLO_DONE = "await ServerHelloDone"
    AWAIT_FINISHED = "await Finished"
    COMPLETED = "completed"


class ClientHandshake(Handshake):
    """The active side; its first flight is there once it is made."""

    _server_public: bytes

    def __init__(self, config: HandshakeConfig, hello: ClientHello | None = None) -> None:
        """Begin, or go on from a ``hello`` that offered DTLS 1.3 as well and was answered with 1.2."""
        super().__init__(config)
        self.state = ClientState.AWAIT_SERVER_HELLO
        self._hello = hello or offer(config)
        self._client_random = self._hello.random
        self._send_hello(answers=_NO_FLIGHT)

    @property
    def is_completed(self) -> bool:
        """Whether the server's Finished was verified."""
        return self.state is ClientState.COMPLETED

    def _step(self, message: Message) -> None:
        match self.state:
            case ClientState.AWAIT_SERVER_HELLO:
                self.state = self._await_server_hello(message)
            case ClientState.AWAIT_CERTIFICATE:
                self.state = self._await_certificate(message)
            case ClientState.AWAIT_SERVER_KEY_EXCHANGE:
                self.state = self._await_server_key_exchange(message)
            case ClientState.AWAIT_CERTIFICATE_REQUEST:
                self.state = self._await_certificate_request(message)
            case ClientState.AWAIT_SERVER_HELLO_DONE:
                self.state = self._await_server_hello_done(message)
            case ClientState.AWAIT_FINISHED:
                self.state = self._await_finished(message)
            case ClientState.COMPLETED:  # pragma: no branch - there is no other
                raise DtlsError("the handshake is over", alert=AlertDescription.UNEXPECTED_MESSAGE)

    def _await_server_hello(self, message: Message) -> ClientState:
        if message.type == HandshakeType.HELLO_VERIFY_REQUEST and not self._hello.cookie:
            return self._repeat_hello(message)
        expect(message, HandshakeType.SERVER_HELLO)
        hello = ServerHello.decode(message.body)
        self._check_hello(hello)
        self._server_random = hello.random
        self.suite = CipherSuite(hello.cipher_suite)
        self.srtp_profile = accept_profile(
            hello.extension(ExtensionType.USE_SRTP), self._config.srtp_profiles
        )
        return ClientState.AWAIT_CERTIFICATE

    def _await_certificate(self, message: Message) -> ClientState:
        self._accept_certificate(message)
        if isinstance(self._peer_key, ec.EllipticCurvePublicKey) != self.suite.is_ecdsa:
            raise DtlsError("the server's certificate does not go with the cipher suite")
        return ClientState.AWAIT_SERVER_KEY_EXCHANGE

    def _await_server_key_exchange(self, message: Message) -> ClientState:
        expect(message, HandshakeType.SERVER_KEY_EXCHANGE)
        exchange = ServerKeyExchange.decode(message.body)
        if exchange.group not in tuple(NamedGroup):
            raise DtlsError(f"the server chose group {exchange.group}, which was not offered")
        covered = ServerKeyExchange.parameters(exchange.group, exchange.public)
        verify(self._peer_key, exchange.signed, self._client_random + self._server_random + covered)
        self._share = KeyShare.generate(NamedGroup(exchange.group))
        self._server_public = exchange.public
        return ClientState.AWAIT_CERTIFICATE_REQUEST

    def _await_certificate_request(self, message: Message) -> ClientState:
        # Always: in WebRTC both sides prove who they are (RFC 8827 §6.5).
        expect(message, HandshakeType.CERTIFICATE_REQUEST)
        if OWN_SCHEME not in CertificateRequest.decode(message.body).signature_schemes:
            raise no_shared("signature algorithm")
        return ClientState.AWAIT_SERVER_HELLO_DONE

    def _await_server_hello_done(self, message: Message) -> ClientState:
        expect(message, HandshakeType.SERVER_HELLO_DONE)
        if message.body:
            raise DtlsError("ServerHelloDone is not empty", alert=AlertDescription.DECODE_ERROR)
        certificate = self._compose(
            HandshakeType.CERTIFICATE,
            CertificateMessage(certificates=(self._config.certificate.der,)).encode(),
        )
        key_exchange = self._compose(
            HandshakeType.CLIENT_KEY_EXCHANGE, ClientKeyExchange(public=self._share.public).encode()
        )
        keys = self._derive(self._server_public)
        self.ciphers = RecordCiphers(
            read=RecordCipher(key=keys.server_key, iv=keys.server_iv),
            write=RecordCipher(key=keys.client_key, iv=keys.client_iv),
        )
        signed = sign(self._config.certificate.private_key, bytes(self._transcript))
        certificate_verify = self._compose(HandshakeType.CERTIFICATE_VERIFY, signed.encode())
        self._flight = Flight(
            answers=message.message_seq,
            messages=(certificate, key_exchange, certificate_verify),
            finished=self._compose_finished(CLIENT_FINISHED),
        )
        return ClientState.AWAIT_FINISHED

    def _await_finished(self, message: Message) -> ClientState:
        self._check_finished(message, SERVER_FINISHED)
        return ClientState.COMPLETED

    def _send_hello(self, *, answers: int) -> None:
        message = self._compose(HandshakeType.CLIENT_HELLO, self._hello.encode())
        self._flight = Flight(answers=answers, messages=(message,))

    def _repeat_hello(self, message: Message) -> ClientState:
        request = HelloVerifyRequest.decode(message.body)
        if not request.cookie:
            raise DtlsError("a HelloVerifyRequest without cookie")
        # The same but for the cookie; neither the first hello nor the request is hashed (RFC 6347 §4.2.1).
        self._hello = attrs.evolve(self._hello, cookie=request.cookie)
        self._transcript.clear()
        self._send_hello(answers=message.message_seq)
        return ClientState.AWAIT_SERVER_HELLO

    def _check_hello(self, hello: ServerHello) -> None:
        if hello.version != ProtocolVersion.DTLS_1_2:
            raise DtlsError(
                f"the server chose version {hello.version:#06x}",
                alert=AlertDescription.PROTOCOL_VERSION,
                cause=FailureCause.NO_SHARED_PARAMETERS,
            )
        if hello.cipher_suite not in tuple(CipherSuite) or hello.compression_method != NULL_COMPRESSION:
            raise DtlsError("the server chose what was not offered")
        if hello.extension(ExtensionType.SUPPORTED_VERSIONS) is not None:
            raise DtlsError("the server chose two versions")
        # It could have done 1.3, and so can we: somebody has changed our hello (RFC 8446 §4.1.3).
        if ProtocolVersion.DTLS_1_3 in self._hello.versions and hello.random.endswith(DOWNGRADE_MARK):
            raise DtlsError("the server was led to believe that we cannot do DTLS 1.3")
        if has_repeats(hello.extensions):
            raise DtlsError("an extension occurs twice")
        if any(self._hello.extension(extension.type) is None for extension in hello.extensions):
            raise DtlsError(
                "an extension that was not asked for", alert=AlertDescription.UNSUPPORTED_EXTENSION
            )
        require_extended_master_secret(hello.extensions)
        # May be absent (RFC 5746 §4.1): a server that would renegotiate finds that we do not.
        renegotiation_info = hello.extension(ExtensionType.RENEGOTIATION_INFO)
        if renegotiation_info is not None:
            check_renegotiation_info(renegotiation_info)
        point_formats = hello.extension(ExtensionType.EC_POINT_FORMATS)
        if point_formats is not None:
            check_point_formats(point_formats)


def offer(config: HandshakeConfig) -> ClientHello:
    """Make a ClientHello for DTLS 1.2."""
    return ClientHello(
        version=ProtocolVersion.DTLS_1_2,
        random=config.random(RANDOM_LENGTH),
        cipher_suites=tuple(CipherSuite),
        extensions=(
            Extension(ExtensionType.EXTENDED_MASTER_SECRET, b""),
            Extension(ExtensionType.RENEGOTIATION_INFO, encode_renegotiation_info(b"")),
            Extension(ExtensionType.SUPPORTED_GROUPS, encode_code_points(NamedGroup)),
            Extension(ExtensionType.EC_POINT_FORMATS, encode_point_formats(bytes([UNCOMPRESSED_POINTS]))),
            Extension(ExtensionType.SIGNATURE_ALGORITHMS, encode_code_points(SignatureScheme)),
            Extension(ExtensionType.USE_SRTP, UseSrtp(profiles=config.srtp_profiles).encode()),
        ),
    )
