"""Records, flights, acknowledgements and keys of DTLS 1.3, on whole connections in virtual time."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dtls.pair import (
    CLIENT_CERTIFICATE,
    DTLS_1_3,
    SERVER_CERTIFICATE,
    Fate,
    Line,
    drain_events,
    drain_transmits,
    make_connection,
)
from tests.dtls.test_connection import plain, plain_handshake
from voicegate.dtls import (
    ApplicationData,
    Closed,
    ConnectionState,
    DropReason,
    DtlsConnection,
    Event,
    FailureCause,
    Fingerprint,
    Group,
    HandshakeCompleted,
    HandshakeFailed,
    HandshakeStarted,
    KeysReady,
    Role,
)
from voicegate.dtls.alert import AlertDescription
from voicegate.dtls.handshake import HandshakeType, Message
from voicegate.dtls.record import ContentType, Record
from voicegate.dtls.v13 import association as module
from voicegate.dtls.v13 import server as server_module
from voicegate.dtls.v13.association import Association
from voicegate.dtls.v13.cipher import CipherSuite
from voicegate.dtls.v13.message import Ack, KeyUpdate, RecordNumber
from voicegate.errors import UsageError

CLASSIC = (Group.X25519, Group.SECP256R1)


def line_of(**options: Any) -> Line:
    options.setdefault("versions", DTLS_1_3)
    return Line(
        client=make_connection(Role.CLIENT, **options), server=make_connection(Role.SERVER, **options)
    )


def completed(**options: Any) -> Line:
    line = line_of(**options)
    line.handshake()
    line.sent.clear()
    return line


def association_of(connection: DtlsConnection) -> Association:
    association = connection._association
    assert isinstance(association, Association)
    return association


def protected(connection: DtlsConnection, content_type: int, data: bytes, *, epoch: int = 3) -> bytes:
    """Have a connection protect what it would not send by itself."""
    return association_of(connection)._epochs.writing(epoch).protect(content_type, data)


def drops(connection: DtlsConnection) -> dict[DropReason, int]:
    return dict(connection.statistics().dropped)


def kinds(events: list[Event]) -> list[type[Event]]:
    return [type(event) for event in events]


def losing(*lost: int, delay: float = 0.01) -> Fate:
    """Lose the datagrams of these numbers."""
    count = -1

    def fate(_datagram: bytes) -> list[float]:
        nonlocal count
        count += 1
        return [] if count in lost else [delay]

    return fate


def data_in(events: list[Event]) -> list[bytes]:
    return [event.data for event in events if isinstance(event, ApplicationData)]


def deliver(datagrams: list[bytes], to: DtlsConnection, *, now: float = 0.0) -> None:
    for datagram in datagrams:
        to.handle_datagram(datagram, now=now)


def check_talking(line: Line) -> None:
    line.upward = line.downward = lambda _datagram: [0.0]
    line.client.send(b"up", now=line.now)
    line.server.send(b"down", now=line.now)
    line.run(until=line.now + 10)
    assert data_in(line.server_events)[-1] == b"up"
    assert data_in(line.client_events)[-1] == b"down"


# The way it should go


@pytest.mark.parametrize("groups", [tuple(Group), CLASSIC])
def test_a_handshake_takes_one_flight_each_way_and_one_more(groups: tuple[Group, ...]) -> None:
    line = line_of(groups=groups)
    line.handshake()
    for end, events in ((line.client, line.client_events), (line.server, line.server_events)):
        assert kinds(events) == [HandshakeStarted, KeysReady, HandshakeCompleted]
        assert (end.version, end.cipher_suite) == (0xFEFC, 0x1301)
        assert end.statistics().retransmissions == 0
        assert end.statistics().dropped == {}
        assert end.poll_timeout() is None
        assert end.flight == ()
    assert line.client.peer_certificate == SERVER_CERTIFICATE.der
    assert line.server.peer_certificate == CLIENT_CERTIFICATE.der
    # A post-quantum share is a datagram more each way. The last is the server's acknowledgement.
    sizes = [(role, len(datagram)) for role, datagram in line.sent]
    many = 2 if groups[0] is Group.X25519MLKEM768 else 1
    assert [role for role, _ in sizes] == [Role.CLIENT] * many + [Role.SERVER] * many + [
        Role.CLIENT,
        Role.SERVER,
    ]
    assert sizes[-1][1] == 40
    check_talking(line)


@pytest.mark.parametrize("group", Group)
@pytest.mark.parametrize("suite", CipherSuite)
def test_every_suite_goes_with_every_group(
    monkeypatch: pytest.MonkeyPatch, suite: CipherSuite, group: Group
) -> None:
    monkeypatch.setattr(server_module, "_choose_suite", lambda _hello: suite)
    line = completed(groups=[group])
    assert line.client.cipher_suite == line.server.cipher_suite == suite
    check_talking(line)
    association_of(line.client).update_keys(now=line.now, is_requested=True)
    line.run()
    check_talking(line)
    assert epochs(line.client) == epochs(line.server) == (4, 4)
    material = {end.export_keying_material("x", 60) for end in (line.client, line.server)}
    assert len(material) == 1


def test_both_ends_export_the_same_bytes_which_differ_by_label_and_context() -> None:
    line = completed()
    exported = set()
    for label, context in (("EXTRACTOR-dtls_srtp", None), ("EXTRACTOR-dtls_srtp", b"c"), ("other", None)):
        one, other = (end.export_keying_material(label, 88, context) for end in (line.client, line.server))
        assert one == other
        exported.add(one)
    assert len(exported) == 3
    # No context is an empty one (RFC 8446 §7.5), unlike in DTLS 1.2.
    assert line.client.export_keying_material("x", 9) == line.client.export_keying_material("x", 9, b"")


@given(st.sampled_from(list(Group)), st.integers(128, 1400))
@settings(max_examples=15)
@pytest.mark.slow
def test_no_handshake_datagram_exceeds_the_mtu(group: Group, mtu: int) -> None:
    line = line_of(mtu=mtu, groups=(group,))
    line.handshake()
    assert max(len(datagram) for _, datagram in line.sent) <= mtu


def test_a_retry_costs_a_round_trip_and_works() -> None:
    line = Line(
        client=make_connection(Role.CLIENT, versions=DTLS_1_3, groups=CLASSIC),
        server=make_connection(Role.SERVER, versions=DTLS_1_3, groups=[Group.SECP256R1]),
    )
    line.handshake()
    assert len(line.sent) == 6
    check_talking(line)


@pytest.mark.parametrize("lost", range(6))
def test_a_retry_outlives_the_loss_of_any_datagram(lost: int) -> None:
    for upward in (True, False):
        line = Line(
            client=make_connection(Role.CLIENT, versions=DTLS_1_3, groups=CLASSIC),
            server=make_connection(Role.SERVER, versions=DTLS_1_3, groups=[Group.SECP256R1]),
        )
        line.upward = losing(lost) if upward else losing()
        line.downward = losing() if upward else losing(lost)
        line.handshake()
        check_talking(line)


# Sending before the client is proven


def test_a_server_may_send_right_after_its_flight() -> None:
    line = line_of(groups=CLASSIC)
    line.client.start(now=0.0)
    assert not line.client.can_send
    deliver(drain_transmits(line.client), line.server)
    assert kinds(drain_events(line.server)) == [HandshakeStarted, KeysReady]
    assert line.server.can_send
    assert not line.server.is_completed
    assert line.server.state is ConnectionState.HANDSHAKING
    assert line.server.peer_certificate is None
    line.server.send(b"early", now=0.0)
    flight, early = drain_transmits(line.server)
    deliver([flight, early], line.client)
    assert kinds(drain_events(line.client)) == [
        HandshakeStarted,
        KeysReady,
        HandshakeCompleted,
        ApplicationData,
    ]
    assert line.server.export_keying_material("x", 20) == line.client.export_keying_material("x", 20)


def test_what_overtakes_the_servers_flight_waits_for_it() -> None:
    line = line_of(groups=CLASSIC)
    line.client.start(now=0.0)
    deliver(drain_transmits(line.client), line.server)
    line.server.send(b"early", now=0.0)
    deliver(drain_transmits(line.server)[::-1], line.client)
    assert data_in(drain_events(line.client)) == [b"early"]


def test_the_parts_of_a_flight_come_in_any_order() -> None:
    line = line_of()
    line.client.start(now=0.0)
    deliver(drain_transmits(line.client)[::-1], line.server)
    deliver(drain_transmits(line.server)[::-1], line.client)
    assert line.client.is_completed
    assert line.client.statistics().retransmissions == 0


def lost_proof() -> tuple[Line, list[bytes]]:
    """Return a line whose client is done, and its last flight, which has not arrived."""
    line = line_of(groups=CLASSIC)
    line.client.start(now=0.0)
    deliver(drain_transmits(line.client), line.server)
    deliver(drain_transmits(line.server), line.client)
    drain_events(line.client)
    drain_events(line.server)
    return line, drain_transmits(line.client)


def test_data_of_a_client_that_is_not_proven_is_held_until_it_is() -> None:
    line, proof = lost_proof()
    line.client.send(b"one", now=0.0)
    line.client.send(b"two", now=0.0)
    deliver(drain_transmits(line.client), line.server)
    assert drain_events(line.server) == []
    deliver(proof, line.server)
    events = drain_events(line.server)
    assert kinds(events) == [HandshakeCompleted, ApplicationData, ApplicationData]
    assert data_in(events) == [b"one", b"two"]


def test_data_of_a_client_that_fails_to_prove_itself_is_never_delivered() -> None:
    line = line_of(groups=CLASSIC)
    line.server = make_connection(
        Role.SERVER, versions=DTLS_1_3, remote_fingerprints=[Fingerprint("sha-256", bytes(32))]
    )
    line.client.start(now=0.0)
    deliver(drain_transmits(line.client), line.server)
    deliver(drain_transmits(line.server), line.client)
    proof = drain_transmits(line.client)
    line.client.send(b"sesame", now=0.0)
    deliver(drain_transmits(line.client) + proof, line.server)
    events = drain_events(line.server)
    assert kinds(events) == [HandshakeStarted, KeysReady, HandshakeFailed]
    failed = events[-1]
    assert isinstance(failed, HandshakeFailed)
    assert failed.cause is FailureCause.FINGERPRINT_MISMATCH
    assert not line.server.can_send
    # The client, done for its part, hears of it.
    deliver(drain_transmits(line.server), line.client)
    assert drain_events(line.client)[-1] == Closed(alert=AlertDescription.BAD_CERTIFICATE, is_remote=True)


@pytest.mark.parametrize(("size", "kept"), [(10, 32), (4000, 16)])
def test_only_so_much_is_held(size: int, kept: int) -> None:
    line, proof = lost_proof()
    for _ in range(40):
        line.client.send(bytes(size), now=0.0)
    deliver(drain_transmits(line.client) + proof, line.server)
    assert len(data_in(drain_events(line.server))) == kept
    assert drops(line.server)[DropReason.TOO_EARLY] == 40 - kept


def test_records_that_come_before_their_keys_are_held_within_bounds() -> None:
    client = make_connection(Role.CLIENT, versions=DTLS_1_3)
    client.start(now=0.0)
    for epoch in (2, 3):
        for _ in range(40):
            client.handle_datagram(bytes([0x2C | epoch, 0, 0, 0, 20]) + bytes(20), now=0.0)
    for epoch in (0, 1):
        client.handle_datagram(bytes([0x2C | epoch, 0, 0, 0, 20]) + bytes(20), now=0.0)
    assert drops(client) == {DropReason.TOO_EARLY: 48, DropReason.UNKNOWN_EPOCH: 2}
    assert drain_events(client) == []


# Loss


@pytest.mark.parametrize("lost", range(8))
@pytest.mark.parametrize("mtu", [300, 1200])
@pytest.mark.parametrize("is_upward", [True, False])
def test_a_handshake_outlives_the_loss_of_any_datagram(lost: int, mtu: int, is_upward: bool) -> None:
    line = line_of(mtu=mtu)
    line.upward = losing(lost) if is_upward else losing()
    line.downward = losing() if is_upward else losing(lost)
    line.handshake()
    assert kinds(line.client_events) == kinds(line.server_events)
    check_talking(line)


def test_a_client_names_what_it_has_and_only_the_rest_is_sent_again() -> None:
    line = line_of(mtu=300, groups=CLASSIC)
    # Of the server's flight the second datagram is lost.
    line.downward = losing(1)
    line.handshake()
    server_sent = [len(datagram) for role, datagram in line.sent if role is Role.SERVER]
    client_sent = [datagram for role, datagram in line.sent if role is Role.CLIENT]
    # One datagram again, then an acknowledgement; and the client never repeated its hello.
    assert line.server.statistics().retransmissions == 1
    assert len(server_sent) == 5
    assert [datagram[0] for datagram in client_sent[:3]] == [0x16, 0x2E, 0x2E]
    assert line.client.statistics().retransmissions == 0
    # Long before a retransmission timer: after a quarter of the first wait.
    assert line.now < 0.1


def test_a_server_names_what_it_has_of_the_clients_flight() -> None:
    line = line_of(mtu=300, groups=CLASSIC)
    line.upward = losing(2)
    line.handshake()
    assert line.client.statistics().retransmissions == 1
    assert line.server.statistics().retransmissions == 0
    assert line.now < 0.1


def test_a_hello_that_comes_again_is_answered_with_the_same_flight() -> None:
    server = make_connection(Role.SERVER, versions=DTLS_1_3)
    client = make_connection(Role.CLIENT, versions=DTLS_1_3)
    client.start(now=0.0)
    hello = drain_transmits(client)
    deliver(hello, server)
    first = drain_transmits(server)
    assert server.flight == tuple(first)
    # Copies set nothing off: those of the network, and those that each check of SPED carries.
    deliver(hello * 3, server, now=0.09)
    assert drain_transmits(server) == []
    assert drops(server) == {DropReason.REPLAYED: 6}
    client.handle_timeout(now=0.1)
    again = drain_transmits(client)
    deliver(again, server, now=0.01)
    assert drain_transmits(server) == []
    client.handle_timeout(now=0.31)
    deliver(drain_transmits(client), server, now=0.3)
    second = drain_transmits(server)
    assert [len(datagram) for datagram in second] == [len(datagram) for datagram in first]
    assert server.flight == tuple(second)
    # The ServerHello is the same but for its record number: nothing was begun anew.
    assert first[0][13:] == second[0][13:]
    deliver(second, client)
    assert client.is_completed


def test_a_lost_acknowledgement_is_made_again_when_the_flight_comes_again() -> None:
    line = line_of(groups=CLASSIC)
    line.downward = losing(1)
    line.handshake()
    assert line.client.statistics().retransmissions == 1
    assert [role for role, _ in line.sent] == [
        Role.CLIENT,
        Role.SERVER,
        Role.CLIENT,
        Role.SERVER,
        Role.CLIENT,
        Role.SERVER,
    ]
    # It lists the record that came last.
    assert len(line.sent[-1][1]) == 40
    assert line.client.poll_timeout() is None


def test_a_client_repeats_its_last_flight_until_it_is_acknowledged() -> None:
    line, proof = lost_proof()
    assert line.client.flight == tuple(proof)
    times = []
    for _ in range(5):
        timeout = line.client.poll_timeout()
        assert timeout is not None
        times.append(round(timeout, 3))
        line.client.handle_timeout(now=timeout)
        assert len(drain_transmits(line.client)) == 1
    assert times == [0.1, 0.3, 0.7, 1.5, 2.5]


def test_a_flight_that_comes_again_to_a_done_client_is_answered_with_its_own() -> None:
    line, _ = lost_proof()
    line.server.handle_timeout(now=0.1)
    deliver(drain_transmits(line.server), line.client, now=0.1)
    (proof,) = drain_transmits(line.client)
    line.server.handle_datagram(proof, now=0.1)
    assert line.server.is_completed


def test_the_round_trip_of_ice_sets_the_first_wait() -> None:
    server = make_connection(Role.SERVER, versions=DTLS_1_3)
    client = make_connection(Role.CLIENT, versions=DTLS_1_3)
    server.set_round_trip(0.2)
    client.start(now=0.0)
    deliver(drain_transmits(client), server)
    assert server.poll_timeout() == 0.4


def test_an_empty_acknowledgement_asks_for_all_that_is_missing() -> None:
    line, proof = lost_proof()
    ack = protected(line.server, ContentType.ACK, Ack(record_numbers=()).encode())
    line.client.handle_datagram(ack, now=0.05)
    assert len(drain_transmits(line.client)) == len(proof)


def test_acknowledgements_of_nothing_mean_nothing() -> None:
    line = completed()
    for data in (b"\0\0", b"\0\x10" + bytes(16), b"rubbish"):
        line.client.handle_datagram(protected(line.server, ContentType.ACK, data), now=1.0)
    assert drain_transmits(line.client) == []
    assert drops(line.client) == {DropReason.MALFORMED_RECORD: 1}


# Forgery


def test_what_is_forged_amid_the_handshake_changes_nothing() -> None:
    line = line_of(groups=CLASSIC)
    line.client.start(now=0.0)
    deliver(drain_transmits(line.client), line.server)
    (flight,) = drain_transmits(line.server)
    acknowledging_all = Ack(record_numbers=(RecordNumber(0, 0), RecordNumber(2, 0))).encode()
    forged = [
        plain(ContentType.ACK, acknowledging_all),
        plain(ContentType.APPLICATION_DATA, b"data"),
        plain(ContentType.CHANGE_CIPHER_SPEC, b"\1"),
        plain(ContentType.HANDSHAKE, b"", epoch=1),
        plain_handshake(HandshakeType.CERTIFICATE, b"", message_seq=1),
        b"\x2e\0\0\0\x14" + bytes(20),
        b"\x2f\0\0\0\x14" + bytes(20),
        b"\x2c\0\0\0\x14" + bytes(20),
        b"\x3e" + bytes(40),
        b"\x2e\0",
    ]
    deliver(forged, line.server)
    assert drain_transmits(line.server) == []
    assert drops(line.server) == {
        DropReason.UNPROTECTED: 2,
        DropReason.UNEXPECTED_RECORD: 2,
        DropReason.UNKNOWN_EPOCH: 2,
        DropReason.BAD_MAC: 2,
        DropReason.MALFORMED_RECORD: 2,
    }
    line.client.handle_datagram(flight, now=0.0)
    deliver(drain_transmits(line.client), line.server)
    assert line.server.is_completed


def test_what_is_forged_later_changes_nothing() -> None:
    line = completed()
    forged = [
        plain(ContentType.ALERT, b"\2\50"),
        plain(ContentType.ALERT, b"\1\0"),
        plain_handshake(HandshakeType.CLIENT_HELLO, bytes(40)),
        b"\x2f\0\0\0\x14" + bytes(20),
        b"\x2c\0\0\0\x14" + bytes(20),
        b"\x2d\0\0\0\x14" + bytes(20),
    ]
    for end in (line.client, line.server):
        deliver(forged, end)
        assert drain_events(end) == []
        assert drain_transmits(end) == []
        assert end.state is ConnectionState.COMPLETED
    check_talking(line)


def test_the_same_record_counts_once() -> None:
    line = completed()
    line.client.send(b"data", now=0.0)
    deliver(drain_transmits(line.client) * 3, line.server)
    assert data_in(drain_events(line.server)) == [b"data"]
    assert drops(line.server) == {DropReason.REPLAYED: 2}


@given(st.integers(0, 1), st.integers(0, 1300), st.integers(1, 255))
@settings(max_examples=60)
@pytest.mark.slow
def test_a_datagram_of_the_handshake_that_is_garbled_is_made_good(which: int, where: int, flip: int) -> None:
    """Whatever is protected may be changed on its way: it counts as lost."""
    line = line_of(groups=CLASSIC)
    seen = 0

    def garble(connection: DtlsConnection) -> Callable[..., None]:
        original = connection.handle_datagram

        def handle(data: bytes, *, now: float) -> None:
            nonlocal seen
            is_protected = data[0] >> 5 == 1
            if is_protected and seen == which:
                garbled = bytearray(data)
                garbled[where % len(data)] ^= flip
                data = bytes(garbled)
            seen += is_protected
            original(data, now=now)

        return handle

    line.server.handle_datagram = garble(line.server)  # type: ignore[method-assign]
    line.start()
    line.run()
    assert line.server.is_completed
    assert line.client.is_completed


def test_an_alert_in_the_clear_counts_until_the_peer_is_proven() -> None:
    line = line_of(groups=CLASSIC)
    line.client.start(now=0.0)
    deliver(drain_transmits(line.client), line.server)
    line.server.handle_datagram(plain(ContentType.ALERT, b"\2\x28"), now=0.0)
    failed = drain_events(line.server)[-1]
    assert isinstance(failed, HandshakeFailed)
    assert (failed.cause, failed.alert) == (FailureCause.PEER_ALERT, 40)


def test_a_record_longer_than_allowed_is_a_violation() -> None:
    line = completed()
    line.server.handle_datagram(protected(line.client, 23, bytes(2**14 + 1)), now=0.0)
    assert drain_events(line.server) == [Closed(alert=AlertDescription.RECORD_OVERFLOW, is_remote=False)]


def test_a_key_that_too_many_forgeries_were_tried_on_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FORGERIES", 3)
    line = completed()
    deliver([b"\x2f\0\0\0\x14" + bytes(20)] * 2, line.server)
    assert line.server.state is ConnectionState.COMPLETED
    deliver([b"\x2f\0\0\0\x14" + bytes(20)], line.server)
    assert drain_events(line.server) == [Closed(alert=AlertDescription.BAD_RECORD_MAC, is_remote=False)]


# Key updates


def epochs(connection: DtlsConnection) -> tuple[int, int]:
    association = association_of(connection)
    return association._epochs.newest_read, association._epochs.newest_write


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("is_requested", [False, True])
def test_keys_are_updated_once_the_peer_has_said_that_it_knows(role: Role, is_requested: bool) -> None:
    line = completed()
    end = line.end(role)
    other = line.end(Role.CLIENT if role is Role.SERVER else Role.SERVER)
    association_of(end).update_keys(now=0.0, is_requested=is_requested)
    assert epochs(end) == (3, 3)
    end.send(b"still the old keys", now=0.0)
    line.run()
    theirs = 4 if is_requested else 3
    assert epochs(end) == (theirs, 4)
    assert epochs(other) == (4, theirs)
    check_talking(line)
    for connection in (line.client, line.server):
        assert connection.poll_timeout() is None
        assert connection.flight == ()
        assert drops(connection) == {}


def test_both_ends_may_update_again_and_again_at_once() -> None:
    line = completed()
    for _ in range(7):
        for end in (line.client, line.server):
            association_of(end).update_keys(now=line.now, is_requested=True)
        line.run()
        check_talking(line)
    # Each asked and was asked, so two a time.
    assert epochs(line.client) == epochs(line.server) == (17, 17)
    assert drops(line.client) == drops(line.server) == {}


@given(st.lists(st.booleans(), max_size=6), st.lists(st.booleans(), max_size=6), st.booleans())
@settings(max_examples=40)
@pytest.mark.slow
def test_key_updates_outlive_losses(up: list[bool], down: list[bool], is_requested: bool) -> None:
    line = completed(groups=CLASSIC)
    fates = {True: iter(up), False: iter(down)}
    line.upward = lambda _datagram: [0.01] if next(fates[True], True) else []
    line.downward = lambda _datagram: [0.01] if next(fates[False], True) else []
    association_of(line.client).update_keys(now=line.now, is_requested=is_requested)
    line.run()
    assert epochs(line.client)[1] == 4
    assert epochs(line.server)[0] == 4
    check_talking(line)


def test_old_keys_stay_for_what_was_overtaken_and_new_ones_wait_for_the_news() -> None:
    line = completed()
    line.client.send(b"overtaken", now=0.0)
    (overtaken,) = drain_transmits(line.client)
    association_of(line.client).update_keys(now=0.0)
    (update,) = drain_transmits(line.client)
    # As if the acknowledgement had come: what is sent now may overtake the update's repetition.
    newer = association_of(line.client)._epochs.writing(3).next().protect(23, b"newer")
    line.server.handle_datagram(newer, now=0.0)
    assert drain_events(line.server) == []
    line.server.handle_datagram(update, now=0.0)
    line.server.handle_datagram(overtaken, now=0.0)
    assert data_in(drain_events(line.server)) == [b"newer", b"overtaken"]


def test_an_update_that_comes_again_is_acknowledged_again() -> None:
    line = completed()
    association_of(line.client).update_keys(now=0.0)
    deliver(drain_transmits(line.client), line.server)
    assert len(drain_transmits(line.server)) == 1
    line.client.handle_timeout(now=0.1)
    deliver(drain_transmits(line.client), line.server, now=0.1)
    (ack,) = drain_transmits(line.server)
    line.client.handle_datagram(ack, now=0.1)
    assert epochs(line.client) == (3, 4)
    assert epochs(line.server) == (4, 3)


def test_an_update_waits_until_the_clients_last_flight_is_acknowledged() -> None:
    line, proof = lost_proof()
    association_of(line.client).update_keys(now=0.0)
    assert drain_transmits(line.client) == []
    deliver(proof, line.server)
    line.run()
    assert epochs(line.client) == (3, 4)


def test_keys_are_updated_by_themselves_well_before_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEY_UPDATE_AT", 5)
    monkeypatch.setattr(module, "MAX_RECORDS", 12)
    line = completed()
    for number in range(40):
        line.client.send(bytes([number]), now=line.now)
        line.run()
        if number % 7 == 0:
            line.client.send(b"at once", now=line.now)
    assert [data for data in data_in(line.server_events) if data != b"at once"] == [
        bytes([number]) for number in range(40)
    ]
    assert epochs(line.client)[1] > 8
    # To a peer that is silent nothing more is said at last.
    association_of(line.client)._epochs.writing().next_number = 12
    with pytest.raises(UsageError, match="keys"):
        line.client.send(b"", now=line.now)


@pytest.mark.parametrize(
    ("type_", "body", "alert"),
    [
        (HandshakeType.KEY_UPDATE, b"\2", AlertDescription.DECODE_ERROR),
        (HandshakeType.KEY_UPDATE, b"", AlertDescription.DECODE_ERROR),
        (HandshakeType.CERTIFICATE_REQUEST, b"", AlertDescription.UNEXPECTED_MESSAGE),
        (HandshakeType.CLIENT_HELLO, b"", AlertDescription.UNEXPECTED_MESSAGE),
        (HandshakeType.FINISHED, b"", AlertDescription.UNEXPECTED_MESSAGE),
        (HandshakeType.NEW_SESSION_TICKET, b"", AlertDescription.UNEXPECTED_MESSAGE),
    ],
)
def test_after_the_handshake_a_client_may_only_update_keys(type_: int, body: bytes, alert: int) -> None:
    line = completed()
    message = Message(type=type_, message_seq=4, body=body)
    line.server.handle_datagram(protected(line.client, ContentType.HANDSHAKE, message.encode()), now=0.0)
    assert drain_events(line.server) == [Closed(alert=alert, is_remote=False)]


def test_a_ticket_is_acknowledged_and_thrown_away() -> None:
    line = completed()
    message = Message(type=HandshakeType.NEW_SESSION_TICKET, message_seq=6, body=b"ticket")
    line.client.handle_datagram(protected(line.server, ContentType.HANDSHAKE, message.encode()), now=0.0)
    assert drain_events(line.client) == []
    assert len(drain_transmits(line.client)) == 1


def test_an_update_under_old_keys_is_a_violation() -> None:
    line = completed()
    association_of(line.client).update_keys(now=0.0)
    deliver(drain_transmits(line.client), line.server)
    update = Message(
        type=HandshakeType.KEY_UPDATE, message_seq=5, body=KeyUpdate(is_requested=False).encode()
    )
    line.server.handle_datagram(protected(line.client, ContentType.HANDSHAKE, update.encode()), now=0.0)
    assert drain_events(line.server) == [Closed(alert=AlertDescription.UNEXPECTED_MESSAGE, is_remote=False)]


# The end


@pytest.mark.parametrize("closing", Role)
def test_either_end_closes_and_the_other_answers(closing: Role) -> None:
    line = completed()
    line.end(closing).close(now=0.0)
    line.run()
    events = [line.server_events, line.client_events]
    local, remote = events if closing is Role.SERVER else events[::-1]
    assert local[-1] == Closed(alert=0, is_remote=False)
    assert remote[-1] == Closed(alert=0, is_remote=True)
    assert len(line.sent) == 2
    assert not line.client.can_send
    with pytest.raises(UsageError):
        line.client.send(b"more", now=0.0)


def test_a_server_that_closes_early_is_heard() -> None:
    line = line_of(groups=CLASSIC)
    line.client.start(now=0.0)
    deliver(drain_transmits(line.client), line.server)
    line.server.close(now=0.0)
    deliver(drain_transmits(line.server), line.client)
    assert drain_events(line.client)[-1] == Closed(alert=0, is_remote=True)


def test_user_canceled_is_no_end_of_its_own() -> None:
    line = completed()
    line.client.handle_datagram(protected(line.server, ContentType.ALERT, b"\1\x5a"), now=0.0)
    line.client.handle_datagram(protected(line.server, ContentType.ALERT, b"\1"), now=0.0)
    assert drain_events(line.client) == []
    assert drops(line.client) == {DropReason.WARNING_ALERT: 1, DropReason.MALFORMED_RECORD: 1}


def test_all_other_alerts_are_fatal_whatever_they_say() -> None:
    line = completed()
    line.client.handle_datagram(protected(line.server, ContentType.ALERT, b"\1\x28"), now=0.0)
    assert drain_events(line.client) == [Closed(alert=40, is_remote=True)]


def test_content_of_unknown_type_is_dropped() -> None:
    line = completed()
    for content_type in (0, 20, 24, 25, 99):
        line.client.handle_datagram(protected(line.server, content_type, b"?"), now=0.0)
    assert drops(line.client) == {DropReason.UNEXPECTED_RECORD: 5}
    assert drain_events(line.client) == []


def test_a_fragment_that_cannot_be_kept_is_not_acknowledged() -> None:
    line = completed()
    for data in (b"\x18\0\0", Message(type=24, message_seq=90, body=b"\0").encode()):
        line.client.handle_datagram(protected(line.server, ContentType.HANDSHAKE, data), now=0.0)
    assert drain_transmits(line.client) == []
    assert drops(line.client) == {DropReason.MALFORMED_FRAGMENT: 1, DropReason.UNFITTING_FRAGMENT: 1}


def test_application_data_under_handshake_keys_has_no_place() -> None:
    line, _ = lost_proof()
    line.server.handle_datagram(protected(line.client, 23, b"data", epoch=2), now=0.0)
    assert drops(line.server) == {DropReason.UNEXPECTED_RECORD: 1}


def test_an_acknowledgement_lists_nothing_but_the_flight_it_is_for() -> None:
    line = line_of(groups=CLASSIC)
    line.client.start(now=0.0)
    deliver(drain_transmits(line.client), line.server)
    # Late repetitions of the hello, as of a client whose timer is faster than the line.
    for now in (0.1, 0.3):
        line.client.handle_timeout(now=now)
        deliver(drain_transmits(line.client), line.server, now=now)
    deliver(drain_transmits(line.server), line.client)
    deliver(drain_transmits(line.client), line.server)
    (ack,) = drain_transmits(line.server)
    assert len(ack) == 22 + 2 + 16


def test_who_asks_for_more_updates_than_there_are_numbers_gets_no_more() -> None:
    line = completed()
    association_of(line.server).handshake._next_sequence = 65535
    line.client._reassembler._next = 65535
    for _ in range(2):
        association_of(line.client).update_keys(now=line.now, is_requested=True)
        line.run()
    assert epochs(line.client) == (4, 5)
    assert epochs(line.server) == (5, 4)
    check_talking(line)


def test_only_so_many_record_numbers_of_a_hello_are_remembered() -> None:
    line = line_of(groups=CLASSIC)
    for number in range(100):
        line.server.handle_datagram(Record(22, 0xFEFF, 0, 1000 + number, b"").encode(), now=0.0)
    assert len(line.server._seen) == 64
    line.handshake()
