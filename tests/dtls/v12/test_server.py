from collections.abc import Callable
from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from tests.dtls.pair import SERVER_CERTIFICATE
from tests.dtls.peer import Identity, make_identity
from tests.dtls.v12.duet import Duet, Tamper, client_config, server_config
from voicegate.dtls import Certificate, FailureCause, SrtpProfile
from voicegate.dtls.alert import AlertDescription
from voicegate.dtls.extension import (
    Extension,
    ExtensionType,
    encode_code_points,
    encode_point_formats,
    encode_renegotiation_info,
)
from voicegate.dtls.failure import DtlsError
from voicegate.dtls.handshake import HandshakeType, Message
from voicegate.dtls.hello import ClientHello, ServerHello
from voicegate.dtls.key_exchange import NamedGroup
from voicegate.dtls.srtp import UseSrtp
from voicegate.dtls.v12.cipher import CipherSuite
from voicegate.dtls.v12.message import CertificateMessage, ServerKeyExchange
from voicegate.dtls.v12.server import ServerHandshake, ServerState
from voicegate.errors import WireError

E = ExtensionType


def body(change: Callable[[bytes], bytes]) -> Tamper:
    return lambda message: attrs.evolve(message, body=change(message.body))


def client_hello(**changes: Any) -> dict[HandshakeType, Tamper]:
    """Change fields of the ClientHello on its way."""
    change = body(lambda data: attrs.evolve(ClientHello.decode(data), **changes).encode())
    return {HandshakeType.CLIENT_HELLO: change}


def with_extension(type_: int, data: bytes | None) -> dict[HandshakeType, Tamper]:
    """Replace or remove one extension of the ClientHello."""

    def change(encoded: bytes) -> bytes:
        hello = ClientHello.decode(encoded)
        extensions = [extension for extension in hello.extensions if extension.type != type_]
        if data is not None:
            extensions.append(Extension(type_, data))
        return attrs.evolve(hello, extensions=tuple(extensions)).encode()

    return {HandshakeType.CLIENT_HELLO: body(change)}


def refusal_of(tamper: dict[HandshakeType, Tamper], **configs: Any) -> DtlsError:
    with pytest.raises(DtlsError) as caught:
        Duet(tamper, **configs).run()
    return caught.value


def test_a_handshake_goes_through_the_states_to_equal_secrets() -> None:
    duet = Duet()
    duet.run()
    assert duet.server.is_completed
    assert duet.client.is_completed
    assert duet.server.master_secret == duet.client.master_secret
    assert duet.server.srtp_profile is duet.client.srtp_profile is SrtpProfile.AES128_CM_SHA1_80
    assert duet.client.peer_certificate == SERVER_CERTIFICATE.der


@pytest.mark.parametrize("suite", [0xC02B, 0xC02C])
def test_the_server_takes_the_one_suite_it_is_offered(suite: int) -> None:
    duet = Duet(client_hello(cipher_suites=(0x1301, suite, 0xC02F)))
    duet.run(limit=2)
    assert duet.server.suite == suite


@pytest.mark.parametrize(
    ("groups", "expected"),
    [((29, 23), 29), ((23, 29), 29), ((0x11EC, 24, 23), 23), (None, 23)],
)
def test_the_server_prefers_x25519_and_falls_back_to_p256(
    groups: tuple[int, ...] | None, expected: int
) -> None:
    data = None if groups is None else encode_code_points(groups)
    duet = Duet(with_extension(E.SUPPORTED_GROUPS, data))
    duet.run(limit=1)
    assert duet.server._share.group == expected


@pytest.mark.parametrize(
    ("offered", "expected"),
    [((1, 7, 8), 8), ((2, 1), 1), ((0x99, 7), 7)],
)
def test_the_srtp_profile_is_our_favourite_of_those_offered(offered: tuple[int, ...], expected: int) -> None:
    duet = Duet(
        with_extension(E.USE_SRTP, UseSrtp(profiles=offered, mki=b"mki").encode()),
        server=server_config(
            SrtpProfile.AEAD_AES_256_GCM, SrtpProfile.AEAD_AES_128_GCM, SrtpProfile.AES128_CM_SHA1_80
        ),
    )
    duet.run(limit=1)
    assert duet.server.srtp_profile == expected


@pytest.mark.parametrize(
    ("tamper", "what"),
    [
        (client_hello(cipher_suites=(0x1301, 0xC02F, 0xC009)), "cipher suite"),
        (with_extension(E.SUPPORTED_GROUPS, encode_code_points([24, 256])), "group"),
        (with_extension(E.SIGNATURE_ALGORITHMS, encode_code_points([0x0804])), "signature algorithm"),
        (with_extension(E.SIGNATURE_ALGORITHMS, None), "signature algorithm"),
        (with_extension(E.USE_SRTP, UseSrtp(profiles=(2, 5)).encode()), "SRTP profile"),
        (with_extension(E.USE_SRTP, None), "SRTP profile"),
        (with_extension(E.EXTENDED_MASTER_SECRET, None), "extended master secret"),
    ],
)
def test_a_client_with_nothing_in_common_is_told_so(tamper: dict[HandshakeType, Tamper], what: str) -> None:
    error = refusal_of(tamper)
    assert error.cause is FailureCause.NO_SHARED_PARAMETERS
    assert error.alert == AlertDescription.HANDSHAKE_FAILURE
    assert what in error.detail


@pytest.mark.parametrize(
    ("tamper", "alert"),
    [
        (client_hello(compression_methods=b"\1"), AlertDescription.ILLEGAL_PARAMETER),
        (
            client_hello(extensions=(Extension(1, b""), Extension(1, b""))),
            AlertDescription.ILLEGAL_PARAMETER,
        ),
        (with_extension(E.EXTENDED_MASTER_SECRET, b"\0"), AlertDescription.DECODE_ERROR),
        (with_extension(E.EC_POINT_FORMATS, encode_point_formats(b"\1")), AlertDescription.ILLEGAL_PARAMETER),
        (
            with_extension(E.RENEGOTIATION_INFO, encode_renegotiation_info(bytes(12))),
            AlertDescription.HANDSHAKE_FAILURE,
        ),
    ],
)
def test_a_hello_that_breaks_the_rules_is_refused(tamper: dict[HandshakeType, Tamper], alert: int) -> None:
    error = refusal_of(tamper)
    assert error.cause is FailureCause.PROTOCOL_VIOLATION
    assert error.alert == alert


def server_hello_for(tamper: dict[HandshakeType, Tamper]) -> ServerHello:
    duet = Duet(tamper)
    flight = duet.client.take_flight()
    assert flight is not None
    duet.server.handle_message(tamper[HandshakeType.CLIENT_HELLO](flight.messages[0]))
    answer = duet.server.take_flight()
    assert answer is not None
    return ServerHello.decode(answer.messages[0].body)


def test_only_extensions_that_were_offered_are_answered() -> None:
    hello = server_hello_for(with_extension(E.EC_POINT_FORMATS, None))
    assert {extension.type for extension in hello.extensions} == {
        E.EXTENDED_MASTER_SECRET,
        E.USE_SRTP,
        E.RENEGOTIATION_INFO,
    }
    assert hello.session_id == b""
    hello = server_hello_for(with_extension(E.RENEGOTIATION_INFO, None))
    assert hello.extension(E.RENEGOTIATION_INFO) is None
    assert hello.extension(E.EC_POINT_FORMATS) == b"\1\0"


def test_the_renegotiation_scsv_counts_as_an_offer() -> None:
    def change(data: bytes) -> bytes:
        hello = ClientHello.decode(data)
        extensions = tuple(one for one in hello.extensions if one.type != E.RENEGOTIATION_INFO)
        return attrs.evolve(hello, cipher_suites=(0xC02B, 0x00FF), extensions=extensions).encode()

    hello = server_hello_for({HandshakeType.CLIENT_HELLO: body(change)})
    assert hello.extension(E.RENEGOTIATION_INFO) == b"\0"


def test_the_mki_of_a_client_is_not_taken_up() -> None:
    offer = UseSrtp(profiles=(8, 1), mki=b"mki").encode()
    answer = server_hello_for(with_extension(E.USE_SRTP, offer)).extension(E.USE_SRTP)
    assert answer is not None
    assert UseSrtp.decode(answer).mki == b""


def test_a_client_without_certificate_is_refused() -> None:
    empty = body(lambda _data: CertificateMessage(certificates=()).encode())
    duet = Duet()
    duet.run(limit=6)
    with pytest.raises(DtlsError) as caught:
        duet.server.handle_message(empty(Message(type=HandshakeType.CERTIFICATE, message_seq=1, body=b"")))
    assert caught.value.cause is FailureCause.BAD_CERTIFICATE
    assert caught.value.alert == AlertDescription.HANDSHAKE_FAILURE


def test_a_client_with_another_certificate_is_refused() -> None:
    error = refusal_of({}, server=server_config(fingerprint=make_identity("p256").fingerprint))
    assert error.cause is FailureCause.FINGERPRINT_MISMATCH
    assert error.alert == AlertDescription.BAD_CERTIFICATE


def test_a_client_that_holds_another_key_than_its_certificate_is_refused() -> None:
    identity = Identity(ec.generate_private_key(ec.SECP256R1()))
    thief = client_config()
    stolen = Certificate(identity.der, thief.certificate.private_key)
    error = refusal_of(
        {},
        server=server_config(fingerprint=identity.fingerprint),
        client=attrs.evolve(thief, certificate=stolen),
    )
    assert error.cause is FailureCause.AUTHENTICATION_FAILED
    assert error.alert == AlertDescription.DECRYPT_ERROR


def test_a_wrong_finished_is_refused() -> None:
    error = refusal_of({HandshakeType.FINISHED: body(lambda data: bytes(len(data)))})
    assert error.cause is FailureCause.AUTHENTICATION_FAILED
    assert error.alert == AlertDescription.DECRYPT_ERROR


def test_a_finished_in_the_clear_is_refused() -> None:
    error = refusal_of({HandshakeType.FINISHED: lambda message: attrs.evolve(message, epoch=0)})
    assert error.alert == AlertDescription.UNEXPECTED_MESSAGE


def test_a_hello_that_offers_more_than_it_seems_is_noticed_by_the_finished() -> None:
    error = refusal_of(client_hello(cipher_suites=(0xC02C, 0xC02B)))
    assert error.cause is FailureCause.AUTHENTICATION_FAILED


def test_the_servers_random_never_carries_the_mark_of_a_downgrade() -> None:
    assert not server_hello_for(
        with_extension(E.SUPPORTED_VERSIONS, b"\x04\xfe\xfc\xfe\xfd")
    ).random.endswith(b"DOWNGRD\1")


def test_the_key_exchange_is_signed_for_this_handshake() -> None:
    duet = Duet()
    flight = duet.client.take_flight()
    assert flight is not None
    duet.server.handle_message(flight.messages[0])
    answer = duet.server.take_flight()
    assert answer is not None
    exchange = ServerKeyExchange.decode(answer.messages[2].body)
    assert exchange.group in tuple(NamedGroup)
    assert exchange.signed.scheme == 0x0403
    assert duet.server.suite is CipherSuite.ECDHE_ECDSA_WITH_AES_128_GCM_SHA256


def prepared_server(step: int) -> ServerHandshake:
    """Return a server that has taken ``step`` of the client's five messages; its own are five, too."""
    duet = Duet()
    duet.run(limit=step if step < 2 else 5 + step)
    return duet.server


@given(
    st.integers(0, 5),
    st.sampled_from(HandshakeType),
    st.integers(0, 1),
    st.binary(max_size=100),
)
def test_in_every_state_any_message_is_taken_or_ends_it(
    step: int, type_: int, epoch: int, data: bytes
) -> None:
    server = prepared_server(step)
    states = list(ServerState)
    before = states.index(server.state)
    try:
        server.handle_message(Message(type=type_, message_seq=step, body=data, epoch=epoch))
    except (DtlsError, WireError):
        assert states.index(server.state) == before
    else:
        assert states.index(server.state) == before + 1
