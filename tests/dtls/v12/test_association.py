import pytest

from tests.dtls.pair import Line, drain_events, drain_transmits, make_connection
from tests.dtls.test_connection import completed_line, drops, fatal, plain, plain_handshake
from voicegate.dtls import (
    ApplicationData,
    Closed,
    ConnectionState,
    DropReason,
    DtlsConnection,
    FailureCause,
    HandshakeFailed,
    Role,
)
from voicegate.dtls.alert import Alert, AlertDescription, AlertLevel
from voicegate.dtls.handshake import Fragment, HandshakeType, Message
from voicegate.dtls.record import ContentType, Record
from voicegate.dtls.v12.association import Association
from voicegate.errors import UsageError
from voicegate.wire import Reader


def protected(connection: DtlsConnection, content_type: int, data: bytes) -> bytes:
    """Have a connection protect what it would not send by itself."""
    association = connection._association
    assert isinstance(association, Association)
    return association._protect(content_type, data)


def fragment(type_: int, message_seq: int, body: bytes = b"") -> bytes:
    return Message(type=type_, message_seq=message_seq, body=body).encode()


def amid_handshake() -> Line:
    """Return a line whose server has answered the ClientHello."""
    line = Line(upward=lambda _datagram: [])
    line.start()
    for _, datagram in line.sent:
        line.server.handle_datagram(datagram, now=0.0)
    line.upward = lambda _datagram: [0.0]
    assert line.server.state is ConnectionState.HANDSHAKING
    drain_events(line.server)
    return line


# Records


def test_a_record_is_taken_once() -> None:
    line = completed_line()
    line.client.send(b"data", now=0.0)
    (datagram,) = drain_transmits(line.client)
    for _ in range(3):
        line.server.handle_datagram(datagram, now=0.0)
    assert drain_events(line.server) == [ApplicationData(data=b"data")]
    assert drops(line.server) == {DropReason.REPLAYED: 2}


def test_records_in_any_order_are_taken() -> None:
    line = completed_line()
    for number in range(60):
        line.client.send(bytes([number]), now=0.0)
    for datagram in reversed(drain_transmits(line.client)):
        line.server.handle_datagram(datagram, now=0.0)
    assert len(drain_events(line.server)) == 60


def test_a_forged_record_is_counted_and_does_not_move_the_replay_window() -> None:
    line = completed_line()
    line.client.send(b"data", now=0.0)
    (datagram,) = drain_transmits(line.client)
    forged = datagram[:-1] + bytes([datagram[-1] ^ 1])
    far_ahead = plain(ContentType.APPLICATION_DATA, bytes(40), epoch=1)[:5] + b"\xff" * 6 + datagram[11:]
    for one in (forged, far_ahead, datagram):
        line.server.handle_datagram(one, now=0.0)
    assert drain_events(line.server) == [ApplicationData(data=b"data")]
    assert drops(line.server) == {DropReason.BAD_MAC: 2}


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (plain(ContentType.APPLICATION_DATA, b"data", epoch=2), DropReason.UNKNOWN_EPOCH),
        (plain(ContentType.APPLICATION_DATA, b"data"), DropReason.UNEXPECTED_RECORD),
        (plain(ContentType.CHANGE_CIPHER_SPEC, b"\2"), DropReason.UNEXPECTED_RECORD),
        (plain(99, b"data"), DropReason.UNEXPECTED_RECORD),
        (plain(ContentType.ALERT, b"\2\50"), DropReason.UNPROTECTED),
        (plain(ContentType.ALERT, b"\1\0"), DropReason.UNPROTECTED),
        (plain_handshake(HandshakeType.CLIENT_HELLO, b"again"), DropReason.UNPROTECTED),
    ],
)
def test_nothing_in_the_clear_disturbs_a_completed_connection(datagram: bytes, reason: DropReason) -> None:
    line = completed_line()
    for end in (line.client, line.server):
        end.handle_datagram(datagram, now=1.0)
        assert end.state is ConnectionState.COMPLETED
        assert drain_transmits(end) == []
        assert drain_events(end) == []
        assert drops(end) == {reason: 1}


def test_a_change_cipher_spec_says_nothing_new() -> None:
    line = amid_handshake()
    line.server.handle_datagram(plain(ContentType.CHANGE_CIPHER_SPEC, b"\1"), now=0.0)
    line.run()
    assert line.server.is_completed
    assert drops(line.server) == {}


def test_a_protected_change_cipher_spec_is_out_of_place() -> None:
    line = completed_line()
    line.server.handle_datagram(protected(line.client, ContentType.CHANGE_CIPHER_SPEC, b"\1"), now=0.0)
    assert drops(line.server) == {DropReason.UNEXPECTED_RECORD: 1}


def test_only_so_many_records_wait_for_keys() -> None:
    line = amid_handshake()
    for _ in range(12):
        line.server.handle_datagram(plain(ContentType.HANDSHAKE, bytes(40), epoch=1), now=0.0)
    assert drops(line.server) == {DropReason.TOO_EARLY: 4}
    line.run()
    assert line.server.is_completed
    assert drops(line.server) == {DropReason.TOO_EARLY: 4, DropReason.BAD_MAC: 8}


def test_an_oversized_record_is_the_end() -> None:
    line = completed_line()
    datagram = protected(line.client, ContentType.APPLICATION_DATA, bytes(2**14 + 1))
    line.server.handle_datagram(datagram, now=0.0)
    assert drain_events(line.server) == [Closed(alert=AlertDescription.RECORD_OVERFLOW, is_remote=False)]
    line.run()
    assert line.client_events[-1] == Closed(alert=AlertDescription.RECORD_OVERFLOW, is_remote=True)


def test_there_is_no_protection_before_there_are_keys() -> None:
    with pytest.raises(UsageError):
        protected(amid_handshake().server, ContentType.ALERT, b"")


# Handshake messages


def test_a_malformed_fragment_does_not_undo_the_good_ones_before_it() -> None:
    line = amid_handshake()
    (answer,) = drain_transmits(line.server)
    hello = Record.read(Reader(answer))
    line.client.handle_datagram(plain(ContentType.HANDSHAKE, hello.fragment + b"\2\0\0"), now=0.0)
    line.client.handle_datagram(answer, now=0.0)
    assert drops(line.client) == {DropReason.MALFORMED_FRAGMENT: 1, DropReason.REPEATED_MESSAGE: 1}
    line.run()
    assert line.client.is_completed


def test_fragments_too_far_ahead_are_not_kept() -> None:
    line = amid_handshake()
    line.server.handle_datagram(plain_handshake(HandshakeType.FINISHED, b"", message_seq=50), now=0.0)
    assert drops(line.server) == {DropReason.UNFITTING_FRAGMENT: 1}


def test_a_forged_message_beyond_the_finished_does_no_harm() -> None:
    line = amid_handshake()
    line.server.handle_datagram(plain_handshake(HandshakeType.CERTIFICATE, b"", message_seq=5), now=0.0)
    line.run()
    assert line.server.is_completed
    line.server.send(b"data", now=0.0)
    line.run()
    assert line.client_events[-1] == ApplicationData(data=b"data")


@pytest.mark.parametrize(
    ("role", "type_"), [(Role.SERVER, HandshakeType.CLIENT_HELLO), (Role.CLIENT, HandshakeType.HELLO_REQUEST)]
)
def test_renegotiation_is_refused_once_and_then_ignored(role: Role, type_: HandshakeType) -> None:
    line = completed_line()
    end, other = line.end(role), line.client if role is Role.SERVER else line.server
    for number in range(3):
        end.handle_datagram(protected(other, ContentType.HANDSHAKE, fragment(type_, 7 + number)), now=1.0)
    (refusal,) = drain_transmits(end)
    assert drops(end) == {DropReason.UNEXPECTED_RECORD: 3}
    other.handle_datagram(refusal, now=1.0)
    assert drops(other) == {DropReason.WARNING_ALERT: 1}
    assert line.client.state is line.server.state is ConnectionState.COMPLETED


def test_other_messages_after_the_handshake_are_ignored() -> None:
    line = completed_line()
    datagram = protected(line.client, ContentType.HANDSHAKE, fragment(HandshakeType.CERTIFICATE, 9))
    line.server.handle_datagram(datagram, now=1.0)
    assert drain_transmits(line.server) == []
    assert line.server.state is ConnectionState.COMPLETED


def test_a_finished_that_comes_again_brings_the_last_flight_again() -> None:
    line = completed_line()
    last_flight = line.sent[-1][1]
    for number, now in enumerate((1.0, 1.001, 2.0)):
        finished = fragment(HandshakeType.FINISHED, 4, bytes(12))
        line.server.handle_datagram(protected(line.client, ContentType.HANDSHAKE, finished), now=now)
        assert len(drain_transmits(line.server)) == (0 if number == 1 else 1)
    assert line.server.statistics().retransmissions == 2
    assert line.server.poll_timeout() is None
    assert len(last_flight) == 75


def test_a_completed_client_never_repeats_a_flight() -> None:
    line = completed_line()
    for message_seq in range(6):
        finished = fragment(HandshakeType.FINISHED, message_seq, bytes(12))
        line.client.handle_datagram(protected(line.server, ContentType.HANDSHAKE, finished), now=1.0)
    assert drain_transmits(line.client) == []
    assert drops(line.client) == {DropReason.REPEATED_MESSAGE: 6}


def test_only_the_end_of_the_flight_before_brings_ours_again() -> None:
    line = amid_handshake()
    drain_transmits(line.server)
    hello = Fragment.read(Reader(Record.read(Reader(line.sent[0][1])).fragment))
    first, last = (
        Fragment(hello.type, hello.length, 0, start, hello.body[start:stop]).encode()
        for start, stop in ((0, 50), (50, None))
    )
    line.server.handle_datagram(plain(ContentType.HANDSHAKE, first), now=1.0)
    assert drain_transmits(line.server) == []
    line.server.handle_datagram(plain(ContentType.HANDSHAKE, last), now=1.0)
    assert len(drain_transmits(line.server)) == 1


def test_a_timer_that_is_not_due_sends_nothing() -> None:
    line = amid_handshake()
    drain_transmits(line.server)
    line.server.handle_timeout(now=0.05)
    assert drain_transmits(line.server) == []
    line.server.handle_timeout(now=0.1)
    assert len(drain_transmits(line.server)) == 1


# Alerts


def test_a_fatal_alert_in_the_clear_ends_a_handshake_that_has_no_keys_yet() -> None:
    line = amid_handshake()
    drain_transmits(line.server)
    line.server.handle_datagram(plain(ContentType.ALERT, fatal(40).encode()), now=0.0)
    (failed,) = drain_events(line.server)
    assert isinstance(failed, HandshakeFailed)
    assert (failed.cause, failed.alert, failed.is_remote) == (FailureCause.PEER_ALERT, 40, True)
    assert drain_transmits(line.server) == []


@pytest.mark.parametrize(
    ("alert", "reason"),
    [
        (
            Alert(level=AlertLevel.WARNING, description=AlertDescription.USER_CANCELED).encode(),
            DropReason.WARNING_ALERT,
        ),
        (b"\2", DropReason.MALFORMED_RECORD),
        (b"\2\50\0", DropReason.MALFORMED_RECORD),
    ],
)
def test_other_alerts_are_counted(alert: bytes, reason: DropReason) -> None:
    line = amid_handshake()
    line.server.handle_datagram(plain(ContentType.ALERT, alert), now=0.0)
    assert drops(line.server) == {reason: 1}
    line.run()
    assert line.server.is_completed


def test_an_alert_in_the_clear_does_not_stop_a_client_that_has_shown_its_keys() -> None:
    # The keys are there and the Finished has come, but the CertificateVerify before it is late.
    line = Line(client=make_connection(Role.CLIENT, mtu=128))
    line.upward = lambda datagram: [0.08 if datagram[13] == HandshakeType.CERTIFICATE_VERIFY else 0.0]
    line.start()
    line.run(until=0.05)
    assert line.server.state is ConnectionState.HANDSHAKING
    line.server.handle_datagram(plain(ContentType.ALERT, fatal(40).encode()), now=0.05)
    assert drops(line.server)[DropReason.UNPROTECTED] == 1
    line.run()
    assert line.server.is_completed


def test_a_protected_fatal_alert_closes_a_completed_connection() -> None:
    line = completed_line()
    alert = fatal(AlertDescription.INTERNAL_ERROR).encode()
    line.server.handle_datagram(protected(line.client, ContentType.ALERT, alert), now=0.0)
    assert drain_events(line.server) == [Closed(alert=80, is_remote=True)]
    assert drain_transmits(line.server) == []
    assert line.server.state is ConnectionState.CLOSED
