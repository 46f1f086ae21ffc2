"""The server's handshake.

1. client: ClientHello
2. server: HelloRetryRequest, if the client sent no share of a group that we can do, but can do one; then the
   client repeats its hello with that share (kept in mind, no cookie: ICE has proven the client's address)
3. server: ServerHello, {EncryptedExtensions, CertificateRequest, Certificate, CertificateVerify, Finished};
   from here on it may send data
4. client: {Certificate, CertificateVerify, Finished}
5. server: acknowledgement (the association's)
"""

from enum import Enum

from voicegate.dtls.alert import AlertDescription
from voicegate.dtls.config import HandshakeConfig
from voicegate.dtls.extension import (
    Extension,
    ExtensionType,
    KeyShareEntry,
    decode_code_points,
    decode_key_shares,
    encode_code_points,
    encode_key_share,
    encode_selected,
    has_repeats,
)
from voicegate.dtls.failure import DtlsError, no_shared
from voicegate.dtls.handshake import HandshakeType, Message, expect
from voicegate.dtls.hello import NULL_COMPRESSION, RANDOM_LENGTH, ClientHello, ServerHello
from voicegate.dtls.key_share import Group, answer_share
from voicegate.dtls.record import ProtocolVersion
from voicegate.dtls.signature import OWN_SCHEME, SignatureScheme
from voicegate.dtls.srtp import UseSrtp, choose_profile
from voicegate.dtls.v13.cipher import CipherSuite
from voicegate.dtls.v13.handshake import (
    CLIENT_CONTEXT,
    HANDSHAKE_EPOCH,
    HELLO_RETRY_RANDOM,
    SERVER_CONTEXT,
    Handshake,
    Outgoing,
)
from voicegate.dtls.v13.message import CertificateRequest, EncryptedExtensions

__all__ = ["ServerHandshake", "ServerState"]


class ServerState(Enum):
    """What the server waits for, in order."""

    AWAIT_CLIENT_HELLO = "await ClientHello"
    AWAIT_SECOND_CLIENT_HELLO = "await ClientHello again"
    AWAIT_CERTIFICATE = "await Certificate"
    AWAIT_CERTIFICATE_VERIFY = "await CertificateVerify"
    AWAIT_FINISHED = "await Finished"
    COMPLETED = "completed"


class ServerHandshake(Handshake):
    """The passive side."""

    _first_hello: ClientHello
    _wanted_group: Group

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
            case ServerState.AWAIT_SECOND_CLIENT_HELLO:
                self.state = self._await_second_client_hello(message)
            case ServerState.AWAIT_CERTIFICATE:
                self.state = self._await_certificate(message)
            case ServerState.AWAIT_CERTIFICATE_VERIFY:
                self.state = self._await_certificate_verify(message)
            case ServerState.AWAIT_FINISHED:
                self.state = self._await_finished(message)
            case ServerState.COMPLETED:  # pragma: no branch - there is no other
                raise DtlsError("the handshake is over", alert=AlertDescription.UNEXPECTED_MESSAGE)

    def _await_client_hello(self, message: Message) -> ServerState:
        expect(message, HandshakeType.CLIENT_HELLO)
        hello = ClientHello.decode(message.body)
        _check_hello(hello)
        self.suite = _choose_suite(hello)
        self.srtp_profile = choose_profile(
            hello.extension(ExtensionType.USE_SRTP), self._config.srtp_profiles
        )
        self._transcript.add(message.type, message.body)
        self._transcript.choose(self.suite.hash_name)
        shares = _read_shares(hello)
        for group in self._config.groups:
            if group in shares:
                return self._answer(group, shares[group], message)
        self._wanted_group = self._choose_group(hello)
        self._first_hello = hello
        return self._ask_again(message)

    def _await_second_client_hello(self, message: Message) -> ServerState:
        expect(message, HandshakeType.CLIENT_HELLO)
        hello, first = ClientHello.decode(message.body), self._first_hello
        _check_hello(hello)
        shares = _read_shares(hello)
        # What was chosen from the first must still be on offer (RFC 8446 §4.1.2).
        if (
            hello.random != first.random
            or hello.cipher_suites != first.cipher_suites
            or hello.extension(ExtensionType.USE_SRTP) != first.extension(ExtensionType.USE_SRTP)
            or list(shares) != [self._wanted_group]
        ):
            raise DtlsError("the second ClientHello is not what was asked for")
        self._transcript.add(message.type, message.body)
        return self._answer(self._wanted_group, shares[self._wanted_group], message)

    def _await_certificate(self, message: Message) -> ServerState:
        self._accept_certificate(message)
        return ServerState.AWAIT_CERTIFICATE_VERIFY

    def _await_certificate_verify(self, message: Message) -> ServerState:
        self._accept_certificate_verify(message, CLIENT_CONTEXT)
        return ServerState.AWAIT_FINISHED

    def _await_finished(self, message: Message) -> ServerState:
        self._accept_finished(message, self.secrets[HANDSHAKE_EPOCH].client)
        return ServerState.COMPLETED

    def _ask_again(self, message: Message) -> ServerState:
        self._transcript.condense()
        request = self._server_hello(HELLO_RETRY_RANDOM, encode_selected(self._wanted_group))
        composed = self._compose(HandshakeType.SERVER_HELLO, request.encode(), epoch=0)
        self._flight = Outgoing(answers=message.message_seq, messages=(composed,))
        return ServerState.AWAIT_SECOND_CLIENT_HELLO

    def _answer(self, group: Group, offered: bytes, message: Message) -> ServerState:
        public, secret = answer_share(group, offered)
        share = encode_key_share(KeyShareEntry(group, public))
        hello = self._server_hello(self._config.random(RANDOM_LENGTH), share)
        server_hello = self._compose(HandshakeType.SERVER_HELLO, hello.encode(), epoch=0)
        self._agree(secret)
        # The client's MKI is not taken up (RFC 5764 §4.1.3).
        use_srtp = Extension(ExtensionType.USE_SRTP, UseSrtp(profiles=(self.srtp_profile,)).encode())
        schemes = Extension(ExtensionType.SIGNATURE_ALGORITHMS, encode_code_points(SignatureScheme))
        self._flight = Outgoing(
            answers=message.message_seq,
            messages=(
                server_hello,
                self._compose(
                    HandshakeType.ENCRYPTED_EXTENSIONS, EncryptedExtensions(extensions=(use_srtp,)).encode()
                ),
                self._compose(
                    HandshakeType.CERTIFICATE_REQUEST, CertificateRequest(extensions=(schemes,)).encode()
                ),
                *self._compose_proof(SERVER_CONTEXT, self.secrets[HANDSHAKE_EPOCH].server),
            ),
        )
        self._settle()
        return ServerState.AWAIT_CERTIFICATE

    def _server_hello(self, random: bytes, key_share: bytes) -> ServerHello:
        # The session id is not echoed (RFC 9147 §5.3).
        return ServerHello(
            version=ProtocolVersion.DTLS_1_2,
            random=random,
            cipher_suite=self.suite,
            extensions=(
                Extension(ExtensionType.SUPPORTED_VERSIONS, encode_selected(ProtocolVersion.DTLS_1_3)),
                Extension(ExtensionType.KEY_SHARE, key_share),
            ),
        )

    def _choose_group(self, hello: ClientHello) -> Group:
        offered = decode_code_points(_require(hello, ExtensionType.SUPPORTED_GROUPS))
        for group in self._config.groups:
            if group in offered:
                return group
        raise no_shared("group")


def _check_hello(hello: ClientHello) -> None:
    if has_repeats(hello.extensions):
        raise DtlsError("an extension occurs twice")
    if hello.compression_methods != bytes([NULL_COMPRESSION]) or hello.cookie:
        raise DtlsError("the client offers compression, or a cookie that nobody gave it")
    if OWN_SCHEME not in decode_code_points(_require(hello, ExtensionType.SIGNATURE_ALGORITHMS)):
        raise no_shared("signature algorithm")


def _choose_suite(hello: ClientHello) -> CipherSuite:
    for suite in CipherSuite:
        if suite in hello.cipher_suites:
            return suite
    raise no_shared("cipher suite")


def _read_shares(hello: ClientHello) -> dict[int, bytes]:
    entries = decode_key_shares(_require(hello, ExtensionType.KEY_SHARE))
    shares = {entry.group: entry.public for entry in entries}
    if len(shares) != len(entries):
        raise DtlsError("two shares of one group")
    return shares


def _require(hello: ClientHello, type_: ExtensionType) -> bytes:
    data = hello.extension(type_)
    if data is None:
        raise DtlsError(f"the client sent no {type_.name.lower()}", alert=AlertDescription.MISSING_EXTENSION)
    return data
