from collections.abc import Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dtls.peer import make_identity
from tests.dtls.v12.duet import Duet, Tamper, client_config
from voicegate.dtls import FailureCause, SrtpProfile
from voicegate.dtls.alert import AlertDescription
from voicegate.dtls.extension import (
    Extension,
    ExtensionType,
    encode_point_formats,
    encode_renegotiation_info,
)
from voicegate.dtls.failure import DtlsError
from voicegate.dtls.handshake import HandshakeType, Message
from voicegate.dtls.hello import ClientHello, HelloVerifyRequest, ServerHello
from voicegate.dtls.key_exchange import KeyShare, NamedGroup
from voicegate.dtls.signature import DigitallySigned
from voicegate.dtls.srtp import UseSrtp
from voicegate.dtls.v12.client import ClientHandshake, ClientState
from voicegate.dtls.v12.message import CertificateRequest, ServerKeyExchange
from voicegate.errors import WireError

E = ExtensionType


def server_hello(change: Callable[[ServerHello], ServerHello]) -> dict[HandshakeType, Tamper]:
    """Change the ServerHello on its way."""
    return {
        HandshakeType.SERVER_HELLO: lambda message: attrs.evolve(
            message, body=change(ServerHello.decode(message.body)).encode()
        )
    }


def with_extension(type_: int, data: bytes | None) -> dict[HandshakeType, Tamper]:
    """Replace or remove one extension of the ServerHello."""

    def change(hello: ServerHello) -> ServerHello:
        extensions = [extension for extension in hello.extensions if extension.type != type_]
        if data is not None:
            extensions.append(Extension(type_, data))
        return attrs.evolve(hello, extensions=tuple(extensions))

    return server_hello(change)


def with_body(type_: HandshakeType, body: bytes) -> dict[HandshakeType, Tamper]:
    return {type_: lambda message: attrs.evolve(message, body=body)}


def refusal_of(tamper: dict[HandshakeType, Tamper], **configs: object) -> DtlsError:
    with pytest.raises(DtlsError) as caught:
        Duet(tamper, **configs).run()  # type: ignore[arg-type]
    return caught.value


def first_hello(client: ClientHandshake) -> tuple[Message, ClientHello]:
    flight = client.take_flight()
    assert flight is not None
    return flight.messages[0], ClientHello.decode(flight.messages[0].body)


@pytest.mark.parametrize(
    ("tamper", "alert", "cause"),
    [
        (
            server_hello(lambda hello: attrs.evolve(hello, version=0xFEFF)),
            AlertDescription.PROTOCOL_VERSION,
            FailureCause.NO_SHARED_PARAMETERS,
        ),
        (
            server_hello(lambda hello: attrs.evolve(hello, cipher_suite=0xC009)),
            AlertDescription.ILLEGAL_PARAMETER,
            FailureCause.PROTOCOL_VIOLATION,
        ),
        (
            server_hello(lambda hello: attrs.evolve(hello, compression_method=1)),
            AlertDescription.ILLEGAL_PARAMETER,
            FailureCause.PROTOCOL_VIOLATION,
        ),
        (
            server_hello(lambda hello: attrs.evolve(hello, extensions=hello.extensions * 2)),
            AlertDescription.ILLEGAL_PARAMETER,
            FailureCause.PROTOCOL_VIOLATION,
        ),
        (
            with_extension(35, b""),
            AlertDescription.UNSUPPORTED_EXTENSION,
            FailureCause.PROTOCOL_VIOLATION,
        ),
        (
            with_extension(E.EXTENDED_MASTER_SECRET, None),
            AlertDescription.HANDSHAKE_FAILURE,
            FailureCause.NO_SHARED_PARAMETERS,
        ),
        (
            with_extension(E.RENEGOTIATION_INFO, encode_renegotiation_info(b"x")),
            AlertDescription.HANDSHAKE_FAILURE,
            FailureCause.PROTOCOL_VIOLATION,
        ),
        (
            with_extension(E.EC_POINT_FORMATS, encode_point_formats(b"\1")),
            AlertDescription.ILLEGAL_PARAMETER,
            FailureCause.PROTOCOL_VIOLATION,
        ),
        (
            with_extension(E.USE_SRTP, None),
            AlertDescription.HANDSHAKE_FAILURE,
            FailureCause.NO_SHARED_PARAMETERS,
        ),
        (
            with_extension(E.USE_SRTP, UseSrtp(profiles=(2,)).encode()),
            AlertDescription.ILLEGAL_PARAMETER,
            FailureCause.PROTOCOL_VIOLATION,
        ),
        (
            with_extension(E.USE_SRTP, UseSrtp(profiles=(1, 8)).encode()),
            AlertDescription.ILLEGAL_PARAMETER,
            FailureCause.PROTOCOL_VIOLATION,
        ),
        (
            with_extension(E.USE_SRTP, UseSrtp(profiles=(8,), mki=b"mki").encode()),
            AlertDescription.ILLEGAL_PARAMETER,
            FailureCause.PROTOCOL_VIOLATION,
        ),
        (
            # The certificate is ECDSA, whatever the suite says.
            server_hello(lambda hello: attrs.evolve(hello, cipher_suite=0xC02F)),
            AlertDescription.ILLEGAL_PARAMETER,
            FailureCause.PROTOCOL_VIOLATION,
        ),
        (
            with_body(
                HandshakeType.CERTIFICATE_REQUEST,
                CertificateRequest(certificate_types=b"\1", signature_schemes=(0x0804,)).encode(),
            ),
            AlertDescription.HANDSHAKE_FAILURE,
            FailureCause.NO_SHARED_PARAMETERS,
        ),
        (
            with_body(HandshakeType.SERVER_HELLO_DONE, b"\0"),
            AlertDescription.DECODE_ERROR,
            FailureCause.PROTOCOL_VIOLATION,
        ),
        (
            with_body(
                HandshakeType.SERVER_KEY_EXCHANGE,
                ServerKeyExchange(
                    group=24, public=b"x", signed=DigitallySigned(scheme=0x0403, signature=b"x")
                ).encode(),
            ),
            AlertDescription.ILLEGAL_PARAMETER,
            FailureCause.PROTOCOL_VIOLATION,
        ),
        (
            with_body(
                HandshakeType.SERVER_KEY_EXCHANGE,
                ServerKeyExchange(
                    group=NamedGroup.X25519,
                    public=KeyShare.generate(NamedGroup.X25519).public,
                    signed=DigitallySigned(scheme=0x0403, signature=b"x"),
                ).encode(),
            ),
            AlertDescription.DECRYPT_ERROR,
            FailureCause.AUTHENTICATION_FAILED,
        ),
        (
            with_body(HandshakeType.SERVER_KEY_EXCHANGE, b"\3\0\x1d\0\4\3\0\0")
            | {HandshakeType.CERTIFICATE_REQUEST: lambda message: message},
            AlertDescription.DECRYPT_ERROR,
            FailureCause.AUTHENTICATION_FAILED,
        ),
    ],
)
def test_a_server_that_breaks_the_rules_is_refused(
    tamper: dict[HandshakeType, Tamper], alert: int, cause: FailureCause
) -> None:
    error = refusal_of(tamper)
    assert (error.alert, error.cause) == (alert, cause)
    assert not error.is_remote


def test_a_server_with_another_certificate_is_refused() -> None:
    error = refusal_of({}, client=client_config(fingerprint=make_identity("rsa2048").fingerprint))
    assert error.cause is FailureCause.FINGERPRINT_MISMATCH


def test_a_server_that_asks_for_no_certificate_is_refused() -> None:
    duet = Duet()
    duet.run(limit=4)
    with pytest.raises(DtlsError, match="CERTIFICATE_REQUEST is due"):
        duet.client.handle_message(Message(type=HandshakeType.SERVER_HELLO_DONE, message_seq=3, body=b""))


def test_a_server_without_renegotiation_info_and_point_formats_is_accepted() -> None:
    def change(hello: ServerHello) -> ServerHello:
        keep = {E.EXTENDED_MASTER_SECRET, E.USE_SRTP}
        return attrs.evolve(
            hello, extensions=tuple(extension for extension in hello.extensions if extension.type in keep)
        )

    duet = Duet(server_hello(change))
    duet.run(limit=2)
    assert duet.client.state is ClientState.AWAIT_CERTIFICATE


def test_the_profile_the_server_chose_is_used() -> None:
    tamper = with_extension(E.USE_SRTP, UseSrtp(profiles=(7,)).encode())
    duet = Duet(tamper)
    duet.run(limit=2)
    assert duet.client.srtp_profile is SrtpProfile.AEAD_AES_128_GCM


def test_a_hello_verify_request_is_answered_with_the_same_hello_and_the_cookie() -> None:
    client = ClientHandshake(client_config())
    _, before = first_hello(client)
    request = HelloVerifyRequest(version=0xFEFF, cookie=b"cookie")
    client.handle_message(
        Message(type=HandshakeType.HELLO_VERIFY_REQUEST, message_seq=0, body=request.encode())
    )
    message, after = first_hello(client)
    assert after == attrs.evolve(before, cookie=b"cookie")
    assert message.message_seq == 1
    assert bytes(client._transcript) == message.encode()
    assert client.state is ClientState.AWAIT_SERVER_HELLO


@pytest.mark.parametrize("cookie", [b"", b"again"])
def test_a_hello_verify_request_without_cookie_or_a_second_one_is_refused(cookie: bytes) -> None:
    client = ClientHandshake(client_config())
    cookies = [b"cookie", cookie] if cookie else [cookie]

    def ask() -> None:
        for number, one in enumerate(cookies):
            request = HelloVerifyRequest(version=0xFEFF, cookie=one).encode()
            client.handle_message(
                Message(type=HandshakeType.HELLO_VERIFY_REQUEST, message_seq=number, body=request)
            )

    with pytest.raises(DtlsError):
        ask()


def prepared_client(step: int) -> ClientHandshake:
    """Return a client that has taken ``step`` of the server's six messages."""
    duet = Duet()
    duet.run(limit=step + 1 if step < 6 else 100)
    return duet.client


@given(st.integers(0, 6), st.sampled_from(HandshakeType), st.integers(0, 1), st.binary(max_size=100))
def test_in_every_state_any_message_is_taken_or_ends_it(
    step: int, type_: int, epoch: int, data: bytes
) -> None:
    client = prepared_client(step)
    states = list(ClientState)
    before = states.index(client.state)
    assert before == step
    try:
        client.handle_message(Message(type=type_, message_seq=step, body=data, epoch=epoch))
    except (DtlsError, WireError):
        assert states.index(client.state) == before
    else:
        assert states.index(client.state) in (before, before + 1)
