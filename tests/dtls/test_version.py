"""Which version is chosen, by whom, and that nobody else can talk two ends down."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from tests.dtls.pair import DTLS_1_2, DTLS_1_3, Line, drain_events, drain_transmits, make_connection
from tests.dtls.test_connection import plain_handshake
from voicegate.dtls import (
    ApplicationData,
    ConnectionState,
    FailureCause,
    Group,
    HandshakeCompleted,
    HandshakeFailed,
    HandshakeStarted,
    KeysReady,
    ProtocolVersion,
    Role,
)
from voicegate.dtls.alert import AlertDescription
from voicegate.dtls.extension import Extension, ExtensionType, decode_versions, encode_versions
from voicegate.dtls.handshake import Fragment, HandshakeType
from voicegate.dtls.hello import DOWNGRADE_MARK, ClientHello, HelloVerifyRequest, ServerHello
from voicegate.dtls.record import Record
from voicegate.wire import Reader

NEW_ONLY = (ProtocolVersion.DTLS_1_3,)
CLASSIC = (Group.X25519,)
BODY = 25
"""Where a message's body begins in a record in the clear."""


def line_of(client: tuple[int, ...], server: tuple[int, ...], **options: Any) -> Line:
    return Line(
        client=make_connection(Role.CLIENT, versions=client, groups=CLASSIC, **options),
        server=make_connection(Role.SERVER, versions=server, groups=CLASSIC, **options),
    )


def hello_of(versions: tuple[int, ...]) -> ClientHello:
    client = make_connection(Role.CLIENT, versions=versions, groups=CLASSIC)
    client.start(now=0.0)
    (datagram,) = drain_transmits(client)
    return ClientHello.decode(Fragment.read(Reader(Record.read(Reader(datagram)).fragment)).body)


def with_versions(hello: ClientHello, data: bytes | None) -> bytes:
    extensions = [one for one in hello.extensions if one.type != ExtensionType.SUPPORTED_VERSIONS]
    if data is not None:
        extensions.append(Extension(ExtensionType.SUPPORTED_VERSIONS, data))
    return attrs.evolve(hello, extensions=tuple(extensions)).encode()


def answer_to(body: bytes, versions: tuple[int, ...] = DTLS_1_3) -> ServerHello:
    server = make_connection(Role.SERVER, versions=versions)
    server.handle_datagram(plain_handshake(HandshakeType.CLIENT_HELLO, body), now=0.0)
    record = Record.read(Reader(drain_transmits(server)[0]))
    return ServerHello.decode(Fragment.read(Reader(record.fragment)).body)


@pytest.mark.parametrize(
    ("client", "server", "version"),
    [
        (DTLS_1_3, DTLS_1_3, 0xFEFC),
        (DTLS_1_3, NEW_ONLY, 0xFEFC),
        (NEW_ONLY, DTLS_1_3, 0xFEFC),
        (DTLS_1_3, DTLS_1_2, 0xFEFD),
        (DTLS_1_2, DTLS_1_3, 0xFEFD),
        (DTLS_1_2, DTLS_1_2, 0xFEFD),
    ],
)
def test_the_newest_version_that_both_can_do_is_used(
    client: tuple[int, ...], server: tuple[int, ...], version: int
) -> None:
    line = line_of(client, server)
    line.handshake()
    assert line.client.version == line.server.version == version
    for end, events in ((line.client, line.client_events), (line.server, line.server_events)):
        assert [type(event) for event in events] == [HandshakeStarted, KeysReady, HandshakeCompleted]
        assert end.statistics().retransmissions == 0
        assert end.statistics().dropped == {}
    material = {end.export_keying_material("x", 20) for end in (line.client, line.server)}
    assert len(material) == 1
    line.client.send(b"up", now=line.now)
    line.run()
    assert line.server_events[-1] == ApplicationData(data=b"up")


@pytest.mark.parametrize(("client", "server"), [(NEW_ONLY, DTLS_1_2), (DTLS_1_2, NEW_ONLY)])
def test_without_a_version_in_common_both_ends_say_so(
    client: tuple[int, ...], server: tuple[int, ...]
) -> None:
    line = line_of(client, server)
    line.start()
    line.run()
    failed = line.server_events[-1]
    assert isinstance(failed, HandshakeFailed)
    assert failed.cause is FailureCause.NO_SHARED_PARAMETERS
    failed = line.client_events[-1]
    assert isinstance(failed, HandshakeFailed)
    assert (failed.cause, failed.alert) == (FailureCause.PEER_ALERT, AlertDescription.PROTOCOL_VERSION)


def test_a_hello_offers_both_versions_or_the_one() -> None:
    both, new, old = (hello_of(versions) for versions in (DTLS_1_3, NEW_ONLY, DTLS_1_2))
    assert both.versions == (0xFEFC, 0xFEFD)
    assert new.versions == (0xFEFC,)
    assert old.versions == (0xFEFD,)
    assert set(both.cipher_suites) == {*new.cipher_suites, *old.cipher_suites}
    assert old.extension(ExtensionType.SUPPORTED_VERSIONS) is None
    assert new.extension(ExtensionType.EXTENDED_MASTER_SECRET) is None
    assert both.extension(ExtensionType.EXTENDED_MASTER_SECRET) == b""


def test_a_hello_has_shares_of_the_post_quantum_group_and_of_x25519() -> None:
    client = make_connection(Role.CLIENT, versions=DTLS_1_3)
    client.start(now=0.0)
    # Two datagrams, as of a browser.
    assert [len(datagram) for datagram in drain_transmits(client)] == [1200, 239]


# The mark in the server's random


def test_a_client_that_cannot_do_1_3_gets_the_mark_from_a_server_that_can() -> None:
    assert answer_to(hello_of(DTLS_1_2).encode()).random.endswith(DOWNGRADE_MARK)
    assert not answer_to(hello_of(DTLS_1_2).encode(), DTLS_1_2).random.endswith(DOWNGRADE_MARK)


def test_a_client_that_offered_1_3_never_gets_the_mark() -> None:
    for versions in (DTLS_1_2, DTLS_1_3, (ProtocolVersion.DTLS_1_2, ProtocolVersion.DTLS_1_3)):
        hello = answer_to(hello_of(DTLS_1_3).encode(), versions)
        assert not hello.random.endswith(DOWNGRADE_MARK)


@pytest.mark.parametrize("data", [None, encode_versions([0xFEFD])])
def test_a_client_notices_that_its_offer_of_1_3_was_taken_out(data: bytes | None) -> None:
    client = make_connection(Role.CLIENT, versions=DTLS_1_3, groups=CLASSIC)
    server = make_connection(Role.SERVER, versions=DTLS_1_3)
    client.start(now=0.0)
    drain_transmits(client)
    tampered = with_versions(hello_of(DTLS_1_3), data)
    server.handle_datagram(plain_handshake(HandshakeType.CLIENT_HELLO, tampered), now=0.0)
    for datagram in drain_transmits(server):
        client.handle_datagram(datagram, now=0.0)
    _, failed = drain_events(client)
    assert isinstance(failed, HandshakeFailed)
    assert failed.alert == AlertDescription.ILLEGAL_PARAMETER
    assert "led to believe" in failed.detail


# What a server may answer


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([0x7F1C, 0xFEFC, 0x0303], 0xFEFC),
        ([0x0304, 0xFEFD], None),
        ([0xFEFD, 0xFEFC], 0xFEFC),
    ],
)
def test_versions_we_do_not_know_are_passed_over(versions: list[int], expected: int | None) -> None:
    hello = answer_to(with_versions(hello_of(DTLS_1_3), encode_versions(versions)))
    selected = hello.extension(ExtensionType.SUPPORTED_VERSIONS)
    assert selected == (None if expected is None else expected.to_bytes(2, "big"))


def test_a_list_of_versions_that_is_malformed_is_a_decode_error() -> None:
    server = make_connection(Role.SERVER, versions=DTLS_1_3)
    body = with_versions(hello_of(DTLS_1_3), b"\3\xfe\xfc")
    server.handle_datagram(plain_handshake(HandshakeType.CLIENT_HELLO, body), now=0.0)
    failed = drain_events(server)[-1]
    assert isinstance(failed, HandshakeFailed)
    assert failed.alert == AlertDescription.DECODE_ERROR
    assert decode_versions(b"\2\xfe\xfc") == (0xFEFC,)


def server_hello(change: Callable[[ServerHello], ServerHello]) -> bytes:
    return change(answer_to(hello_of(DTLS_1_3).encode(), DTLS_1_2)).encode()


@pytest.mark.parametrize(
    ("type_", "body", "alert"),
    [
        (HandshakeType.SERVER_HELLO, b"\xfe\xfd", AlertDescription.DECODE_ERROR),
        (HandshakeType.FINISHED, b"", AlertDescription.UNEXPECTED_MESSAGE),
        (
            HandshakeType.SERVER_HELLO,
            server_hello(lambda hello: attrs.evolve(hello, cipher_suite=0x1301)),
            AlertDescription.ILLEGAL_PARAMETER,
        ),
        (
            HandshakeType.SERVER_HELLO,
            server_hello(lambda hello: attrs.evolve(hello, version=0xFEFF)),
            AlertDescription.PROTOCOL_VERSION,
        ),
        (
            HandshakeType.SERVER_HELLO,
            server_hello(
                lambda hello: attrs.evolve(hello, extensions=(Extension(43, b"\xfe\xfd"), *hello.extensions))
            ),
            AlertDescription.PROTOCOL_VERSION,
        ),
    ],
)
def test_a_client_refuses_an_answer_that_is_of_neither_version(type_: int, body: bytes, alert: int) -> None:
    client = make_connection(Role.CLIENT, versions=DTLS_1_3, groups=CLASSIC)
    client.start(now=0.0)
    client.handle_datagram(plain_handshake(type_, body), now=0.0)
    assert client.state is ConnectionState.FAILED
    failed = drain_events(client)[-1]
    assert isinstance(failed, HandshakeFailed)
    assert failed.alert == alert


def test_a_client_that_offered_both_shows_its_cookie_to_an_old_server() -> None:
    client = make_connection(Role.CLIENT, versions=DTLS_1_3, groups=CLASSIC)
    server = make_connection(Role.SERVER, versions=DTLS_1_2)
    client.start(now=0.0)
    (first,) = drain_transmits(client)
    request = HelloVerifyRequest(version=0xFEFF, cookie=b"cookie")
    client.handle_datagram(plain_handshake(HandshakeType.HELLO_VERIFY_REQUEST, request.encode()), now=0.0)
    (second,) = drain_transmits(client)
    # Record number and message_seq go on; the message is the same but for its cookie.
    assert [Record.read(Reader(datagram)).sequence_number for datagram in (first, second)] == [0, 1]
    fragments = [
        Fragment.read(Reader(Record.read(Reader(datagram)).fragment)) for datagram in (first, second)
    ]
    assert [fragment.message_seq for fragment in fragments] == [0, 1]
    before, after = (ClientHello.decode(fragment.body) for fragment in fragments)
    assert after == attrs.evolve(before, cookie=b"cookie")
    # A server that has forgotten that it asked.
    server.handle_datagram(plain_handshake(HandshakeType.CLIENT_HELLO, fragments[1].body), now=0.0)
    assert drain_transmits(server)


def test_a_client_repeats_its_hello_until_an_old_server_has_said_all() -> None:
    line = line_of(DTLS_1_3, DTLS_1_2, mtu=300)
    lost = iter([False, True])
    line.downward = lambda _datagram: [] if next(lost, False) else [0.01]
    line.handshake()
    assert line.client.version == 0xFEFD
    assert line.client.statistics().retransmissions >= 1


def test_after_a_cookie_a_server_cannot_choose_1_3_any_more() -> None:
    client = make_connection(Role.CLIENT, versions=DTLS_1_3, groups=CLASSIC)
    client.start(now=0.0)
    request = HelloVerifyRequest(version=0xFEFF, cookie=b"cookie")
    client.handle_datagram(plain_handshake(HandshakeType.HELLO_VERIFY_REQUEST, request.encode()), now=0.0)
    chosen = Extension(ExtensionType.SUPPORTED_VERSIONS, b"\xfe\xfc")
    body = server_hello(lambda hello: attrs.evolve(hello, extensions=(chosen, *hello.extensions)))
    client.handle_datagram(plain_handshake(HandshakeType.SERVER_HELLO, body, message_seq=1), now=0.0)
    failed = drain_events(client)[-1]
    assert isinstance(failed, HandshakeFailed)
    assert failed.detail == "the server chose two versions"
