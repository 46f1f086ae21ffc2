"""The client's handshake.

1. client: ClientHello, which offers DTLS 1.2 as well if we may do that; when the server takes it up, what
   follows is DTLS 1.2's own
2. server: HelloRetryRequest, if it wants a share of another group; then the client repeats its hello with it
3. server: ServerHello, {EncryptedExtensions, CertificateRequest, Certificate, CertificateVerify, Finished}
4. client: {Certificate, CertificateVerify, Finished}
5. server: acknowledgement (the association's)
"""

from enum import Enum
from typing import Final

import attrs

from voicegate.dtls.alert import AlertDescription
from voicegate.dtls.config import HandshakeConfig
from voicegate.dtls.extension import (
    Extension,
    ExtensionType,
    KeyShareEntry,
    decode_code_points,
    decode_key_share,
    decode_selected,
    encode_code_points,
    encode_key_shares,
    encode_versions,
    has_repeats,
)
from voicegate.dtls.failure import DtlsError, FailureCause, no_shared
from voicegate.dtls.handshake import HandshakeType, Message, expect
from voicegate.dtls.hello import NULL_COMPRESSION, RANDOM_LENGTH, ClientHello, ServerHello
from voicegate.dtls.key_share import Group, OfferedShare
from voicegate.dtls.record import ProtocolVersion
from voicegate.dtls.signature import OWN_SCHEME, SignatureScheme
from voicegate.dtls.srtp import UseSrtp, accept_profile
from voicegate.dtls.v12.client import offer as offer_1_2
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
from voicegate.errors import WireError

__all__ = ["ClientHandshake", "ClientState"]

_NO_FLIGHT: Final = -1


class ClientState(Enum):
    """What the client waits for, in order."""

    AWAIT_SERVER_HELLO = "await ServerHello or HelloRetryRequest"
    AWAIT_SECOND_SERVER_HELLO = "await ServerHello"
    AWAIT_ENCRYPTED_EXTENSIONS = "await EncryptedExtensions"
    AWAIT_CERTIFICATE_REQUEST = "await CertificateRequest"
    AWAIT_CERTIFICATE = "await Certificate"
    AWAIT_CERTIFICATE_VERIFY = "await CertificateVerify"
    AWAIT_FINISHED = "await Finished"
    COMPLETED = "completed"


class ClientHandshake(Handshake):
    """The active side; its first flight is there once it is made."""

    def __init__(self, config: HandshakeConfig) -> None:
        super().__init__(config)
        self.state = ClientState.AWAIT_SERVER_HELLO
        self._shares = {group: OfferedShare.generate(group) for group in _offered_groups(config.groups)}
        self.hello = _offer(config, self._shares)
        self._send_hello(answers=_NO_FLIGHT)

    @property
    def is_completed(self) -> bool:
        """Whether the server's Finished was verified."""
        return self.state is ClientState.COMPLETED

    def is_declined_by(self, message: Message) -> bool:
        """Tell whether the server's first message chooses DTLS 1.2, which was offered."""
        if self.state is not ClientState.AWAIT_SERVER_HELLO:
            return False
        if message.epoch or ProtocolVersion.DTLS_1_2 not in self._config.versions:
            return False
        if message.type != HandshakeType.SERVER_HELLO:
            return message.type == HandshakeType.HELLO_VERIFY_REQUEST
        try:
            return ServerHello.decode(message.body).extension(ExtensionType.SUPPORTED_VERSIONS) is None
        except WireError:
            return False

    def _step(self, message: Message) -> None:
        match self.state:
            case ClientState.AWAIT_SERVER_HELLO:
                self.state = self._await_server_hello(message)
            case ClientState.AWAIT_SECOND_SERVER_HELLO:
                self.state = self._await_second_server_hello(message)
            case ClientState.AWAIT_ENCRYPTED_EXTENSIONS:
                self.state = self._await_encrypted_extensions(message)
            case ClientState.AWAIT_CERTIFICATE_REQUEST:
                self.state = self._await_certificate_request(message)
            case ClientState.AWAIT_CERTIFICATE:
                self.state = self._await_certificate(message)
            case ClientState.AWAIT_CERTIFICATE_VERIFY:
                self.state = self._await_certificate_verify(message)
            case ClientState.AWAIT_FINISHED:
                self.state = self._await_finished(message)
            case ClientState.COMPLETED:  # pragma: no branch - there is no other
                raise DtlsError("the handshake is over", alert=AlertDescription.UNEXPECTED_MESSAGE)

    def _await_server_hello(self, message: Message) -> ClientState:
        hello = self._read_hello(message)
        self.suite = CipherSuite(hello.cipher_suite)
        self._transcript.choose(self.suite.hash_name)
        if hello.random == HELLO_RETRY_RANDOM:
            return self._repeat_hello(hello, message)
        return self._accept_hello(hello, message)

    def _await_second_server_hello(self, message: Message) -> ClientState:
        hello = self._read_hello(message)
        if hello.random == HELLO_RETRY_RANDOM:
            raise DtlsError("a second HelloRetryRequest", alert=AlertDescription.UNEXPECTED_MESSAGE)
        if hello.cipher_suite != self.suite:
            raise DtlsError("the server chose another cipher suite after its HelloRetryRequest")
        return self._accept_hello(hello, message)

    def _await_encrypted_extensions(self, message: Message) -> ClientState:
        expect(message, HandshakeType.ENCRYPTED_EXTENSIONS)
        answer = EncryptedExtensions.decode(message.body)
        self._check_extensions(answer.extensions)
        self.srtp_profile = accept_profile(
            answer.extension(ExtensionType.USE_SRTP), self._config.srtp_profiles
        )
        self._transcript.add(message.type, message.body)
        return ClientState.AWAIT_CERTIFICATE_REQUEST

    def _await_certificate_request(self, message: Message) -> ClientState:
        # Always: in WebRTC both sides prove who they are (RFC 8827 §6.5).
        expect(message, HandshakeType.CERTIFICATE_REQUEST)
        request = CertificateRequest.decode(message.body)
        schemes = request.extension(ExtensionType.SIGNATURE_ALGORITHMS)
        if schemes is None:
            raise DtlsError(
                "a request without signature_algorithms", alert=AlertDescription.MISSING_EXTENSION
            )
        if request.context or has_repeats(request.extensions):
            raise DtlsError("a CertificateRequest with a context or an extension twice")
        if OWN_SCHEME not in decode_code_points(schemes):
            raise no_shared("signature algorithm")
        self._transcript.add(message.type, message.body)
        return ClientState.AWAIT_CERTIFICATE

    def _await_certificate(self, message: Message) -> ClientState:
        self._accept_certificate(message)
        return ClientState.AWAIT_CERTIFICATE_VERIFY

    def _await_certificate_verify(self, message: Message) -> ClientState:
        self._accept_certificate_verify(message, SERVER_CONTEXT)
        return ClientState.AWAIT_FINISHED

    def _await_finished(self, message: Message) -> ClientState:
        secrets = self.secrets[HANDSHAKE_EPOCH]
        self._accept_finished(message, secrets.server)
        self._settle()
        proof = self._compose_proof(CLIENT_CONTEXT, secrets.client)
        self._flight = Outgoing(answers=message.message_seq, messages=proof)
        return ClientState.COMPLETED

    def _send_hello(self, *, answers: int) -> None:
        message = self._compose(HandshakeType.CLIENT_HELLO, self.hello.encode(), epoch=0)
        self._flight = Outgoing(answers=answers, messages=(message,))

    def _read_hello(self, message: Message) -> ServerHello:
        expect(message, HandshakeType.SERVER_HELLO)
        hello = ServerHello.decode(message.body)
        version = hello.extension(ExtensionType.SUPPORTED_VERSIONS)
        if version is None or decode_selected(version) != ProtocolVersion.DTLS_1_3:
            raise DtlsError(
                "the server cannot do DTLS 1.3",
                alert=AlertDescription.PROTOCOL_VERSION,
                cause=FailureCause.NO_SHARED_PARAMETERS,
            )
        if (
            hello.version != ProtocolVersion.DTLS_1_2
            or hello.session_id
            or hello.cipher_suite not in tuple(CipherSuite)
            or hello.compression_method != NULL_COMPRESSION
        ):
            raise DtlsError("the server chose what was not offered")
        return hello

    def _repeat_hello(self, hello: ServerHello, message: Message) -> ClientState:
        """Offer the share that the server wants, and show its cookie if it gave one (RFC 8446 §4.1.4)."""
        cookie = hello.extension(ExtensionType.COOKIE)
        self._check_extensions(
            [extension for extension in hello.extensions if extension.type != ExtensionType.COOKIE]
        )
        selected = hello.extension(ExtensionType.KEY_SHARE)
        replaced: dict[int, bytes] = {}
        if selected is not None:
            group = decode_selected(selected)
            if group in self._shares or group not in self._config.groups:
                raise DtlsError(f"the server wants a share of group {group}, as if it had looked at no offer")
            self._shares = {Group(group): OfferedShare.generate(Group(group))}
            replaced[ExtensionType.KEY_SHARE] = _encode_shares(self._shares)
        extensions = [Extension(type_, replaced.get(type_, data)) for type_, data in self.hello.extensions]
        if cookie is not None:
            extensions.append(Extension(ExtensionType.COOKIE, cookie))
        if selected is None and cookie is None:
            raise DtlsError("a HelloRetryRequest that changes nothing")
        self.hello = attrs.evolve(self.hello, extensions=tuple(extensions))
        self._transcript.condense()
        self._transcript.add(message.type, message.body)
        self._send_hello(answers=message.message_seq)
        return ClientState.AWAIT_SECOND_SERVER_HELLO

    def _accept_hello(self, hello: ServerHello, message: Message) -> ClientState:
        self._check_extensions(hello.extensions)
        data = hello.extension(ExtensionType.KEY_SHARE)
        if data is None:
            raise DtlsError("a ServerHello without key_share", alert=AlertDescription.MISSING_EXTENSION)
        group, public = decode_key_share(data)
        if group not in self._shares:
            raise DtlsError(f"the server chose group {group}, of which it was offered no share")
        self._transcript.add(message.type, message.body)
        self._agree(self._shares[Group(group)].finish(public))
        return ClientState.AWAIT_ENCRYPTED_EXTENSIONS

    def _check_extensions(self, extensions: "tuple[Extension, ...] | list[Extension]") -> None:
        if has_repeats(extensions):
            raise DtlsError("an extension occurs twice")
        if any(self.hello.extension(extension.type) is None for extension in extensions):
            raise DtlsError(
                "an extension that was not asked for", alert=AlertDescription.UNSUPPORTED_EXTENSION
            )


def _offered_groups(groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """Choose the groups to send shares of: the first, and the first that every server can do."""
    classic = next((group for group in groups if group is not Group.X25519MLKEM768), groups[0])
    return tuple(dict.fromkeys((groups[0], classic)))


def _offer(config: HandshakeConfig, shares: dict[Group, OfferedShare]) -> ClientHello:
    """Make the ClientHello; what DTLS 1.2 needs is in it if that may be chosen."""
    is_hybrid = ProtocolVersion.DTLS_1_2 in config.versions
    older = offer_1_2(config) if is_hybrid else None
    extensions = {
        ExtensionType.SUPPORTED_VERSIONS: encode_versions(config.versions),
        ExtensionType.SUPPORTED_GROUPS: encode_code_points(config.groups),
        ExtensionType.SIGNATURE_ALGORITHMS: encode_code_points(SignatureScheme),
        ExtensionType.USE_SRTP: UseSrtp(profiles=config.srtp_profiles).encode(),
        ExtensionType.KEY_SHARE: _encode_shares(shares),
    }
    return ClientHello(
        version=ProtocolVersion.DTLS_1_2,
        random=older.random if older else config.random(RANDOM_LENGTH),
        cipher_suites=(*CipherSuite, *(older.cipher_suites if older else ())),
        extensions=(
            *(Extension(type_, data) for type_, data in extensions.items()),
            *(
                extension
                for extension in (older.extensions if older else ())
                if extension.type not in extensions
            ),
        ),
    )


def _encode_shares(shares: dict[Group, OfferedShare]) -> bytes:
    return encode_key_shares(KeyShareEntry(group, share.public) for group, share in shares.items())
