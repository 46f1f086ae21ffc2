"""Whatever arrives: nothing is raised, nothing grows, and what is not genuine changes nothing."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sctp import strategy
from tests.sctp.pair import (
    Pair,
    chunks_of,
    drain_events,
    drain_transmits,
    established,
    make_association,
    packet_to,
)
from voicegate.sctp import (
    AssociationClosed,
    AssociationState,
    CloseCause,
    DropReason,
    Init,
    MessageReceived,
    SctpAssociation,
)
from voicegate.sctp.chunk import ChunkType, Data, DataFlag, ForwardTsn, Sack, encode_chunk
from voicegate.sctp.packet import Packet
from voicegate.sctp.parameter import Parameter
from voicegate.sctp.reassembly import MAX_PIECES
from voicegate.sctp.received import MAX_AHEAD

BEGIN, END, UNORDERED = int(DataFlag.BEGIN), int(DataFlag.END), int(DataFlag.UNORDERED)
WHOLE = BEGIN | END


def in_state(state: AssociationState) -> Pair:
    """Return a pair whose first end is in a state, with nothing on its way."""
    pair = Pair(one=make_association(1, receive_window=20_000, max_message_size=10_000))
    match state:
        case AssociationState.NEW:
            pass
        case AssociationState.COOKIE_WAIT:
            pair.one.start(now=0.0)
        case AssociationState.COOKIE_ECHOED:
            pair.one.start(now=0.0)
            (init,) = drain_transmits(pair.one)
            pair.other.handle_datagram(init, now=0.0)
            (answer,) = drain_transmits(pair.other)
            pair.one.handle_datagram(answer, now=0.0)
        case AssociationState.ESTABLISHED:
            pair.establish()
        case AssociationState.SHUTDOWN_PENDING:
            pair.establish()
            pair.one.send(0, 53, b"first", now=0.0)
            pair.one.shutdown(now=0.0)
        case AssociationState.SHUTDOWN_SENT:
            pair.establish()
            pair.one.shutdown(now=0.0)
        case AssociationState.SHUTDOWN_RECEIVED:
            pair.establish()
            pair.one.send(0, 53, b"first", now=0.0)
            pair.other.shutdown(now=0.0)
            for packet in drain_transmits(pair.other):
                pair.one.handle_datagram(packet, now=0.0)
        case AssociationState.SHUTDOWN_ACK_SENT:
            pair.establish()
            pair.other.shutdown(now=0.0)
            for packet in drain_transmits(pair.other):
                pair.one.handle_datagram(packet, now=0.0)
        case AssociationState.CLOSED:
            pair.establish()
            pair.one.abort(now=0.0)
    drain_transmits(pair.one)
    drain_events(pair.one)
    assert pair.one.state is state
    return pair


def held(association: SctpAssociation) -> int:
    inbound = association._transfer.inbound
    return inbound._held + inbound.unconsumed


def check(association: SctpAssociation) -> None:
    """See that an association is sound."""
    inbound, outbound = association._transfer.inbound, association._transfer.outbound
    assert inbound._held >= 0
    assert held(association) <= inbound._size + inbound._max_message_size
    assert inbound._reassembly.pieces <= 2 * MAX_PIECES + 2
    assert len(inbound._received._starts) <= MAX_AHEAD
    in_flight = [item for item in outbound._missing.values() if item.is_in_flight]
    assert outbound._flight == sum(item.length for item in in_flight)
    assert outbound.buffered_bytes == sum(outbound.buffered.values()) >= 0
    assert set(outbound._missing).isdisjoint(outbound._gap_acknowledged)
    kept = len(outbound._missing) + len(outbound._gap_acknowledged)
    assert kept == outbound._next_tsn - 1 - outbound._acknowledged


def feed(association: SctpAssociation, packets: Sequence[bytes], *, step: float = 0.03) -> None:
    now = 0.0
    for packet in packets:
        now += step
        association.handle_datagram(packet, now=now)
        for sent in drain_transmits(association):
            assert len(sent) <= max(1160, len(packet))
        drain_events(association)
        for _ in range(20):
            due = association.poll_timeout()
            if due is None or due > now:
                break
            association.handle_timeout(now=now)
            drain_transmits(association)
            drain_events(association)
        else:
            pytest.fail("the same instant is wanted for ever")
        check(association)


@pytest.mark.slow
@pytest.mark.parametrize("state", AssociationState)
@given(st.lists(st.lists(strategy.chunks, min_size=1, max_size=4), max_size=8))
@settings(max_examples=40)
def test_any_chunks_in_any_state_are_survived(state: AssociationState, packets: list[list[bytes]]) -> None:
    one = in_state(state).one
    feed(one, [packet_to(one, *chunks, tag=0 if chunks[0][0] == 1 else None) for chunks in packets])


close = st.integers(-3, 12)
"""Numbers near those in use: the ones that do something."""


@st.composite
def near(draw: st.DrawFn) -> tuple[str, tuple[int, ...]]:
    kind = draw(st.sampled_from(["data", "sack", "forward", "outgoing", "response"]))
    return kind, tuple(draw(close) for _ in range(6))


def build(kind: str, numbers: tuple[int, ...], pair: Pair) -> bytes:
    """Make a chunk whose numbers are near the ones in use."""
    theirs, ours = pair.other.init.initial_tsn, pair.one.init.initial_tsn
    _one, two, three, four, five, six = (number % 16 for number in numbers)
    tsn = theirs + numbers[0] & 0xFFFF_FFFF
    match kind:
        case "data":
            return Data(tsn, two % 3, three % 4, 53, bytes(1 + four * 100), five).encode()
        case "sack":
            gaps = ((two, two + three), (four, four + five))
            return Sack(ours + numbers[0] & 0xFFFF_FFFF, six * 500, gaps).encode()
        case "forward":
            return ForwardTsn(tsn, ((two % 3, three), (four % 3, five))).encode()
        case "outgoing":
            body = b"".join(
                (number & 0xFFFF_FFFF).to_bytes(4, "big")
                for number in (theirs + numbers[1], ours + numbers[2], tsn)
            )
            return encode_chunk(ChunkType.RECONFIGURATION, Parameter(13, body + bytes(2)).encode())
        case _:
            body = (ours + numbers[1] & 0xFFFF_FFFF).to_bytes(4, "big") + (three % 8).to_bytes(4, "big")
            return encode_chunk(ChunkType.RECONFIGURATION, Parameter(16, body).encode())


@pytest.mark.slow
@given(st.lists(near(), max_size=40), st.booleans())
@settings(max_examples=150)
def test_a_peer_that_nearly_keeps_to_the_protocol_is_survived(
    steps: list[tuple[str, tuple[int, ...]]], is_limited: bool
) -> None:
    pair = in_state(AssociationState.ESTABLISHED)
    for length in (5000, 10, 3000):
        pair.one.send(0, 53, bytes(length), now=0.0, max_retransmits=0 if is_limited else None)
    pair.one.reset_streams([1], now=0.0)
    drain_transmits(pair.one)
    feed(pair.one, [packet_to(pair.one, build(kind, numbers, pair)) for kind, numbers in steps], step=0.1)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 1200), st.integers(1, 255)), max_size=8))
@settings(max_examples=60)
def test_a_line_that_corrupts_packets_does_no_harm(damages: list[tuple[int, int, int]]) -> None:
    pair = Pair()
    counter = iter(range(10_000))

    def corrupt(association: SctpAssociation) -> None:
        original = association.handle_datagram

        def handle(data: bytes, *, now: float) -> None:
            number = next(counter)
            damaged = bytearray(data)
            for which, where, flip in damages:
                if which == number:
                    damaged[where % len(damaged)] ^= flip
            original(bytes(damaged), now=now)

        association.handle_datagram = handle  # type: ignore[method-assign]

    corrupt(pair.one)
    corrupt(pair.other)
    pair.one.start(now=0.0)
    data = Random(1).randbytes(20_000)
    pair.one.send(0, 53, data, now=0.0)
    pair.run()
    assert [message.data for message in pair.received(pair.other)] == [data]


@given(st.binary(max_size=200))
def test_bytes_that_are_no_packet_are_counted(data: bytes) -> None:
    one = established().one
    one.handle_datagram(data, now=0.0)
    assert one.statistics().dropped == {DropReason.MALFORMED_PACKET: 1}
    assert drain_transmits(one) == []


@pytest.mark.parametrize("chunk_type", ChunkType)
@pytest.mark.parametrize("flags", [0, 1])
@pytest.mark.parametrize("tag", [0, 1, 0xFFFF_FFFF])
def test_a_forged_tag_changes_nothing(chunk_type: ChunkType, tag: int, flags: int) -> None:
    pair = established()
    chunk = (
        Init.encode(pair.other.init)
        if chunk_type is ChunkType.INIT
        else encode_chunk(chunk_type, bytes(16), flags=flags)
    )
    pair.one.handle_datagram(packet_to(pair.one, chunk, tag=tag or 2), now=0.0)
    assert pair.one.is_established
    assert drain_transmits(pair.one) == []
    assert pair.one.statistics().dropped == {DropReason.WRONG_TAG: 1}


def test_an_abort_with_the_peers_tag_counts_only_when_it_says_so() -> None:
    pair = established()
    theirs = pair.other.init.initiate_tag
    pair.one.handle_datagram(packet_to(pair.one, encode_chunk(ChunkType.ABORT), tag=theirs), now=0.0)
    assert pair.one.is_established
    pair.one.handle_datagram(packet_to(pair.one, encode_chunk(ChunkType.ABORT, flags=1), tag=theirs), now=0.0)
    assert not pair.one.is_established


def test_a_packet_for_another_port_changes_nothing() -> None:
    pair = established()
    packet = Packet(5000, 5001, pair.one.init.initiate_tag, (encode_chunk(ChunkType.ABORT),)).encode()
    pair.one.handle_datagram(packet, now=0.0)
    assert pair.one.statistics().dropped == {DropReason.WRONG_PORT: 1}


@pytest.mark.parametrize(
    ("sack", "reason"),
    [
        (lambda base: Sack(base + 10, 1000), DropReason.FALSE_ACKNOWLEDGEMENT),
        (lambda base: Sack(base - 1, 1000, ((2, 9),)), DropReason.FALSE_ACKNOWLEDGEMENT),
        (lambda base: Sack(base - 2, 1000), DropReason.STALE_ACKNOWLEDGEMENT),
    ],
)
def test_an_acknowledgement_of_what_was_never_sent_changes_nothing(sack: object, reason: DropReason) -> None:
    pair = established()
    pair.one.send(0, 53, bytes(3000), now=0.0)
    drain_transmits(pair.one)
    before = pair.one.buffered_bytes
    chunk = sack(pair.one.init.initial_tsn).encode()  # type: ignore[operator]
    pair.one.handle_datagram(packet_to(pair.one, chunk), now=0.0)
    assert pair.one.buffered_bytes == before
    assert pair.one.statistics().dropped == {reason: 1}
    check(pair.one)


def fill(pair: Pair, chunks: Sequence[Data], *, of_each: int = 50) -> None:
    """Let DATA arrive at the first end, many chunks in each packet."""
    for start in range(0, len(chunks), of_each):
        packet = packet_to(pair.one, *(chunk.encode() for chunk in chunks[start : start + of_each]))
        pair.one.handle_datagram(packet, now=0.0)
        drain_transmits(pair.one)
        drain_events(pair.one)
        check(pair.one)


def tsns(pair: Pair, numbers: Sequence[int]) -> list[int]:
    return [pair.other.init.initial_tsn + number & 0xFFFF_FFFF for number in numbers]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [BEGIN, END, WHOLE, UNORDERED])
@pytest.mark.parametrize("numbers", [range(20_000), range(0, 40_000, 2), range(9000, 0, -1)])
def test_a_flood_of_pieces_is_bounded(flags: int, numbers: range) -> None:
    pair = established(receive_window=300_000)
    fill(pair, [Data(tsn, 0, 7, 53, b"x", flags) for tsn in tsns(pair, numbers)])
    assert pair.one._transfer.inbound._reassembly.pieces <= 2 * MAX_PIECES + 2


def test_a_window_that_is_full_takes_no_more() -> None:
    pair = established(receive_window=20_000, max_message_size=5_000)
    fill(pair, [Data(tsn, 0, ssn, 53, bytes(1000), WHOLE) for ssn, tsn in enumerate(tsns(pair, range(60)))])
    assert pair.one.statistics().unconsumed_bytes == 25_000
    assert pair.one.statistics().dropped[DropReason.WINDOW_EXCEEDED] > 0
    pair.one.consume(25_000)
    assert chunks_of(drain_transmits(pair.one)) == [[ChunkType.SACK]]


def test_what_a_full_window_waits_for_is_still_taken() -> None:
    pair = established(receive_window=20_000, max_message_size=5_000)
    chunks = [Data(tsn, 0, ssn, 53, bytes(1000), WHOLE) for ssn, tsn in enumerate(tsns(pair, range(25)))]
    fill(pair, chunks[1:])
    assert held(pair.one) == 20_000
    fill(pair, chunks[:1])
    assert pair.one.statistics().messages_received == 21


def test_a_message_longer_than_agreed_ends_the_association() -> None:
    pair = established(max_message_size=2000)
    pair.other.send(0, 53, bytes(2001), now=0.0)
    pair.run()
    for events, is_remote in ((pair.one_events, False), (pair.other_events, True)):
        assert isinstance(events[-1], AssociationClosed)
        assert events[-1].is_remote is is_remote
        assert "longer" in events[-1].detail


def test_data_without_data_ends_the_association() -> None:
    pair = established()
    (tsn,) = tsns(pair, [0])
    pair.one.handle_datagram(packet_to(pair.one, Data(tsn, 0, 0, 53, b"", WHOLE).encode()), now=0.0)
    (event,) = drain_events(pair.one)
    assert isinstance(event, AssociationClosed)
    assert event.cause is CloseCause.PROTOCOL_VIOLATION
    assert chunks_of(drain_transmits(pair.one)) == [[ChunkType.ABORT]]


def test_data_on_a_stream_that_there_is_not_is_thrown_away_and_told_of() -> None:
    pair = established(streams=10)
    data = [Data(tsn, 10, 0, 53, b"x", WHOLE).encode() for tsn in tsns(pair, range(20))]
    pair.one.handle_datagram(packet_to(pair.one, *data), now=0.0)
    assert chunks_of(drain_transmits(pair.one)) == [[ChunkType.ERROR] * 8 + [ChunkType.SACK]]
    assert drain_events(pair.one) == []
    assert pair.one._transfer.inbound.cumulative_tsn & 0xFFFF_FFFF == tsns(pair, [19])[0]
    # Told once more: not new, and not far ahead either.
    pair.one.handle_datagram(packet_to(pair.one, data[0]), now=0.0)
    far = Data(tsns(pair, [20_000])[0], 10, 0, 53, b"x", WHOLE).encode()
    pair.one.handle_datagram(packet_to(pair.one, far), now=0.0)
    check(pair.one)


@pytest.mark.parametrize(
    ("chunk_type", "is_used", "is_reported"),
    [(0x3F, False, False), (0x7F, False, True), (0xBF, True, False), (0xFF, True, True)],
)
def test_unknown_chunks_are_treated_as_their_type_says(
    chunk_type: int, is_used: bool, is_reported: bool
) -> None:
    pair = established()
    (tsn,) = tsns(pair, [0])
    data = Data(tsn, 0, 0, 53, b"x", WHOLE).encode()
    packet = packet_to(pair.one, encode_chunk(chunk_type, b"what"), data)
    pair.one.handle_datagram(packet, now=0.0)
    assert [isinstance(event, MessageReceived) for event in drain_events(pair.one)] == [True] * is_used
    found = [kind for kinds in chunks_of(drain_transmits(pair.one)) for kind in kinds]
    assert (ChunkType.ERROR in found) is is_reported


def test_a_flood_of_unknown_chunks_is_not_answered_at_length() -> None:
    pair = established()
    pair.one.handle_datagram(packet_to(pair.one, *[encode_chunk(0xFF)] * 3000), now=0.0)
    assert sum(map(len, drain_transmits(pair.one))) < 200
    pair.one.handle_datagram(packet_to(pair.one, encode_chunk(0xFF, bytes(3000))), now=0.0)
    assert drain_transmits(pair.one) == []
    pair.one.handle_datagram(packet_to(pair.one, encode_chunk(ChunkType.HEARTBEAT, bytes(3000))), now=0.0)
    assert drain_transmits(pair.one) == []
    assert pair.one.statistics().dropped[DropReason.OVERSIZED_REPLY] == 2


def test_of_a_control_chunk_only_the_first_in_a_packet_counts() -> None:
    pair = established()
    sack = Sack(pair.one.init.initial_tsn - 1, 1000).encode()
    pair.one.handle_datagram(packet_to(pair.one, *[sack] * 500), now=0.0)
    assert pair.one.statistics().dropped == {DropReason.UNEXPECTED_CHUNK: 499}


def test_fragments_that_cannot_be_of_one_message_are_thrown_away() -> None:
    for flags in ([BEGIN, BEGIN, END], [BEGIN, END | UNORDERED], [BEGIN, WHOLE, END], [END, 0, END]):
        pair = established()
        fill(
            pair,
            [Data(tsn, 0, 0, 53, b"x", flag) for flag, tsn in zip(flags, tsns(pair, range(3)), strict=False)],
        )
        assert pair.one.statistics().dropped[DropReason.CONTRADICTING_FRAGMENT] > 0
        assert pair.one._transfer.inbound._held == 0


def test_a_sequence_number_used_twice_is_thrown_away() -> None:
    pair = established()
    first, second, third = tsns(pair, range(3))
    fill(pair, [Data(first, 0, 0, 53, b"a", WHOLE), Data(second, 0, 0, 53, b"b", WHOLE)])
    fill(pair, [Data(third, 0, 0xFFFF, 53, b"c", WHOLE)])
    assert pair.one.statistics().messages_received == 1
    assert pair.one._transfer.inbound._held == 0


def test_after_the_end_a_peer_that_goes_on_is_told_a_few_times() -> None:
    pair = in_state(AssociationState.CLOSED)
    for number in range(20):
        data = Data(number, 0, 0, 53, b"x", WHOLE).encode()
        pair.one.handle_datagram(packet_to(pair.one, data), now=float(number))
        pair.one.handle_timeout(now=float(number))
    assert chunks_of(drain_transmits(pair.one)) == [[ChunkType.ABORT]] * 3
    pair.one.handle_datagram(packet_to(pair.one, encode_chunk(ChunkType.ABORT)), now=30.0)
    assert drain_transmits(pair.one) == []
    assert pair.one.poll_timeout() is None
