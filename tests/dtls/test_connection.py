from typing import Any

import attrs
import pytest

from tests.dtls.pair import (
    CLIENT_CERTIFICATE,
    SERVER_CERTIFICATE,
    Line,
    drain_events,
    drain_transmits,
    make_connection,
)
from voicegate.dtls import (
    ApplicationData,
    Closed,
    ConnectionState,
    DropReason,
    DtlsConnection,
    FailureCause,
    Fingerprint,
    HandshakeCompleted,
    HandshakeFailed,
    HandshakeStarted,
    KeysReady,
    Role,
    SrtpProfile,
)
from voicegate.dtls.alert import Alert, AlertDescription, AlertLevel
from voicegate.dtls.extension import Extension, ExtensionType, encode_versions
from voicegate.dtls.handshake import Fragment, HandshakeType, Message
from voicegate.dtls.hello import ClientHello
from voicegate.dtls.record import ContentType, ProtocolVersion, Record
from voicegate.dtls.v12.association import Association
from voicegate.errors import UsageError
from voicegate.wire import Reader

CLOSE_NOTIFY = Alert(level=AlertLevel.WARNING, description=AlertDescription.CLOSE_NOTIFY)


def plain(content_type: int, data: bytes, *, epoch: int = 0) -> bytes:
    return Record(content_type, ProtocolVersion.DTLS_1_2, epoch, 0, data).encode()


def plain_handshake(type_: int, body: bytes, *, message_seq: int = 0) -> bytes:
    message = Message(type=type_, message_seq=message_seq, body=body)
    return plain(ContentType.HANDSHAKE, message.encode())


def fatal(description: int) -> Alert:
    return Alert(level=AlertLevel.FATAL, description=description)


def alert_in(datagram: bytes) -> Alert:
    record = Record.read(Reader(datagram))
    assert record.content_type == ContentType.ALERT
    assert record.epoch == 0
    return Alert.decode(record.fragment)


def own_hello() -> ClientHello:
    client = make_connection(Role.CLIENT)
    client.start(now=0.0)
    (datagram,) = drain_transmits(client)
    return ClientHello.decode(Fragment.read(Reader(Record.read(Reader(datagram)).fragment)).body)


def failure_of(server: DtlsConnection, datagram: bytes) -> tuple[HandshakeFailed, Alert]:
    """Feed one datagram, which is to be the end, and return the event and the alert."""
    server.handle_datagram(datagram, now=0.0)
    started, failed = drain_events(server)
    assert started == HandshakeStarted()
    assert isinstance(failed, HandshakeFailed)
    assert server.state is ConnectionState.FAILED
    assert server.poll_timeout() is None
    (answer,) = drain_transmits(server)
    return failed, alert_in(answer)


def completed_line() -> Line:
    line = Line()
    line.handshake()
    return line


def drops(connection: DtlsConnection) -> dict[DropReason, int]:
    return dict(connection.statistics().dropped)


# The way it should go


def test_a_connection_passes_through_its_states_and_then_knows_what_was_negotiated() -> None:
    line = Line()
    for end in (line.client, line.server):
        assert end.state is ConnectionState.NEW
        assert (end.version, end.cipher_suite, end.srtp_profile, end.peer_certificate) == (None,) * 4
    line.start()
    assert line.client.state is ConnectionState.HANDSHAKING
    line.run()
    for end, events, certificate in (
        (line.client, line.client_events, SERVER_CERTIFICATE),
        (line.server, line.server_events, CLIENT_CERTIFICATE),
    ):
        assert end.state is ConnectionState.COMPLETED
        assert end.is_completed
        assert (end.version, end.cipher_suite) == (0xFEFD, 0xC02B)
        assert end.srtp_profile is SrtpProfile.AEAD_AES_256_GCM
        assert end.peer_certificate == certificate.der
        assert end.poll_timeout() is None
        assert events == [
            HandshakeStarted(),
            KeysReady(version=0xFEFD, cipher_suite=0xC02B, srtp_profile=SrtpProfile.AEAD_AES_256_GCM),
            HandshakeCompleted(
                version=0xFEFD, cipher_suite=0xC02B, srtp_profile=SrtpProfile.AEAD_AES_256_GCM
            ),
        ]


def test_both_ends_export_the_same_bytes_which_differ_by_label_and_context() -> None:
    line = completed_line()
    for context in (None, b"", b"context"):
        exported = line.client.export_keying_material("EXTRACTOR-dtls_srtp", 88, context)
        assert exported == line.server.export_keying_material("EXTRACTOR-dtls_srtp", 88, context)
        assert exported != line.server.export_keying_material("another", 88, context)


def test_the_profiles_given_are_the_ones_used() -> None:
    line = Line(server=make_connection(Role.SERVER, srtp_profiles=[SrtpProfile.AES128_CM_SHA1_80]))
    line.handshake()
    assert line.client.srtp_profile is SrtpProfile.AES128_CM_SHA1_80


def test_a_fingerprint_of_another_hash_will_do() -> None:
    wanted = [Fingerprint("sha-256", bytes(32)), Fingerprint.compute(CLIENT_CERTIFICATE.der, "sha-384")]
    line = Line(server=make_connection(Role.SERVER, remote_fingerprints=wanted))
    line.handshake()


def test_each_piece_of_data_is_one_record_in_one_datagram() -> None:
    line = completed_line()
    for data in (b"one", b"", bytes(2**14)):
        line.client.send(data, now=0.0)
    assert [len(datagram) - 37 for datagram in drain_transmits(line.client)] == [3, 0, 2**14]


def test_no_handshake_datagram_exceeds_the_mtu() -> None:
    line = Line(client=make_connection(Role.CLIENT, mtu=128), server=make_connection(Role.SERVER, mtu=128))
    line.handshake()
    assert max(len(datagram) for _, datagram in line.sent) <= 128


def test_statistics_count_what_came_and_went() -> None:
    line = completed_line()
    statistics = line.server.statistics()
    assert (statistics.datagrams_received, statistics.datagrams_sent) == (2, 2)
    assert statistics.records_received == 6
    assert statistics.retransmissions == 0


# Our caller's mistakes


@pytest.mark.parametrize(
    "options",
    [
        {"remote_fingerprints": []},
        {"srtp_profiles": []},
        {"mtu": 127},
        {"versions": []},
        {"versions": [ProtocolVersion.DTLS_1_0]},
        {"groups": []},
    ],
)
def test_a_connection_that_could_never_complete_is_not_made(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        make_connection(Role.SERVER, **options)


def test_only_a_client_is_started_and_only_once() -> None:
    with pytest.raises(UsageError):
        make_connection(Role.SERVER).start(now=0.0)
    client = make_connection(Role.CLIENT)
    client.start(now=0.0)
    with pytest.raises(UsageError):
        client.start(now=0.0)


def test_nothing_is_sent_or_exported_before_completion() -> None:
    client = make_connection(Role.CLIENT)
    for _ in range(2):
        with pytest.raises(UsageError):
            client.send(b"data", now=0.0)
        with pytest.raises(UsageError):
            client.export_keying_material("label", 1)
        if client.state is ConnectionState.NEW:
            client.start(now=0.0)


def test_nothing_is_sent_after_the_end_or_beyond_a_records_size() -> None:
    line = completed_line()
    with pytest.raises(UsageError):
        line.client.send(bytes(2**14 + 1), now=0.0)
    line.client.close(now=0.0)
    with pytest.raises(UsageError):
        line.client.send(b"data", now=0.0)


def test_sequence_numbers_are_not_used_up_to_the_last() -> None:
    line = completed_line()
    association = line.client._association
    assert isinstance(association, Association)
    association._next_numbers[1] = 2**48 - 2**16
    with pytest.raises(UsageError, match="sequence numbers"):
        line.client.send(b"data", now=0.0)


# Hellos that cannot be answered


@pytest.mark.parametrize(
    "hello",
    [
        attrs.evolve(own_hello(), version=0xFEFF),
        attrs.evolve(own_hello(), version=0x0303),
        attrs.evolve(
            own_hello(), extensions=(Extension(ExtensionType.SUPPORTED_VERSIONS, encode_versions([0xFEFC])),)
        ),
    ],
    ids=["1.0 only", "TLS", "1.3 only"],
)
def test_a_client_that_cannot_do_1_2_is_told_so(hello: ClientHello) -> None:
    datagram = plain_handshake(HandshakeType.CLIENT_HELLO, hello.encode())
    failed, alert = failure_of(make_connection(Role.SERVER), datagram)
    assert alert == fatal(AlertDescription.PROTOCOL_VERSION)
    assert failed == HandshakeFailed(
        cause=FailureCause.NO_SHARED_PARAMETERS,
        alert=AlertDescription.PROTOCOL_VERSION,
        detail="no DTLS version in common",
        is_remote=False,
    )


def test_versions_we_do_not_know_are_ignored() -> None:
    hello = own_hello()
    versions = Extension(ExtensionType.SUPPORTED_VERSIONS, encode_versions([0xFEFC, 0xFEFD, 0x0303]))
    hello = attrs.evolve(hello, extensions=(versions, *hello.extensions))
    server = make_connection(Role.SERVER)
    server.handle_datagram(plain_handshake(HandshakeType.CLIENT_HELLO, hello.encode()), now=0.0)
    assert server.state is ConnectionState.HANDSHAKING
    assert drain_transmits(server)


@pytest.mark.parametrize(
    ("type_", "body", "expected"),
    [
        (HandshakeType.CLIENT_HELLO, b"\xfe\xfd", AlertDescription.DECODE_ERROR),
        (HandshakeType.SERVER_HELLO, b"", AlertDescription.UNEXPECTED_MESSAGE),
        (HandshakeType.FINISHED, bytes(12), AlertDescription.UNEXPECTED_MESSAGE),
    ],
)
def test_what_is_no_client_hello_is_a_violation(type_: int, body: bytes, expected: int) -> None:
    failed, alert = failure_of(make_connection(Role.SERVER), plain_handshake(type_, body))
    assert failed.cause is FailureCause.PROTOCOL_VIOLATION
    assert alert == fatal(expected)


def test_a_malformed_message_later_on_is_a_violation() -> None:
    line = Line()
    line.start()
    line.run(until=-1.0)
    line.client.handle_datagram(plain_handshake(HandshakeType.SERVER_HELLO, b"\xfe\xfd"), now=0.0)
    _, failed = drain_events(line.client)
    assert isinstance(failed, HandshakeFailed)
    assert failed.cause is FailureCause.PROTOCOL_VIOLATION
    assert failed.alert == AlertDescription.DECODE_ERROR
    assert alert_in(drain_transmits(line.client)[-1]) == fatal(AlertDescription.DECODE_ERROR)


# Certificates


@pytest.mark.parametrize("deceived", [Role.SERVER, Role.CLIENT])
def test_a_certificate_other_than_announced_ends_the_handshake_at_both_ends(deceived: Role) -> None:
    wrong = [Fingerprint("sha-256", bytes(32))]
    line = Line()
    if deceived is Role.SERVER:
        line.server = make_connection(Role.SERVER, remote_fingerprints=wrong)
    else:
        line.client = make_connection(Role.CLIENT, remote_fingerprints=wrong)
    line.start()
    line.run()
    events = [line.server_events, line.client_events]
    local, remote = events if deceived is Role.SERVER else events[::-1]
    failed = local[-1]
    assert isinstance(failed, HandshakeFailed)
    assert failed.cause is FailureCause.FINGERPRINT_MISMATCH
    assert failed.alert == AlertDescription.BAD_CERTIFICATE
    assert not failed.is_remote
    assert remote[-1] == HandshakeFailed(
        cause=FailureCause.PEER_ALERT,
        alert=AlertDescription.BAD_CERTIFICATE,
        detail="the peer sent alert 42",
        is_remote=True,
    )
    assert not any(isinstance(event, HandshakeCompleted) for event in local + remote)


# Time


def test_a_server_that_never_hears_its_client_gives_up() -> None:
    server = make_connection(Role.SERVER, now=100.0)
    assert server.poll_timeout() == 160.0
    server.handle_timeout(now=159.0)
    assert drain_events(server) == []
    server.handle_timeout(now=160.0)
    assert drain_events(server) == [
        HandshakeFailed(
            cause=FailureCause.TIMED_OUT, alert=None, detail="the peer was not heard in time", is_remote=False
        )
    ]
    assert drain_transmits(server) == []
    server.handle_timeout(now=161.0)
    assert drain_events(server) == []


def test_a_handshake_that_gets_stuck_gives_up() -> None:
    line = Line(downward=lambda _datagram: [])
    line.start()
    line.run(until=100.0)
    server, client = line.server_events[-1], line.client_events[-1]
    assert isinstance(server, HandshakeFailed)
    assert isinstance(client, HandshakeFailed)
    assert server.detail == "the handshake was not over in time"
    assert client.detail == "the peer was not heard in time"
    # Doubling to one a second.
    assert 55 < line.client.statistics().retransmissions < 70


# The end


@pytest.mark.parametrize("closing", [Role.SERVER, Role.CLIENT])
def test_either_end_closes_and_the_other_answers(closing: Role) -> None:
    line = completed_line()
    line.end(closing).close(now=0.0)
    line.run()
    events = [line.server_events, line.client_events]
    local, remote = events if closing is Role.SERVER else events[::-1]
    assert local[-1] == Closed(alert=0, is_remote=False)
    assert remote[-1] == Closed(alert=0, is_remote=True)
    assert line.server.state is line.client.state is ConnectionState.CLOSED
    assert line.server.is_completed
    # One close_notify each way.
    assert len(line.sent) == 6
    line.end(closing).close(now=0.0)
    assert drain_events(line.end(closing)) == []


def test_closing_before_anything_was_said_is_silent() -> None:
    for role in Role:
        connection = make_connection(role)
        connection.close(now=0.0)
        assert drain_transmits(connection) == []
        assert drain_events(connection) == [Closed(alert=0, is_remote=False)]


def test_closing_amid_the_handshake_tells_the_peer() -> None:
    line = Line()
    line.start()
    line.client.close(now=0.0)
    line.run()
    assert line.client_events == [Closed(alert=0, is_remote=False)]
    assert line.server_events[-1] == HandshakeFailed(
        cause=FailureCause.PEER_ALERT, alert=0, detail="the peer sent alert 0", is_remote=True
    )


def test_what_is_pending_when_the_peer_closes_is_discarded() -> None:
    line = completed_line()
    line.client.close(now=0.0)
    line.server.send(b"pending", now=0.0)
    for datagram in drain_transmits(line.client):
        line.server.handle_datagram(datagram, now=0.0)
    assert len(drain_transmits(line.server)) == 1


def test_data_before_our_own_close_is_still_sent() -> None:
    line = completed_line()
    line.client.send(b"bye", now=0.0)
    line.client.close(now=0.0)
    line.run()
    assert line.server_events[-2:] == [ApplicationData(data=b"bye"), Closed(alert=0, is_remote=True)]


def test_a_peer_that_did_not_hear_the_last_alert_gets_it_once_more() -> None:
    line = completed_line()
    line.client.close(now=0.0)
    (close_notify,) = drain_transmits(line.client)
    for _ in range(3):
        line.server.send(b"still talking", now=0.0)
    datagrams = drain_transmits(line.server)
    line.client.handle_datagram(datagrams[0], now=0.0)
    assert drain_transmits(line.client) == [close_notify]
    for datagram in datagrams[1:]:
        line.client.handle_datagram(datagram, now=0.0)
    assert drain_transmits(line.client) == []
    assert drain_events(line.client) == [Closed(alert=0, is_remote=False)]
    assert drops(line.client) == {DropReason.AFTER_END: 3}


def test_an_alert_after_the_end_gets_no_answer() -> None:
    line = completed_line()
    line.client.close(now=0.0)
    drain_transmits(line.client)
    line.client.handle_datagram(plain(ContentType.ALERT, b"\2\0"), now=0.0)
    assert drain_transmits(line.client) == []


def test_after_a_timeout_nothing_is_said_to_anybody() -> None:
    server = make_connection(Role.SERVER)
    server.handle_timeout(now=60.0)
    server.handle_datagram(plain_handshake(HandshakeType.CLIENT_HELLO, own_hello().encode()), now=61.0)
    assert drain_transmits(server) == []


def test_records_behind_a_fatal_one_are_not_looked_at() -> None:
    server = make_connection(Role.SERVER)
    datagram = plain_handshake(HandshakeType.FINISHED, b"")
    server.handle_datagram(datagram * 3, now=0.0)
    assert server.statistics().records_received == 1


# Before the ClientHello


def test_before_a_client_hello_only_its_fragments_count() -> None:
    server = make_connection(Role.SERVER)
    for datagram in (
        b"",
        b"\x16",
        plain(ContentType.ALERT, b"\2\50"),
        plain(ContentType.APPLICATION_DATA, b"data"),
        plain(ContentType.HANDSHAKE, b"", epoch=1),
        plain(ContentType.HANDSHAKE, b"\1\0\0"),
        plain(ContentType.HANDSHAKE, Fragment(1, 20_000, 0, 0, b"too long").encode()),
    ):
        server.handle_datagram(datagram, now=0.0)
    assert server.state is ConnectionState.NEW
    assert drain_events(server) == []
    assert drops(server) == {
        DropReason.MALFORMED_RECORD: 1,
        DropReason.UNEXPECTED_RECORD: 3,
        DropReason.MALFORMED_FRAGMENT: 1,
        DropReason.UNFITTING_FRAGMENT: 1,
    }


def test_a_client_that_was_not_started_hears_nothing() -> None:
    client = make_connection(Role.CLIENT)
    client.handle_datagram(plain_handshake(HandshakeType.SERVER_HELLO, b""), now=0.0)
    assert client.state is ConnectionState.NEW
    assert drops(client) == {DropReason.UNEXPECTED_RECORD: 1}


def test_the_good_records_before_a_bad_one_are_used() -> None:
    hello = plain_handshake(HandshakeType.CLIENT_HELLO, own_hello().encode())
    server = make_connection(Role.SERVER)
    server.handle_datagram(hello + b"\x16\x03\x03rubbish behind it", now=0.0)
    assert drain_transmits(server)
    assert drops(server) == {DropReason.MALFORMED_RECORD: 1}


def test_a_flight_is_there_until_it_is_answered() -> None:
    line = Line()
    assert line.client.flight == line.server.flight == ()
    line.client.start(now=0.0)
    hello = drain_transmits(line.client)
    assert line.client.flight == tuple(hello)
    line.server.handle_datagram(hello[0], now=0.0)
    answer = drain_transmits(line.server)
    assert line.server.flight == tuple(answer)
    line.client.handle_datagram(answer[0], now=0.0)
    proof = drain_transmits(line.client)
    assert line.client.flight == tuple(proof)
    line.server.handle_datagram(proof[0], now=0.0)
    finished = drain_transmits(line.server)
    # Nothing answers the last one but data.
    assert line.server.flight == tuple(finished)
    line.client.handle_datagram(finished[0], now=0.0)
    assert line.client.flight == ()
    line.client.send(b"data", now=0.0)
    for datagram in drain_transmits(line.client):
        line.server.handle_datagram(datagram, now=0.0)
    assert line.server.flight == ()


def test_sending_is_allowed_while_there_are_keys() -> None:
    line = Line()
    seen = [line.client.can_send]
    line.handshake()
    seen.append(line.client.can_send)
    line.client.close(now=0.0)
    seen.append(line.client.can_send)
    assert seen == [False, True, False]
    assert line.client.is_completed
