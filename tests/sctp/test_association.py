"""An association's behaviour, from its beginning to its end."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from tests.sctp.pair import (
    Pair,
    chunks_of,
    drain_events,
    drain_transmits,
    established,
    make_association,
    packet_to,
)
from voicegate.errors import UsageError
from voicegate.sctp import (
    SEND_BUFFER,
    AssociationClosed,
    AssociationEstablished,
    AssociationState,
    CloseCause,
    DropReason,
    Init,
    MessageReceived,
    SctpAssociation,
    StreamsReset,
)
from voicegate.sctp.chunk import ChunkType, Data, DataFlag, ForwardTsn, Sack, Shutdown, encode_chunk
from voicegate.sctp.packet import Packet
from voicegate.sctp.parameter import CauseCode, Parameter, ParameterType, decode_parameters
from voicegate.sctp.reconfiguration import AddStreams, IncomingReset, OutgoingReset, Response, Result
from voicegate.sctp.transfer import SEND_MESSAGES

WHOLE = int(DataFlag.BEGIN | DataFlag.END)
MASK = 0xFFFF_FFFF


def deliver(packets: list[bytes], to: SctpAssociation, *, now: float = 0.0) -> list[bytes]:
    """Hand packets over and return the answers."""
    answers = []
    for packet in packets:
        to.handle_datagram(packet, now=now)
        answers += drain_transmits(to)
    return answers


def init_of(association: SctpAssociation, **changes: Any) -> bytes:
    """Make the packet with an association's INIT, changed."""
    init = attrs.evolve(association.init, **changes)
    return Packet(5000, 5000, 0, (init.encode(),)).encode()


# The beginning


def test_four_packets_make_an_association_and_data_go_with_the_cookie() -> None:
    one, other = make_association(1), make_association(2)
    one.send(0, 51, b"early", now=0.0)
    one.start(now=0.0)
    inits = drain_transmits(one)
    assert chunks_of(inits) == [[ChunkType.INIT]]
    answers = deliver(inits, other)
    assert chunks_of(answers) == [[ChunkType.INIT_ACK]]
    assert other.state is AssociationState.NEW
    echoes = deliver(answers, one)
    assert chunks_of(echoes) == [[ChunkType.COOKIE_ECHO, ChunkType.DATA]]
    acknowledgements = deliver(echoes, other)
    assert chunks_of(acknowledgements) == [[ChunkType.COOKIE_ACK, ChunkType.SACK]]
    assert drain_events(other) == [
        AssociationEstablished(outbound_streams=1024, inbound_streams=1024),
        MessageReceived(stream_id=0, protocol_id=51, data=b"early"),
    ]
    assert deliver(acknowledgements, one) == []
    assert one.is_established
    assert one.poll_timeout() is None


def test_only_one_packet_goes_before_the_cookie_is_acknowledged() -> None:
    pair = Pair()
    pair.one.send(0, 53, bytes(50_000), now=0.0)
    pair.one.start(now=0.0)
    (answer,) = deliver(drain_transmits(pair.one), pair.other)
    (echo,) = deliver([answer], pair.one)
    assert len(echo) <= 1160
    pair.one.send(1, 53, b"more", now=0.0)
    assert drain_transmits(pair.one) == []
    # The echo is lost, and comes again with the same data.
    pair.one.handle_timeout(now=pair.one.poll_timeout() or 0.0)
    (again,) = drain_transmits(pair.one)
    assert again == echo
    pair.now = 1.0
    for packet in deliver([again], pair.other, now=1.0):
        pair.one.handle_datagram(packet, now=1.0)
    pair.run()
    assert sorted(len(message.data) for message in pair.received(pair.other)) == [4, 50_000]


def test_what_went_with_the_cookie_is_waited_for_from_its_acknowledgement_on() -> None:
    one, other = make_association(1), make_association(2)
    one.set_round_trip(0.02)
    one.send(0, 53, b"early", now=0.0)
    one.start(now=0.0)
    deliver(deliver(drain_transmits(one), other), one)
    for now in (0.1, 0.3, 0.7):
        one.handle_timeout(now=now)
    acknowledgement = packet_to(one, encode_chunk(ChunkType.COOKIE_ACK))
    deliver([acknowledgement], one, now=1.2)
    assert one.is_established
    assert (one.poll_timeout() or 0.0) > 1.2
    one.handle_timeout(now=1.2)
    assert one.statistics().timeouts == 0


def test_snap_needs_no_packet() -> None:
    one, other = make_association(1), make_association(2)
    one.send(3, 51, b"greeting", now=0.0)
    one.start_with(other.init, now=0.0)
    other.start_with(one.init, now=0.0)
    assert chunks_of(drain_transmits(one)) == [[ChunkType.DATA]]
    assert drain_transmits(other) == []
    assert one.is_established
    assert other.is_established
    with pytest.raises(UsageError):
        one.start_with(other.init, now=0.0)


def test_starting_is_harmless_when_the_peer_was_first() -> None:
    one, other = make_association(1), make_association(2)
    one.start(now=0.0)
    answers = deliver(drain_transmits(one), other)
    other.start(now=0.0)
    assert drain_transmits(other) == []
    deliver(deliver(answers, one), other)
    other.start(now=0.0)
    one.start(now=0.0)
    assert drain_transmits(other) == drain_transmits(one) == []
    assert other.is_established


def test_the_fewer_streams_count() -> None:
    pair = Pair(one=make_association(1, streams=10), other=make_association(2, streams=300)).establish()
    with pytest.raises(UsageError):
        pair.other.send(10, 53, b"x", now=0.0)
    pair.other.send(9, 53, b"x", now=0.0)


def test_the_round_trip_of_ice_says_how_long_to_wait_for_an_answer() -> None:
    association = make_association()
    association.start(now=5.0)
    assert association.poll_timeout() == 6.0
    association = make_association()
    association.set_round_trip(0.2)
    association.start(now=5.0)
    assert association.poll_timeout() == 5.4


def test_an_init_nobody_answers_ends_the_association() -> None:
    pair = Pair()
    pair.fate = lambda _packet: False
    pair.one.start(now=0.0)
    pair.run()
    (event,) = pair.one_events
    assert isinstance(event, AssociationClosed)
    assert event.cause is CloseCause.TIMED_OUT
    assert pair.next_due() is None
    assert len(pair.sent) == 17


@pytest.mark.parametrize("change", [{"outbound_streams": 0}, {"inbound_streams": 0}, {"window": 1000}])
def test_an_init_from_which_nothing_can_begin_is_refused(change: dict[str, int]) -> None:
    one, other = make_association(1), make_association(2)
    (answer,) = deliver([init_of(other, **change)], one)
    assert chunks_of([answer]) == [[ChunkType.ABORT]]
    assert Packet.decode(answer).verification_tag == other.init.initiate_tag
    assert one.state is AssociationState.NEW


def test_an_init_without_tag_or_with_company_is_ignored() -> None:
    one, other = make_association(1), make_association(2)
    assert deliver([init_of(other, initiate_tag=0)], one) == []
    both = Packet(5000, 5000, 0, (other.init.encode(), encode_chunk(ChunkType.COOKIE_ACK))).encode()
    assert deliver([both], one) == []
    assert one.statistics().dropped == {DropReason.MALFORMED_CHUNK: 1, DropReason.WRONG_TAG: 1}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"outbound_streams": 0}, CauseCode.INVALID_PARAMETER),
        ({"parameters": ()}, CauseCode.MISSING_PARAMETER),
    ],
)
def test_an_init_ack_from_which_nothing_can_begin_ends_the_association(
    change: dict[str, Any], code: CauseCode
) -> None:
    one, other = make_association(1), make_association(2)
    one.start(now=0.0)
    (answer,) = deliver(drain_transmits(one), other)
    init = attrs.evolve(Init.decode(Packet.decode(answer).chunks[0]), **change)
    (refusal,) = deliver([packet_to(one, init.encode())], one)
    (abort,) = Packet.decode(refusal).chunks
    assert decode_parameters(abort[4:])[0].type == code
    (event,) = drain_events(one)
    assert isinstance(event, AssociationClosed)
    assert event.cause is CloseCause.PROTOCOL_VIOLATION


def test_an_init_ack_without_tag_is_ignored() -> None:
    one, other = make_association(1), make_association(2)
    one.start(now=0.0)
    drain_transmits(one)
    answer = attrs.evolve(other.init, initiate_tag=0, type=2)
    assert deliver([packet_to(one, answer.encode())], one) == []
    assert one.state is AssociationState.COOKIE_WAIT


def test_unknown_parameters_of_an_init_are_told_of_as_their_types_say() -> None:
    one, other = make_association(1), make_association(2)
    unknown = tuple(Parameter(kind, b"what") for kind in (0xFF01, 0xBF01, 0xC001, 0x7F01, 0xFF02))
    long = Parameter(0xFF03, bytes(1000))
    (answer,) = deliver([init_of(other, parameters=(*other.init.parameters, long, *unknown))], one)
    init = Init.decode(Packet.decode(answer).chunks[0])
    reports = [value for kind, value in init.parameters if kind == ParameterType.UNRECOGNIZED_PARAMETER]
    assert [decode_parameters(report)[0].type for report in reports] == [0xFF01, 0xC001, 0x7F01]


def test_unknown_parameters_of_an_init_ack_are_told_of_behind_the_cookie() -> None:
    one, other = make_association(1), make_association(2)
    one.start(now=0.0)
    (answer,) = deliver(drain_transmits(one), other)
    init = Init.decode(Packet.decode(answer).chunks[0])
    for length, kinds in ((4, [ChunkType.COOKIE_ECHO, ChunkType.ERROR]), (400, [ChunkType.COOKIE_ECHO])):
        one = make_association(1)
        one.start(now=0.0)
        drain_transmits(one)
        parameters = (*init.parameters, Parameter(0xFF01, bytes(length)))
        changed = attrs.evolve(init, parameters=parameters)
        assert chunks_of(deliver([packet_to(one, changed.encode())], one)) == [kinds]


def test_what_does_not_fit_behind_a_long_cookie_is_left_out() -> None:
    one, other = make_association(1), make_association(2)
    one.start(now=0.0)
    drain_transmits(one)
    parameters = (Parameter(ParameterType.STATE_COOKIE, bytes(1140)), Parameter(0xFF01, b"what"))
    answer = attrs.evolve(other.init, type=2, parameters=parameters)
    assert chunks_of(deliver([packet_to(one, answer.encode())], one)) == [[ChunkType.COOKIE_ECHO]]


def cookie_of(one: SctpAssociation, other: SctpAssociation) -> bytes:
    """Return the cookie that one gives to other."""
    (answer,) = deliver([init_of(other)], one)
    cookie = Init.decode(Packet.decode(answer).chunks[0]).get(ParameterType.STATE_COOKIE)
    assert cookie is not None
    return cookie


@pytest.mark.parametrize(
    "spoil", [lambda cookie: cookie[:-1], lambda _cookie: b"", lambda cookie: b"x" + cookie[1:]]
)
def test_a_cookie_that_is_not_ours_is_ignored(spoil: Callable[[bytes], bytes]) -> None:
    one, other = make_association(1), make_association(2)
    cookie = spoil(cookie_of(one, other))
    assert deliver([packet_to(one, encode_chunk(ChunkType.COOKIE_ECHO, cookie))], one) == []
    assert one.state is AssociationState.NEW
    assert one.statistics().dropped == {DropReason.BAD_COOKIE: 1}


def test_a_stale_cookie_is_refused_and_the_peer_begins_again() -> None:
    one, other = make_association(1), make_association(2)
    other.start(now=0.0)
    answers = deliver(drain_transmits(other), one)
    (echo,) = deliver(answers, other)
    (error,) = deliver([echo], one, now=100.0)
    cause = decode_parameters(Packet.decode(error).chunks[0][4:])[0]
    assert cause == Parameter(CauseCode.STALE_COOKIE, (40_000_000).to_bytes(4, "big"))
    inits = deliver([error], other, now=100.0)
    assert chunks_of(inits) == [[ChunkType.INIT]]
    deliver(
        deliver(deliver(deliver(inits, one, now=100.0), other, now=100.0), one, now=100.0), other, now=100.0
    )
    assert one.is_established
    assert other.is_established


def test_a_cookie_that_comes_again_is_acknowledged_again_even_when_stale() -> None:
    one, other = make_association(1), make_association(2)
    echo = packet_to(one, encode_chunk(ChunkType.COOKIE_ECHO, cookie_of(one, other)))
    assert chunks_of(deliver([echo], one)) == [[ChunkType.COOKIE_ACK]]
    assert chunks_of(deliver([echo], one, now=1000.0)) == [[ChunkType.COOKIE_ACK]]
    assert len(drain_events(one)) == 1


def test_a_cookie_for_another_peer_is_ignored_once_established() -> None:
    one, other = make_association(1), make_association(2)
    cookie = cookie_of(one, make_association(3))
    one.start_with(other.init, now=0.0)
    assert deliver([packet_to(one, encode_chunk(ChunkType.COOKIE_ECHO, cookie))], one) == []
    assert one.statistics().dropped == {DropReason.BAD_COOKIE: 1}


def test_a_peer_that_answers_with_another_tag_than_it_asked_with_is_taken_at_its_cookies_word() -> None:
    # Case B of the table in RFC 9260 §5.2.4.
    one, asking, answering = make_association(1), make_association(2), make_association(3)
    one.start(now=0.0)
    inits = drain_transmits(one)
    cookie = cookie_of(one, asking)
    deliver(deliver(inits, answering), one)
    assert one.state is AssociationState.COOKIE_ECHOED
    (answer,) = deliver([packet_to(one, encode_chunk(ChunkType.COOKIE_ECHO, cookie))], one)
    assert Packet.decode(answer).verification_tag == asking.init.initiate_tag
    assert one.is_established


def test_data_that_overtake_the_acknowledgement_of_the_cookie_are_taken() -> None:
    one, other = make_association(1), make_association(2)
    one.start(now=0.0)
    echoes = deliver(deliver(drain_transmits(one), other), one)
    other.send(0, 53, b"fast", now=0.0)
    (acknowledgement,) = deliver(echoes, other)
    other.send(0, 53, b"faster", now=0.0)
    (data,) = drain_transmits(other)
    deliver([data], one)
    assert one.is_established
    deliver([acknowledgement], one)
    assert [type(event) for event in drain_events(one)] == [
        AssociationEstablished,
        MessageReceived,
        MessageReceived,
    ]


def test_a_late_copy_of_the_peers_init_changes_nothing() -> None:
    pair = established()
    assert deliver([init_of(pair.other)], pair.one) == []
    assert pair.one.is_established


def test_a_peer_that_begins_anew_ends_the_association() -> None:
    pair = established()
    (abort,) = deliver([init_of(make_association(7))], pair.one)
    assert Packet.decode(abort).verification_tag == make_association(7).init.initiate_tag
    (event,) = drain_events(pair.one)
    assert isinstance(event, AssociationClosed)
    assert event.cause is CloseCause.RESTARTED
    assert event.is_remote


def test_options_that_make_no_sense_are_refused() -> None:
    for options in ({"mtu": 100}, {"streams": 0}, {"streams": 70_000}, {"max_message_size": 2_000_000}):
        with pytest.raises(UsageError):
            make_association(1, **options)


# Data


def test_every_second_packet_is_acknowledged_and_a_lone_one_soon() -> None:
    pair = established()
    first = pair.other.init.initial_tsn
    data = [Data(first + number & MASK, 0, number, 53, b"x", WHOLE).encode() for number in range(3)]
    assert deliver([packet_to(pair.one, data[0])], pair.one) == []
    assert pair.one.poll_timeout() == pytest.approx(0.02)
    assert chunks_of(deliver([packet_to(pair.one, data[1])], pair.one)) == [[ChunkType.SACK]]
    assert pair.one.poll_timeout() is None
    assert deliver([packet_to(pair.one, data[2])], pair.one) == []
    pair.one.handle_timeout(now=0.02)
    assert chunks_of(drain_transmits(pair.one)) == [[ChunkType.SACK]]


def test_an_acknowledgement_rides_with_an_answer() -> None:
    pair = established()
    data = Data(pair.other.init.initial_tsn, 0, 0, 53, b"x", WHOLE).encode()
    assert deliver([packet_to(pair.one, data)], pair.one) == []
    pair.one.send(0, 53, b"answer", now=0.0)
    assert chunks_of(drain_transmits(pair.one)) == [[ChunkType.SACK, ChunkType.DATA]]


def test_a_lone_message_asks_to_be_acknowledged_at_once() -> None:
    pair = established()
    pair.one.send(0, 53, b"x", now=0.0)
    (packet,) = drain_transmits(pair.one)
    assert Data.decode(Packet.decode(packet).chunks[0]).flags & DataFlag.IMMEDIATE
    assert chunks_of(deliver([packet], pair.other)) == [[ChunkType.SACK]]


def test_holes_and_repetitions_are_told_at_once() -> None:
    pair = established()
    first = pair.other.init.initial_tsn
    for number, gaps, duplicates in (
        (1, ((2, 2),), ()),
        (3, ((2, 2), (4, 4)), ()),
        (1, ((2, 2), (4, 4)), (1,)),
    ):
        data = Data(first + number & MASK, 0, number, 53, b"x", WHOLE).encode()
        (packet,) = deliver([packet_to(pair.one, data)], pair.one)
        sack = Sack.decode(Packet.decode(packet).chunks[0])
        assert sack.cumulative_tsn == first - 1 & MASK
        assert sack.gaps == gaps
        assert sack.duplicates == tuple(first + number & MASK for number in duplicates)


def test_the_window_shuts_until_messages_are_consumed() -> None:
    pair = established(receive_window=40_000, max_message_size=10_000)
    pair.consumes = False
    for _ in range(20):
        pair.one.send(0, 53, bytes(5000), now=0.0)
    pair.run(until=30.0)
    assert 30_000 < pair.other.statistics().unconsumed_bytes <= 50_000
    assert pair.one.is_established
    # Probes go on, and a peer that answers them is not given up.
    pair.run(until=200.0)
    assert pair.one.is_established
    assert pair.one.buffered_bytes > 0
    pair.consumes = True
    pair.other.consume(pair.other.statistics().unconsumed_bytes)
    pair.run()
    assert len(pair.received(pair.other)) == 20
    with pytest.raises(UsageError):
        pair.other.consume(1)


def test_what_is_buffered_is_known_and_limited() -> None:
    pair = established()
    pair.one.send(1, 53, bytes(100), now=0.0)
    pair.one.send(2, 53, bytes(50), now=0.0)
    assert (pair.one.buffered_bytes, pair.one.buffered(1), pair.one.buffered(2)) == (150, 100, 50)
    pair.run()
    assert (pair.one.buffered_bytes, pair.one.buffered(1)) == (0, 0)
    association = make_association()
    for _ in range(16):
        association.send(0, 53, bytes(SEND_BUFFER // 16), now=0.0)
    with pytest.raises(UsageError):
        association.send(0, 53, b"x", now=0.0)


@pytest.mark.slow
def test_the_number_of_messages_that_wait_is_limited() -> None:
    association = make_association()
    for _ in range(SEND_MESSAGES):
        association.send(0, 53, b"x", now=0.0)
    with pytest.raises(UsageError):
        association.send(0, 53, b"x", now=0.0)


def test_what_cannot_be_sent_is_refused() -> None:
    pair = established()
    with pytest.raises(UsageError):
        pair.one.send(0, 53, b"", now=0.0)
    for stream_id in (-1, 1024, 70_000):
        with pytest.raises(UsageError):
            pair.one.send(stream_id, 53, b"x", now=0.0)
        with pytest.raises(UsageError):
            pair.one.reset_streams([stream_id], now=0.0)
    with pytest.raises(UsageError):
        pair.one.send(0, 53, b"x", now=0.0, priority=0)
    pair.one.abort(now=0.0)
    with pytest.raises(UsageError):
        pair.one.send(0, 53, b"x", now=0.0)
    with pytest.raises(UsageError):
        pair.one.reset_streams([0], now=0.0)


def test_a_long_message_does_not_stop_others_for_longer_than_itself() -> None:
    pair = established()
    for _ in range(4):
        pair.one.send(0, 53, bytes(100_000), now=0.0)
    pair.one.send(1, 51, b"urgent", now=0.0)
    pair.run()
    assert [message.stream_id for message in pair.received(pair.other)] == [0, 1, 0, 0, 0]


def test_streams_share_the_line_by_their_priorities() -> None:
    pair = established()
    for _ in range(40):
        pair.one.send(1, 53, bytes(10_000), now=0.0, priority=256)
        pair.one.send(2, 53, bytes(10_000), now=0.0, priority=512)
    pair.run()
    order = [message.stream_id for message in pair.received(pair.other)][2:32]
    assert order.count(2) == 20


def test_a_heartbeat_is_answered() -> None:
    pair = established()
    (answer,) = deliver([packet_to(pair.one, encode_chunk(ChunkType.HEARTBEAT, b"\0\1\0\7abc"))], pair.one)
    assert Packet.decode(answer).chunks == (encode_chunk(ChunkType.HEARTBEAT_ACK, b"\0\1\0\7abc"),)


def test_what_has_no_place_now_is_counted() -> None:
    association = make_association()
    for kind in (
        ChunkType.DATA,
        ChunkType.SACK,
        ChunkType.HEARTBEAT,
        ChunkType.SHUTDOWN_ACK,
        ChunkType.COOKIE_ACK,
    ):
        chunk = {
            ChunkType.DATA: Data(1, 0, 0, 53, b"x", WHOLE).encode(),
            ChunkType.SACK: Sack(1, 1).encode(),
        }.get(kind, encode_chunk(kind))
        assert deliver([packet_to(association, chunk)], association) == []
    assert association.statistics().dropped == {DropReason.UNEXPECTED_CHUNK: 5}


def test_a_peer_that_takes_back_what_it_acknowledged_gets_it_again() -> None:
    pair = established()
    pair.one.send(0, 53, bytes(6000), now=0.0)
    packets = drain_transmits(pair.one)
    base = pair.one.init.initial_tsn - 1
    deliver([packet_to(pair.one, Sack(base & MASK, 10_000, ((2, 6),)).encode())], pair.one, now=0.1)
    deliver([packet_to(pair.one, Sack(base & MASK, 10_000, ((2, 3),)).encode())], pair.one, now=0.1)
    pair.now = 0.1
    del packets
    pair.run()
    assert [len(message.data) for message in pair.received(pair.other)] == [6000]


def test_expired_messages_are_not_even_begun() -> None:
    pair = established(receive_window=2000, max_message_size=1000)
    pair.consumes = False
    for _ in range(5):
        pair.one.send(0, 53, bytes(900), now=0.0)
    pair.one.send(0, 53, b"too late", now=0.0, lifetime=0.5)
    pair.run(until=5.0)
    pair.consumes = True
    pair.other.consume(pair.other.statistics().unconsumed_bytes)
    pair.run()
    assert len(pair.received(pair.other)) == 5
    assert pair.one.buffered_bytes == 0
    assert pair.one.statistics().abandoned == 1


def test_a_message_given_up_half_sent_does_not_stop_the_next() -> None:
    pair = established()
    pair.one.send(0, 53, bytes(100_000), now=0.0, lifetime=0.01)
    pair.one.send(0, 53, b"next", now=0.0)
    pair.fate = lambda _packet: pair.now > 0.5
    pair.run()
    assert [message.data for message in pair.received(pair.other)] == [b"next"]
    assert pair.one.buffered_bytes == 0
    assert pair.other._transfer.inbound._held == 0


def test_to_a_peer_that_cannot_skip_everything_is_sent_until_it_arrives() -> None:
    one, other = make_association(1), make_association(2)
    one.start_with(attrs.evolve(other.init, parameters=()), now=0.0)
    other.start_with(one.init, now=0.0)
    pair = Pair(one=one, other=other)
    pair.fate = lambda _packet: pair.now > 0.5
    one.send(0, 53, bytes(3000), now=0.0, max_retransmits=0, lifetime=0.1)
    pair.run()
    assert len(pair.received(other)) == 1


def test_a_skip_that_was_overtaken_does_not_set_a_stream_back() -> None:
    pair = established()
    first = pair.other.init.initial_tsn
    data = [
        Data(first + number & MASK, 0, number, 53, bytes([number]), WHOLE).encode() for number in range(4)
    ]
    deliver([packet_to(pair.one, *data[:3])], pair.one)
    deliver([packet_to(pair.one, ForwardTsn(first + 3 & MASK, ((0, 1), (1, 0xFFFF))).encode())], pair.one)
    late = Data(first + 4 & MASK, 0, 3, 53, b"next", WHOLE).encode()
    deliver([packet_to(pair.one, late)], pair.one)
    last = drain_events(pair.one)[-1]
    assert isinstance(last, MessageReceived)
    assert last.data == b"next"


def test_what_was_sent_twice_does_not_tell_the_round_trip() -> None:
    pair = established()
    pair.one.send(0, 53, b"x", now=0.0)
    drain_transmits(pair.one)
    pair.one.handle_timeout(now=1.0)
    sack = packet_to(pair.one, Sack(pair.one.init.initial_tsn, 10_000).encode())
    deliver([sack], pair.one, now=1.01)
    assert pair.one.statistics().retransmissions == 1
    assert pair.one.statistics().round_trip is None


def test_what_expires_while_it_waits_to_be_sent_again_is_given_up() -> None:
    pair = established()
    for number in range(5):
        pair.one.send(number, 53, bytes(1100), now=0.0, lifetime=1.02)
    pair.fate = lambda _packet: pair.now > 0.5
    pair.run()
    # The window is one packet then, which two of them stretch.
    assert [message.stream_id for message in pair.received(pair.other)] == [0, 1]
    assert pair.one.statistics().abandoned == 3
    assert pair.one.buffered_bytes == 0


def test_a_skip_that_tells_nothing_new_is_acknowledged() -> None:
    pair = established()
    stale = ForwardTsn(pair.other.init.initial_tsn - 1 & MASK).encode()
    assert chunks_of(deliver([packet_to(pair.one, stale)], pair.one)) == [[ChunkType.SACK]]


def test_many_streams_are_skipped_in_as_many_packets_as_it_takes() -> None:
    pair = established(mtu=512)
    for stream_id in range(300):
        pair.one.send(stream_id, 53, b"lost", now=0.0, max_retransmits=0)
    pair.fate = lambda _packet: pair.now > 0.1
    pair.run()
    assert pair.one.statistics().abandoned > 100
    assert max(len(packet) for _end, packet in pair.sent) <= 512
    assert pair.one.buffered_bytes == 0
    for stream_id in range(300):
        pair.one.send(stream_id, 53, b"kept", now=pair.now)
    pair.run()
    assert sorted(m.stream_id for m in pair.received(pair.other) if m.data == b"kept") == list(range(300))


def test_a_message_that_expires_while_it_is_sent_is_given_up_there_and_then() -> None:
    pair = established()
    pair.one.send(0, 53, bytes(200_000), now=0.0, lifetime=0.05)
    pair.one.send(0, 53, b"next", now=0.0)
    pair.run()
    assert [message.data for message in pair.received(pair.other)] == [b"next"]
    assert pair.one.statistics().timeouts == 0
    assert pair.other._transfer.inbound._held == 0


def test_a_second_loss_of_the_same_chunk_is_left_to_the_timer() -> None:
    pair = established()
    pair.one.send(0, 53, bytes(60_000), now=0.0)
    lost = pair.one.init.initial_tsn + 3 & MASK
    times = []

    def fate(packet: bytes) -> bool:
        chunks = [chunk for chunk in Packet.decode(packet).chunks if chunk[0] == ChunkType.DATA]
        if any(Data.decode(chunk).tsn == lost for chunk in chunks):
            times.append(pair.now)
        return not chunks or Data.decode(chunks[0]).tsn != lost or len(times) > 2

    pair.fate = fate
    pair.run()
    assert [len(message.data) for message in pair.received(pair.other)] == [60_000]
    assert len(times) == 3
    assert pair.one.statistics().timeouts == 1


def test_messages_that_waited_for_skipped_ones_come_out_in_order() -> None:
    pair = established()
    first = pair.other.init.initial_tsn
    for number in (2, 3, 5):
        data = Data(first + number & MASK, 0, number, 53, bytes([number]), WHOLE).encode()
        deliver([packet_to(pair.one, data)], pair.one)
    assert drain_events(pair.one) == []
    deliver([packet_to(pair.one, ForwardTsn(first + 1 & MASK, ((0, 1),)).encode())], pair.one)
    assert [event.data for event in drain_events(pair.one) if isinstance(event, MessageReceived)] == [
        b"\2",
        b"\3",
    ]
    deliver([packet_to(pair.one, ForwardTsn(first + 5 & MASK, ((0, 5),)).encode())], pair.one)
    assert [event.data for event in drain_events(pair.one) if isinstance(event, MessageReceived)] == [b"\5"]
    (again,) = deliver([packet_to(pair.one, ForwardTsn(first & MASK, ((0, 1),)).encode())], pair.one)
    assert Sack.decode(Packet.decode(again).chunks[0]).cumulative_tsn == first + 5 & MASK


# Resets


def reconfiguration(pair: Pair, parameter: Parameter) -> list[Response]:
    """Let a request arrive and return the answers."""
    packet = packet_to(pair.one, encode_chunk(ChunkType.RECONFIGURATION, parameter.encode()))
    chunks = [chunk for answer in deliver([packet], pair.one) for chunk in Packet.decode(answer).chunks]
    values = [decode_parameters(chunk[4:])[0] for chunk in chunks]
    return [
        Response.decode(value) for kind, value in values if kind == ParameterType.RECONFIGURATION_RESPONSE
    ]


def test_a_reset_waits_for_what_is_queued_and_nothing_can_be_sent_meanwhile() -> None:
    pair = established()
    pair.one.send(1, 53, bytes(50_000), now=0.0)
    pair.one.reset_streams([1, 2], now=0.0)
    with pytest.raises(UsageError):
        pair.one.send(1, 53, b"x", now=0.0)
    pair.run()
    assert {number for event in pair.one_events for number in getattr(event, "stream_ids", ())} == {1, 2}
    assert isinstance(pair.other_events[-1], StreamsReset)
    pair.one.send(1, 53, b"again", now=pair.now)
    pair.run()
    assert pair.received(pair.other)[-1].data == b"again"


def test_a_reset_wanted_before_the_beginning_is_done_after_it() -> None:
    pair = Pair()
    pair.one.send(1, 53, b"x", now=0.0)
    pair.one.reset_streams([1], now=0.0)
    pair.one.reset_streams([1], now=0.0)
    pair.one.start(now=0.0)
    pair.run()
    assert pair.one_events[-1] == StreamsReset(stream_ids=(1,), is_remote=False)
    assert pair.other_events[-1] == StreamsReset(stream_ids=(1,), is_remote=True)


def test_a_reset_of_what_has_not_arrived_is_put_off_and_done_then() -> None:
    pair = established()
    first = pair.other.init.initial_tsn
    request = OutgoingReset(first, 0, first, (3,)).encode()
    assert reconfiguration(pair, request) == [Response(first, Result.IN_PROGRESS)]
    assert reconfiguration(pair, request) == [Response(first, Result.IN_PROGRESS)]
    data = Data(first, 3, 0, 53, b"x", WHOLE).encode()
    (answer,) = deliver([packet_to(pair.one, data)], pair.one)
    assert chunks_of([answer]) == [[ChunkType.RECONFIGURATION, ChunkType.SACK]]
    assert drain_events(pair.one)[-1] == StreamsReset(stream_ids=(3,), is_remote=True)
    # The peer has not heard of it, and asks with a new number, as old libwebrtc does.
    again = OutgoingReset(first + 1 & MASK, 0, first, (3,)).encode()
    assert reconfiguration(pair, again) == [Response(first + 1 & MASK, Result.PERFORMED)]
    assert reconfiguration(pair, again) == [Response(first + 1 & MASK, Result.PERFORMED)]
    assert drain_events(pair.one) == []


def test_requests_that_cannot_be_met_are_answered() -> None:
    pair = established(streams=4)
    first = pair.other.init.initial_tsn
    last = first - 1 & MASK
    for step, (parameter, result) in enumerate(
        (
            (OutgoingReset(first, 0, last, (4,)).encode(), Result.WRONG_STREAM),
            (IncomingReset(first + 1 & MASK, (9,)).encode(), Result.WRONG_STREAM),
            (AddStreams(first + 2 & MASK, 5).encode(), Result.DENIED),
            (
                Parameter(ParameterType.ASSOCIATION_RESET_REQUEST, (first + 3 & MASK).to_bytes(4, "big")),
                Result.DENIED,
            ),
        )
    ):
        expected = [Response(first + step & MASK, result)]
        assert reconfiguration(pair, parameter) == expected
        assert reconfiguration(pair, parameter) == expected
    far = OutgoingReset(first + 9 & MASK, 0, last, (1,)).encode()
    assert reconfiguration(pair, far) == [Response(first + 9 & MASK, Result.BAD_SEQUENCE_NUMBER)]
    assert drain_events(pair.one) == []
    everything = OutgoingReset(first + 4 & MASK, 0, last, ()).encode()
    assert reconfiguration(pair, everything) == [Response(first + 4 & MASK, Result.PERFORMED)]
    assert drain_events(pair.one) == [StreamsReset(stream_ids=(0, 1, 2, 3), is_remote=True)]
    for bad in (Parameter(15, b"x"), Parameter(16, b"x"), Parameter(99, b"")):
        assert reconfiguration(pair, bad) == []


def test_a_peer_may_ask_us_to_reset_our_streams() -> None:
    pair = established()
    first = pair.other.init.initial_tsn
    packet = packet_to(
        pair.one, encode_chunk(ChunkType.RECONFIGURATION, IncomingReset(first, (5,)).encode().encode())
    )
    (answer,) = deliver([packet], pair.one)
    parameters = [decode_parameters(chunk[4:])[0] for chunk in Packet.decode(answer).chunks]
    request = OutgoingReset.decode(parameters[-1].value)
    assert (request.response, request.streams) == (first, (5,))


@pytest.mark.parametrize("result", [Result.DENIED, Result.WRONG_STREAM, Result.BAD_SEQUENCE_NUMBER])
def test_a_refused_reset_is_over_and_the_numbers_go_on(result: Result) -> None:
    pair = established()
    pair.one.send(1, 53, b"x", now=0.0)
    pair.one.reset_streams([1], now=0.0)
    drain_transmits(pair.one)
    reconfiguration(pair, Response(pair.one.init.initial_tsn, result).encode())
    assert drain_events(pair.one) == [StreamsReset(stream_ids=(1,), is_remote=False)]
    pair.one.send(1, 53, b"y", now=0.0)
    (packet,) = drain_transmits(pair.one)
    assert Data.decode(Packet.decode(packet).chunks[0]).sequence_number == 1


def test_a_reset_that_is_put_off_again_and_again_is_asked_for_anew() -> None:
    pair = established()
    pair.one.reset_streams([1], now=0.0)
    numbers = [request_number(pair.one)]
    for _ in range(5):
        reconfiguration(pair, Response(numbers[-1], Result.IN_PROGRESS).encode())
        pair.one.handle_timeout(now=pair.one.poll_timeout() or 0.0)
        numbers.append(request_number(pair.one))
    first = numbers[0]
    assert numbers == [first] * 3 + [first + 1 & MASK] * 3


def request_number(end: SctpAssociation) -> int:
    """Return the number of the reset that an end asks for now."""
    (packet,) = drain_transmits(end)
    ((_kind, value),) = decode_parameters(Packet.decode(packet).chunks[0][4:])
    return OutgoingReset.decode(value).request


def test_a_peer_that_cannot_reset_is_not_asked() -> None:
    one, other = make_association(1), make_association(2)
    one.start_with(attrs.evolve(other.init, parameters=()), now=0.0)
    drain_events(one)
    one.reset_streams([1], now=0.0)
    assert drain_transmits(one) == []
    assert drain_events(one) == [StreamsReset(stream_ids=(1,), is_remote=False)]
    request = IncomingReset(other.init.initial_tsn, (5,)).encode()
    pair = Pair(one=one, other=other)
    assert reconfiguration(pair, request)[0].result == Result.DENIED


def test_a_reset_nobody_answers_ends_the_association() -> None:
    pair = established()
    pair.fate = lambda _packet: False
    pair.one.reset_streams([1], now=0.0)
    pair.run()
    assert isinstance(pair.one_events[-1], AssociationClosed)
    assert pair.one_events[-1].cause is CloseCause.TIMED_OUT


# The end


@pytest.mark.parametrize("both", [False, True])
def test_a_shutdown_waits_for_what_is_queued(both: bool) -> None:
    pair = established()
    pair.one.send(0, 53, bytes(100_000), now=0.0)
    pair.other.send(0, 53, bytes(50_000), now=0.0)
    pair.one.shutdown(now=0.0)
    if both:
        pair.other.shutdown(now=0.0)
    with pytest.raises(UsageError):
        pair.one.send(0, 53, b"x", now=0.0)
    pair.run()
    assert len(pair.received(pair.other)) == 1
    assert len(pair.received(pair.one)) == 1
    for events, is_remote in ((pair.one_events, False), (pair.other_events, not both)):
        assert isinstance(events[-1], AssociationClosed)
        assert events[-1].cause is CloseCause.SHUTDOWN
        assert events[-1].is_remote is is_remote
    assert pair.next_due() is None


@pytest.mark.parametrize("lost", range(8))
@pytest.mark.parametrize("both", [False, True])
def test_a_shutdown_outlives_every_single_loss(lost: int, both: bool) -> None:
    pair = established()
    numbers = iter(range(1000))
    pair.fate = lambda _packet: next(numbers) != lost
    pair.other.send(0, 53, b"last", now=0.0)
    pair.one.shutdown(now=0.0)
    if both:
        pair.other.shutdown(now=0.0)
    pair.run()
    assert pair.one.state is pair.other.state is AssociationState.CLOSED
    assert len(pair.received(pair.one)) == 1


def test_a_shutdown_nobody_answers_ends_all_the_same() -> None:
    for lost in (ChunkType.SHUTDOWN_ACK, ChunkType.SHUTDOWN):
        pair = established()
        pair.fate = lambda packet, lost=lost: chunks_of([packet]) != [[lost]]  # type: ignore[misc]
        pair.one.shutdown(now=0.0)
        pair.run(until=100.0)
        assert pair.one.state is AssociationState.CLOSED
        pair.other.shutdown(now=100.0)
        pair.run()
        assert pair.one.state is pair.other.state is AssociationState.CLOSED


def test_data_during_a_shutdown_are_taken_and_the_shutdown_said_again() -> None:
    pair = established()
    pair.one.shutdown(now=0.0)
    drain_transmits(pair.one)
    data = Data(pair.other.init.initial_tsn, 0, 0, 53, b"x", WHOLE | DataFlag.IMMEDIATE).encode()
    assert chunks_of(deliver([packet_to(pair.one, data)], pair.one)) == [[ChunkType.SACK, ChunkType.SHUTDOWN]]
    data = Data(pair.other.init.initial_tsn + 1 & MASK, 0, 1, 53, b"x", WHOLE).encode()
    assert deliver([packet_to(pair.one, data)], pair.one) == []
    assert pair.one.poll_timeout() == pytest.approx(0.02)
    pair.one.handle_timeout(now=0.02)
    assert chunks_of(drain_transmits(pair.one)) == [[ChunkType.SACK, ChunkType.SHUTDOWN]]


def test_repeated_words_of_the_end_are_answered() -> None:
    pair = established()
    shutdown = packet_to(pair.one, Shutdown(pair.one.init.initial_tsn - 1 & MASK).encode())
    assert chunks_of(deliver([shutdown, shutdown], pair.one)) == [[ChunkType.SHUTDOWN_ACK]] * 2
    unexpected = packet_to(established().other, encode_chunk(ChunkType.SHUTDOWN_COMPLETE))
    pair = established()
    deliver([unexpected, packet_to(pair.other, encode_chunk(ChunkType.SHUTDOWN_ACK))], pair.other)
    assert pair.other.is_established


@pytest.mark.parametrize("end", ["shutdown", "abort"])
def test_an_association_that_has_not_begun_can_end(end: str) -> None:
    association = make_association()
    association.start(now=0.0)
    drain_transmits(association)
    getattr(association, end)(now=0.0)
    getattr(association, end)(now=0.0)
    assert drain_transmits(association) == []
    assert [type(event) for event in drain_events(association)] == [AssociationClosed]
    assert association.poll_timeout() is None


def test_an_abort_carries_its_reason() -> None:
    pair = established()
    pair.one.abort("enough of this", now=0.0)
    pair.run()
    assert pair.other_events == [
        AssociationClosed(cause=CloseCause.ABORTED, detail="cause 12: enough of this", is_remote=True)
    ]
    assert pair.one_events == [
        AssociationClosed(cause=CloseCause.ABORTED, detail="enough of this", is_remote=False)
    ]


@pytest.mark.parametrize(
    ("value", "detail"),
    [("", "no cause given"), ("0001", "causes that cannot be read"), ("0003000800000000", "cause 3")],
)
def test_an_abort_of_the_peer_is_put_into_words(value: str, detail: str) -> None:
    pair = established()
    deliver([packet_to(pair.one, encode_chunk(ChunkType.ABORT, bytes.fromhex(value)))], pair.one)
    assert drain_events(pair.one) == [
        AssociationClosed(cause=CloseCause.ABORTED, detail=detail, is_remote=True)
    ]
