"""Both handshakes together, honest and tampered with."""

from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dtls.peer import Identity, make_identity
from tests.dtls.v13.duet import SERVER_CERTIFICATE, Duet, Tamper, body, message_field, with_extension
from voicegate.dtls import FailureCause, Fingerprint, Group, SrtpProfile
from voicegate.dtls.alert import AlertDescription as A
from voicegate.dtls.extension import (
    Extension,
    KeyShareEntry,
    encode_code_points,
    encode_key_share,
    encode_key_shares,
    encode_selected,
    encode_versions,
)
from voicegate.dtls.extension import ExtensionType as E
from voicegate.dtls.failure import DtlsError
from voicegate.dtls.handshake import HandshakeType, Message
from voicegate.dtls.hello import ClientHello, ServerHello
from voicegate.dtls.signature import DigitallySigned, SignatureScheme
from voicegate.dtls.srtp import UseSrtp
from voicegate.dtls.v13.cipher import CipherSuite
from voicegate.dtls.v13.client import ClientHandshake, ClientState
from voicegate.dtls.v13.handshake import HELLO_RETRY_RANDOM, Handshake, _check_scheme
from voicegate.dtls.v13.message import (
    CertificateEntry,
    CertificateMessage,
    CertificateRequest,
    EncryptedExtensions,
)
from voicegate.dtls.v13.server import ServerHandshake, ServerState
from voicegate.errors import WireError

T = HandshakeType
RETRY: dict[str, Any] = {"groups": (Group.SECP256R1,)}
"""A server that the client of these tests has no share for, but knows the group of."""


def refusal_of(tamper: dict[HandshakeType, Any], **configs: Any) -> DtlsError:
    with pytest.raises(DtlsError) as caught:
        Duet(tamper, **configs).run()
    return caught.value


def check_equal(duet: Duet) -> None:
    assert duet.server.is_completed
    assert duet.client.is_completed
    assert duet.server.secrets == duet.client.secrets
    assert duet.server.exporter_secret == duet.client.exporter_secret
    assert duet.server.suite is duet.client.suite
    assert duet.server.srtp_profile is duet.client.srtp_profile


def test_a_handshake_goes_through_the_states_to_equal_secrets() -> None:
    duet = Duet()
    duet.run()
    check_equal(duet)
    assert set(duet.server.secrets) == {2, 3}
    assert duet.client.peer_certificate == SERVER_CERTIFICATE.der
    assert [message.type for _, message in duet.delivered] == [1, 2, 8, 13, 11, 15, 20, 11, 15, 20]


@pytest.mark.parametrize("suite", CipherSuite)
def test_the_server_takes_the_one_suite_it_is_offered(suite: CipherSuite) -> None:
    duet = Duet({T.CLIENT_HELLO: message_field(ClientHello, cipher_suites=(0xC02B, suite))})
    duet.run(limit=1)
    assert duet.server.suite is suite


def test_the_server_prefers_its_own_first_group_of_those_there_is_a_share_of() -> None:
    for groups, chosen in (
        (tuple(Group), Group.X25519MLKEM768),
        ((Group.X25519, Group.X25519MLKEM768), Group.X25519),
        # No share of it was sent; asking for one would cost a round trip.
        ((Group.SECP256R1, Group.X25519), Group.X25519),
    ):
        duet = Duet(server={"groups": groups})
        duet.run(limit=2)
        hello = ServerHello.decode(duet.delivered[1][1].body)
        share = hello.extension(E.KEY_SHARE)
        assert share is not None
        assert int.from_bytes(share[:2], "big") == chosen


def test_the_client_sends_shares_of_its_first_and_its_first_classic_group() -> None:
    for groups, shares in (
        (tuple(Group), [0x11EC, 29]),
        ((Group.X25519, Group.X25519MLKEM768), [29]),
        ((Group.X25519MLKEM768,), [0x11EC]),
        ((Group.SECP256R1, Group.X25519), [23]),
    ):
        duet = Duet(client={"groups": groups})
        assert list(duet.client._shares) == shares


# HelloRetryRequest


@pytest.mark.parametrize("group", Group)
def test_a_server_asks_for_a_share_that_it_can_use(group: Group) -> None:
    others = tuple(other for other in Group if other is not group)
    duet = Duet(client={"groups": (*others[1:], others[0], group)}, server={"groups": (group,)})
    duet.run()
    check_equal(duet)
    types = [message.type for _, message in duet.delivered]
    is_asked = types[:4] == [1, 2, 1, 2]
    assert is_asked is (group not in {others[1], others[0]} or group not in duet.client._shares)


def test_after_a_retry_the_secrets_are_equal() -> None:
    duet = Duet(server=RETRY)
    duet.run()
    check_equal(duet)
    assert ServerHello.decode(duet.delivered[1][1].body).random == HELLO_RETRY_RANDOM
    assert [message.message_seq for _, message in duet.delivered[:4]] == [0, 0, 1, 1]


def test_a_cookie_is_shown() -> None:
    cookie = Extension(E.COOKIE, b"\0\3abc")

    def add(encoded: bytes) -> bytes:
        hello = ServerHello.decode(encoded)
        return attrs.evolve(hello, extensions=(*hello.extensions, cookie)).encode()

    seen: list[ClientHello] = []

    def watch(message: Message) -> Message:
        seen.append(ClientHello.decode(message.body))
        return message

    duet = Duet({T.SERVER_HELLO: [body(add)], T.CLIENT_HELLO: watch}, server=RETRY)
    duet.run(limit=3)
    assert seen[0].extension(E.COOKIE) is None
    assert seen[1].extension(E.COOKIE) == cookie.data


def unchanged(message: Message) -> Message:
    return message


@pytest.mark.parametrize(
    "change",
    [
        message_field(ClientHello, random=bytes(32)),
        message_field(ClientHello, cipher_suites=(0x1301,)),
        with_extension(ClientHello, E.KEY_SHARE, encode_key_shares([KeyShareEntry(29, bytes(32))])),
        with_extension(ClientHello, E.KEY_SHARE, encode_key_shares([])),
        with_extension(ClientHello, E.USE_SRTP, UseSrtp(profiles=(8,)).encode()),
    ],
    ids=["random", "suites", "share", "no share", "srtp"],
)
def test_a_second_hello_must_be_what_was_asked_for(change: Tamper) -> None:
    refusal = refusal_of({T.CLIENT_HELLO: [unchanged, change]}, server=RETRY)
    assert refusal.alert == A.ILLEGAL_PARAMETER


@pytest.mark.parametrize(
    ("change", "alert"),
    [
        (with_extension(ServerHello, E.KEY_SHARE, encode_selected(29)), A.ILLEGAL_PARAMETER),
        (with_extension(ServerHello, E.KEY_SHARE, encode_selected(24)), A.ILLEGAL_PARAMETER),
        (with_extension(ServerHello, E.KEY_SHARE, None), A.ILLEGAL_PARAMETER),
        (with_extension(ServerHello, 0x1234, b""), A.UNSUPPORTED_EXTENSION),
    ],
    ids=["sent already", "not offered", "nothing", "unknown"],
)
def test_a_retry_must_ask_for_something_sensible(change: Tamper, alert: int) -> None:
    assert refusal_of({T.SERVER_HELLO: change}, server=RETRY).alert == alert


def test_only_one_retry_is_followed() -> None:
    again = message_field(ServerHello, random=HELLO_RETRY_RANDOM)
    refusal = refusal_of({T.SERVER_HELLO: [unchanged, again]}, server=RETRY)
    assert refusal.alert == A.UNEXPECTED_MESSAGE


def test_a_retry_settles_the_suite() -> None:
    other = message_field(ServerHello, cipher_suite=0x1303)
    assert refusal_of({T.SERVER_HELLO: [unchanged, other]}, server=RETRY).alert == A.ILLEGAL_PARAMETER


# Hellos


def client_extension(type_: int, data: bytes | None) -> dict[HandshakeType, Any]:
    return {T.CLIENT_HELLO: with_extension(ClientHello, type_, data)}


@pytest.mark.parametrize(
    ("tamper", "alert"),
    [
        (client_extension(E.KEY_SHARE, None), A.MISSING_EXTENSION),
        (client_extension(E.SIGNATURE_ALGORITHMS, None), A.MISSING_EXTENSION),
        (client_extension(E.USE_SRTP, None), A.HANDSHAKE_FAILURE),
        (client_extension(E.USE_SRTP, UseSrtp(profiles=(2,)).encode()), A.HANDSHAKE_FAILURE),
        (client_extension(E.SIGNATURE_ALGORITHMS, encode_code_points([0x0804])), A.HANDSHAKE_FAILURE),
        (
            client_extension(E.KEY_SHARE, encode_key_shares([KeyShareEntry(29, b"k")] * 2)),
            A.ILLEGAL_PARAMETER,
        ),
        (
            client_extension(E.KEY_SHARE, encode_key_shares([KeyShareEntry(29, bytes(32))])),
            A.ILLEGAL_PARAMETER,
        ),
        (client_extension(E.KEY_SHARE, encode_key_shares([KeyShareEntry(0x11EC, b"k")])), A.DECODE_ERROR),
        ({T.CLIENT_HELLO: message_field(ClientHello, cipher_suites=(0xC02B,))}, A.HANDSHAKE_FAILURE),
        ({T.CLIENT_HELLO: message_field(ClientHello, compression_methods=b"\1\0")}, A.ILLEGAL_PARAMETER),
        ({T.CLIENT_HELLO: message_field(ClientHello, cookie=b"cookie")}, A.ILLEGAL_PARAMETER),
        (
            {T.CLIENT_HELLO: message_field(ClientHello, extensions=(Extension(1, b""), Extension(1, b"")))},
            A.ILLEGAL_PARAMETER,
        ),
    ],
)
def test_a_client_hello_that_will_not_do_is_refused(tamper: dict[HandshakeType, Any], alert: int) -> None:
    assert refusal_of(tamper).alert == alert


@pytest.mark.parametrize("data", [None, encode_code_points([24, 25])])
def test_a_client_with_no_group_of_ours_is_refused(data: bytes | None) -> None:
    def change(message: Message) -> Message:
        without = with_extension(ClientHello, E.KEY_SHARE, encode_key_shares([]))(message)
        return with_extension(ClientHello, E.SUPPORTED_GROUPS, data)(without)

    alert = A.MISSING_EXTENSION if data is None else A.HANDSHAKE_FAILURE
    assert refusal_of({T.CLIENT_HELLO: change}).alert == alert


def server_extension(type_: int, data: bytes | None) -> dict[HandshakeType, Any]:
    return {T.SERVER_HELLO: with_extension(ServerHello, type_, data)}


@pytest.mark.parametrize(
    ("tamper", "alert"),
    [
        (server_extension(E.SUPPORTED_VERSIONS, None), A.PROTOCOL_VERSION),
        (server_extension(E.SUPPORTED_VERSIONS, encode_selected(0xFEFD)), A.PROTOCOL_VERSION),
        (server_extension(E.KEY_SHARE, None), A.MISSING_EXTENSION),
        (server_extension(E.KEY_SHARE, encode_key_share(KeyShareEntry(23, b"k"))), A.ILLEGAL_PARAMETER),
        (server_extension(E.KEY_SHARE, encode_key_share(KeyShareEntry(0x11EC, b"k"))), A.DECODE_ERROR),
        (server_extension(0x1234, b""), A.UNSUPPORTED_EXTENSION),
        ({T.SERVER_HELLO: message_field(ServerHello, version=0xFEFC)}, A.ILLEGAL_PARAMETER),
        ({T.SERVER_HELLO: message_field(ServerHello, session_id=b"id")}, A.ILLEGAL_PARAMETER),
        ({T.SERVER_HELLO: message_field(ServerHello, cipher_suite=0x1304)}, A.ILLEGAL_PARAMETER),
        ({T.SERVER_HELLO: message_field(ServerHello, cipher_suite=0xC02B)}, A.ILLEGAL_PARAMETER),
        ({T.SERVER_HELLO: message_field(ServerHello, compression_method=1)}, A.ILLEGAL_PARAMETER),
    ],
)
def test_a_server_hello_that_will_not_do_is_refused(tamper: dict[HandshakeType, Any], alert: int) -> None:
    assert refusal_of(tamper).alert == alert


# The rest of the server's flight

TWICE = (Extension(E.USE_SRTP, b"\0\2\0\1\0"),) * 2


@pytest.mark.parametrize(
    ("type_", "change", "alert"),
    [
        (T.ENCRYPTED_EXTENSIONS, with_extension(EncryptedExtensions, E.USE_SRTP, None), A.HANDSHAKE_FAILURE),
        (
            T.ENCRYPTED_EXTENSIONS,
            with_extension(EncryptedExtensions, E.USE_SRTP, UseSrtp(profiles=(2,)).encode()),
            A.ILLEGAL_PARAMETER,
        ),
        (
            T.ENCRYPTED_EXTENSIONS,
            with_extension(EncryptedExtensions, E.USE_SRTP, UseSrtp(profiles=(1,), mki=b"k").encode()),
            A.ILLEGAL_PARAMETER,
        ),
        (T.ENCRYPTED_EXTENSIONS, with_extension(EncryptedExtensions, 99, b""), A.UNSUPPORTED_EXTENSION),
        (T.ENCRYPTED_EXTENSIONS, message_field(EncryptedExtensions, extensions=TWICE), A.ILLEGAL_PARAMETER),
        (
            T.CERTIFICATE_REQUEST,
            with_extension(CertificateRequest, E.SIGNATURE_ALGORITHMS, None),
            A.MISSING_EXTENSION,
        ),
        (
            T.CERTIFICATE_REQUEST,
            with_extension(CertificateRequest, E.SIGNATURE_ALGORITHMS, encode_code_points([0x0804])),
            A.HANDSHAKE_FAILURE,
        ),
        (T.CERTIFICATE_REQUEST, message_field(CertificateRequest, context=b"c"), A.ILLEGAL_PARAMETER),
        (T.CERTIFICATE, message_field(CertificateMessage, context=b"c"), A.ILLEGAL_PARAMETER),
        (T.CERTIFICATE, message_field(CertificateMessage, entries=()), A.HANDSHAKE_FAILURE),
        (
            T.CERTIFICATE,
            message_field(CertificateMessage, entries=(CertificateEntry(b"other"),)),
            A.BAD_CERTIFICATE,
        ),
        (T.CERTIFICATE_VERIFY, message_field(DigitallySigned, scheme=0x0804), A.ILLEGAL_PARAMETER),
        (T.CERTIFICATE_VERIFY, message_field(DigitallySigned, scheme=0x0503), A.ILLEGAL_PARAMETER),
        (T.CERTIFICATE_VERIFY, message_field(DigitallySigned, signature=b"forged"), A.DECRYPT_ERROR),
        (T.FINISHED, body(lambda data: bytes(len(data))), A.DECRYPT_ERROR),
        (T.FINISHED, body(lambda data: data[:-1]), A.DECRYPT_ERROR),
    ],
)
def test_a_tampered_flight_is_refused(type_: HandshakeType, change: Tamper, alert: int) -> None:
    assert refusal_of({type_: change}).alert == alert
    if type_ in {T.CERTIFICATE, T.CERTIFICATE_VERIFY, T.FINISHED}:
        # And so is the client's.
        assert refusal_of({type_: [unchanged, change]}).alert == alert


@pytest.mark.parametrize(
    "change",
    [
        (T.ENCRYPTED_EXTENSIONS, with_extension(EncryptedExtensions, E.SUPPORTED_GROUPS, b"\0\2\0\x1d")),
        (T.CERTIFICATE_REQUEST, with_extension(CertificateRequest, 47, b"\0\0")),
        (T.CLIENT_HELLO, with_extension(ClientHello, 0x1234, b"unknown")),
        (T.CLIENT_HELLO, with_extension(ClientHello, E.SUPPORTED_VERSIONS, encode_versions([0xFEFC, 0x303]))),
    ],
)
def test_what_is_changed_but_sensible_is_found_out_by_signature(change: tuple[HandshakeType, Tamper]) -> None:
    refusal = refusal_of(dict([change]))
    # The transcripts differ: keys do when it was a hello, signatures otherwise.
    assert refusal.alert == A.DECRYPT_ERROR
    assert refusal.cause is FailureCause.AUTHENTICATION_FAILED


@pytest.mark.parametrize("deceived", ["server", "client"])
def test_a_certificate_other_than_announced_is_refused(deceived: str) -> None:
    wrong = {"remote_fingerprints": (Fingerprint("sha-256", bytes(32)),)}
    refusal = refusal_of({}, **{deceived: wrong})
    assert refusal.cause is FailureCause.FINGERPRINT_MISMATCH


def test_the_servers_profile_is_chosen_by_its_own_order() -> None:
    duet = Duet(
        server={"srtp_profiles": (SrtpProfile.AEAD_AES_128_GCM, SrtpProfile.AES128_CM_SHA1_80)},
        client={"srtp_profiles": (SrtpProfile.AES128_CM_SHA1_80, SrtpProfile.AEAD_AES_128_GCM)},
    )
    duet.run()
    assert duet.client.srtp_profile is SrtpProfile.AEAD_AES_128_GCM


S = SignatureScheme


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("p256", {S.ECDSA_SECP256R1_SHA256}),
        ("p384", {S.ECDSA_SECP384R1_SHA384}),
        ("rsa2048", {S.RSA_PSS_RSAE_SHA256, S.RSA_PSS_RSAE_SHA384, S.RSA_PSS_RSAE_SHA512}),
    ],
)
def test_each_kind_of_key_signs_with_its_own_schemes_and_never_pkcs1(
    kind: str, allowed: set[SignatureScheme]
) -> None:
    identity: Identity = make_identity(kind)
    key = identity.key.public_key()
    for scheme in SignatureScheme:
        if scheme in allowed:
            _check_scheme(key, scheme)
        else:
            with pytest.raises(DtlsError):
                _check_scheme(key, scheme)


# Every state and every message

BODIES = st.binary(max_size=40)


DUE = [(1, 0), (2, 0), (8, 2), (13, 2), (11, 2), (15, 2), (20, 2), (11, 2), (15, 2), (20, 2)]
"""Type and epoch of every message of a handshake."""


@pytest.mark.parametrize("index", range(10))
@given(type_=st.sampled_from(HandshakeType), data=BODIES, epoch=st.integers(0, 3))
@settings(max_examples=25)
@pytest.mark.slow
def test_in_each_state_any_message_but_the_due_one_is_a_violation(
    index: int, type_: HandshakeType, data: bytes, epoch: int
) -> None:
    duet = Duet()
    duet.run(limit=index)
    receiver = duet.client if index in range(1, 7) else duet.server
    before = receiver.state
    with pytest.raises((DtlsError, WireError)) as caught:
        receiver.handle_message(Message(type=type_, message_seq=9, body=data, epoch=epoch))
    if (type_, epoch) != DUE[index]:
        assert isinstance(caught.value, DtlsError)
        assert caught.value.alert == A.UNEXPECTED_MESSAGE
    assert not receiver.is_completed
    assert receiver.state is before


@pytest.mark.parametrize("role", [ServerHandshake, ClientHandshake])
def test_after_the_handshake_there_is_no_more_of_it(role: type[Handshake]) -> None:
    duet = Duet()
    duet.run()
    end = duet.server if role is ServerHandshake else duet.client
    assert end.state in {ServerState.COMPLETED, ClientState.COMPLETED}
    with pytest.raises(DtlsError) as caught:
        end.handle_message(Message(type=T.FINISHED, message_seq=9, body=b"", epoch=2))
    assert caught.value.alert == A.UNEXPECTED_MESSAGE
