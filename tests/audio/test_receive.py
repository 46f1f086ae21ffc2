from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.audio import Lost, ReceiveBuffer, Received, open_codec
from voicegate.audio.receive import MAX_HELD, DropReason, ReceiveItem
from voicegate.audio.red import RedBlock, RedPayload
from voicegate.rtp.packet import RtpPacket

TICKS = 160
RED = 63


def payload_of(index: int) -> bytes:
    return index.to_bytes(4, "big") * (TICKS // 4)


def make_packet(
    index: int, *, first: int = 0, ssrc: int = 1, timestamp: int | None = None, copies: int = 0
) -> RtpPacket:
    """A G.711 packet whose payload says which one it is, in a stream whose numbers begin anywhere."""
    ticks = (first * 65537 + index * TICKS) & 0xFFFFFFFF if timestamp is None else timestamp
    payload, payload_type = payload_of(index), 0
    if copies:
        blocks = (RedBlock(0, n * TICKS, payload_of(index - n)) for n in range(min(copies, index), 0, -1))
        payload = RedPayload(payload_type=0, primary=payload, copies=tuple(blocks)).encode()
        payload_type = RED
    return RtpPacket(payload_type, (first + index) & 0xFFFF, ticks, ssrc, payload)


def index_of(payload: bytes) -> int:
    return int.from_bytes(payload[:4], "big")


def pop_all(buffer: ReceiveBuffer) -> list[ReceiveItem]:
    return list(iter(buffer.pop, None))


def make_buffer() -> ReceiveBuffer:
    return ReceiveBuffer(open_codec("PCMU"), payload_type=0, red=RED)


def play(buffer: ReceiveBuffer, *indices: int, first: int = 0, copies: int = 0) -> list[ReceiveItem]:
    items = []
    for index in indices:
        buffer.push(make_packet(index, first=first, copies=copies), now=0.0)
        items += pop_all(buffer)
    return items


def received(index: int, *, first: int = 0, start: int = 0, is_copy: bool = False) -> Received:
    timestamp = (first * 65537 + index * TICKS) & 0xFFFFFFFF
    position = (index - start) * TICKS
    return Received(payload_of(index), TICKS, timestamp, position, is_copy=is_copy)


def give_up(buffer: ReceiveBuffer, *, is_whole: bool) -> list[ReceiveItem]:
    lost = buffer.give_up(is_whole=is_whole)
    return [*([lost] if lost else []), *pop_all(buffer)]


def heard(items: list[ReceiveItem]) -> list[int | str]:
    return [index_of(item.payload) if isinstance(item, Received) else f"{item.ticks} lost" for item in items]


class Arrival(NamedTuple):
    time: int
    number: int


@st.composite
def journeys(draw: st.DrawFn) -> list[int]:
    """Packets sent every 20 ms, each lost, doubled or delayed by up to 200 ms, in order of arrival."""
    fates = draw(st.lists(st.lists(st.integers(0, 200), max_size=2), min_size=1, max_size=40))
    arrivals = [
        Arrival(number * 20 + delay, number) for number, delays in enumerate(fates) for delay in delays
    ]
    return [arrival.number for arrival in sorted(arrivals)]


# Order


@pytest.mark.slow
@given(journeys(), st.integers(0, 0xFFFF), st.integers(0, 2), st.data())
def test_whatever_the_network_does_all_between_the_first_and_the_last_comes_out_once_and_in_order(
    arrivals: list[int], first: int, copies: int, choice: st.DataObject
) -> None:
    buffer = make_buffer()
    items: list[ReceiveItem] = []
    for number in arrivals:
        buffer.push(make_packet(number, first=first, copies=copies), now=0.0)
        items += pop_all(buffer)
        if buffer.gap and choice.draw(st.booleans()):
            items += give_up(buffer, is_whole=choice.draw(st.booleans()))
    while buffer.gap:
        items += give_up(buffer, is_whole=False)

    start = arrivals[0] if arrivals else 0
    reached = start
    for item in items:
        # What is left out of a long gap shows as a jump of the position.
        assert item.position >= (reached - start) * TICKS
        assert item.position == (reached - start) * TICKS or isinstance(item, Lost)
        assert item.timestamp == (first * 65537 + start * TICKS + item.position) & 0xFFFFFFFF
        if isinstance(item, Received):
            assert index_of(item.payload) == start + item.position // TICKS
            assert item.ticks == TICKS
        else:
            assert item.ticks % TICKS == 0
            assert item.ticks <= 960
        reached = start + (item.position + item.ticks) // TICKS
    assert reached == max(arrivals, default=-1) + 1 or not arrivals

    # Every packet is accounted for.
    statistics = buffer.statistics()
    assert statistics.received + statistics.recovered + statistics.lost == reached - start
    assert statistics.received + sum(statistics.dropped.values()) == len(arrivals)
    assert statistics.dropped["malformed"] == statistics.dropped["overflow"] == statistics.restarts == 0


@pytest.mark.slow
@given(st.lists(st.permutations(range(3)), max_size=10), st.integers(0, 0xFFFF))
def test_packets_out_of_order_are_put_right(groups: list[list[int]], first: int) -> None:
    buffer = make_buffer()
    sent = [0, *(1 + 3 * number + place for number, group in enumerate(groups) for place in group)]
    assert play(buffer, *sent, first=first) == [received(index, first=first) for index in sorted(sent)]
    assert not buffer.gap


def test_packets_in_order_go_right_through() -> None:
    buffer = make_buffer()
    play(buffer, 0, first=65533)
    for index in range(1, 5):
        assert buffer.take(make_packet(index, first=65533)) == TICKS
        assert buffer.position == (index + 1) * TICKS
    assert play(buffer, 5, first=65533) == [received(5, first=65533)]
    assert buffer.statistics().received == 6


@pytest.mark.parametrize(
    "packet",
    [
        make_packet(2),
        make_packet(0),
        make_packet(1, ssrc=2),
        make_packet(1, timestamp=5000),
        make_packet(1, copies=1),
        make_packet(1)._replace(payload=b""),
    ],
)
def test_what_is_not_simply_next_does_not_go_right_through(packet: RtpPacket) -> None:
    buffer = make_buffer()
    assert not buffer.take(make_packet(0))
    play(buffer, 0)
    assert buffer.take(packet) == 0
    assert buffer.position == TICKS


def test_nothing_goes_past_what_is_held() -> None:
    buffer = make_buffer()
    play(buffer, 0, 2)
    assert buffer.take(make_packet(1)) == 0


def test_level_and_voice_stay_with_their_packet() -> None:
    buffer = make_buffer()
    buffer.push(make_packet(0), level=33, is_voice=True, now=0.0)
    assert pop_all(buffer) == [received(0)._replace(level=33, is_voice=True)]


# Gaps


def test_what_waits_behind_a_gap_is_known() -> None:
    buffer = make_buffer()
    play(buffer, 0)
    assert (buffer.gap, buffer.missing(), buffer.waiting_since, buffer.next_position) == (0, [], None, None)
    buffer.push(make_packet(3), now=5.0)
    buffer.push(make_packet(6), now=4.0)
    assert buffer.gap == 2
    assert buffer.missing() == [1, 2, 4, 5]
    assert buffer.waiting_since == 4.0
    assert buffer.next_position == TICKS
    assert buffer.held_ticks == 6 * TICKS
    assert buffer.packet_ticks == TICKS


def test_a_gap_is_given_up_whole_with_the_payload_behind_it() -> None:
    buffer = make_buffer()
    play(buffer, 0, 3)
    assert buffer.give_up() == Lost(2 * TICKS, TICKS, TICKS, payload_of(3))
    assert pop_all(buffer) == [received(3)]
    assert buffer.give_up() is None
    assert buffer.statistics().lost == 2


def test_a_gap_is_given_up_in_parts_of_which_the_last_has_the_payload_behind_it() -> None:
    buffer = make_buffer()
    play(buffer, 0, 3)
    assert buffer.give_up(is_whole=False) == Lost(TICKS, TICKS, TICKS)
    assert play(buffer, 1) == []
    assert buffer.statistics().dropped["late"] == 1
    assert buffer.give_up(is_whole=False) == Lost(TICKS, 2 * TICKS, 2 * TICKS, payload_of(3))
    assert pop_all(buffer) == [received(3)]


@pytest.mark.parametrize("is_whole", [True, False])
def test_of_a_long_outage_no_more_than_120_ms_are_made_up(is_whole: bool) -> None:
    buffer = make_buffer()
    play(buffer, 0, 1000)
    assert buffer.held_ticks == TICKS + 960
    assert len(buffer.missing()) == 100
    items: list[ReceiveItem] = []
    while lost := buffer.give_up(is_whole=is_whole):
        items.append(lost)
    assert sum(item.ticks for item in items) == 960
    assert items[0].position == 994 * TICKS
    assert pop_all(buffer) == [received(1000)]
    assert buffer.statistics().lost == 999
    assert play(buffer, 999) == []
    assert buffer.statistics().dropped["late"] == 1


def test_late_packets_and_duplicates_are_told_apart() -> None:
    buffer = make_buffer()
    play(buffer, 5, 6, 8, 9, 10)
    buffer.give_up()
    pop_all(buffer)
    for index, reason in ((7, "late"), (6, "duplicate"), (10, "duplicate"), (4, "duplicate")):
        assert buffer.push(make_packet(index), now=0.0) is DropReason(reason)
    assert buffer.push(make_packet(12), now=0.0) is None
    assert buffer.push(make_packet(12), now=0.0) is DropReason.DUPLICATE
    assert buffer.statistics().dropped == {"late": 1, "duplicate": 4, "malformed": 0, "overflow": 0}


# Timestamps


def test_a_jump_of_the_timestamp_alone_is_silence_and_not_loss() -> None:
    buffer = make_buffer()
    play(buffer, 0)
    later = make_packet(1, timestamp=123_456)
    buffer.push(later, now=1.0)
    assert buffer.next_position == 123_456
    assert pop_all(buffer) == [Received(later.payload, TICKS, 123_456, 123_456)]
    assert buffer.statistics().lost == 0
    assert buffer.position_of(123_456 + TICKS + 7) == buffer.position + 7


@pytest.mark.parametrize("is_whole", [True, False])
def test_loss_in_a_pause_lies_right_before_the_next_packet(is_whole: bool) -> None:
    buffer = make_buffer()
    play(buffer, 0)
    later = make_packet(2, timestamp=100_000)
    buffer.push(later, now=0.0)
    expected = Lost(TICKS, 100_000 - TICKS, 100_000 - TICKS, later.payload)
    assert buffer.next_position == expected.position
    assert buffer.give_up(is_whole=is_whole) == expected


def test_lost_packets_shorter_than_those_before_take_the_time_there_is() -> None:
    buffer = make_buffer()
    play(buffer, 0)
    later = make_packet(3, timestamp=TICKS + 165)
    buffer.push(later, now=0.0)
    assert buffer.give_up() == Lost(160, TICKS + 5, TICKS + 5, later.payload)


def test_packets_lost_where_the_timestamps_leave_no_time_are_lost_without_a_sound() -> None:
    buffer = make_buffer()
    play(buffer, 0)
    later = make_packet(3, timestamp=TICKS + 10)
    buffer.push(later, now=0.0)
    assert buffer.give_up(is_whole=False) == Lost(0, TICKS + 10, TICKS + 10, later.payload)
    assert heard(pop_all(buffer)) == [3]


def test_a_timestamp_that_goes_back_is_taken_for_this_moment() -> None:
    buffer = make_buffer()
    play(buffer, 0)
    buffer.push(make_packet(1, timestamp=1_000_000), now=0.0)
    pop_all(buffer)
    position = buffer.position
    for index in (2, 3):
        buffer.push(make_packet(index), now=0.0)
    assert [item.position for item in pop_all(buffer)] == [position, position + TICKS]
    buffer.push(make_packet(5, timestamp=0), now=0.0)
    lost = buffer.give_up()
    assert lost is not None
    assert (lost.position, lost.ticks) == (position + 2 * TICKS, TICKS)


# Streams


@pytest.mark.parametrize("jump", [3001, 30_000, 65_536 - 101])
def test_a_far_jump_of_the_sequence_number_begins_a_new_stream(jump: int) -> None:
    buffer = make_buffer()
    play(buffer, 0, 2)
    items = play(buffer, 1 + jump)
    assert heard(items) == ["160 lost", 2, 1 + jump]
    assert [item.position for item in items] == [TICKS, 2 * TICKS, 3 * TICKS]
    assert buffer.restarts == 1
    assert heard(play(buffer, 2 + jump)) == [2 + jump]


def test_jumps_as_far_as_loss_and_delay_go_do_not_begin_a_new_stream() -> None:
    buffer = make_buffer()
    play(buffer, 0)
    assert play(buffer, 1 + 3000) == []
    assert play(buffer, 1 + 65_536 - 100) == []
    assert buffer.restarts == 0
    assert buffer.statistics().dropped["duplicate"] == 1


def test_a_new_source_goes_on_where_the_old_one_ended() -> None:
    buffer = make_buffer()
    play(buffer, 0, 2)
    buffer.push(make_packet(7, ssrc=2, timestamp=99), now=0.0)
    assert buffer.next_position == TICKS
    assert buffer.held_ticks == 3 * TICKS
    assert buffer.take(make_packet(8, ssrc=2, timestamp=99 + TICKS)) == 0
    items = pop_all(buffer)
    assert heard(items) == ["160 lost", 2, 7]
    assert [item.position for item in items] == [TICKS, 2 * TICKS, 3 * TICKS]
    assert buffer.restarts == 1
    assert buffer.statistics().dropped["duplicate"] == 0


def test_what_was_lost_of_the_old_stream_is_not_late_in_the_new_one() -> None:
    buffer = make_buffer()
    play(buffer, 0, 2)
    buffer.give_up()
    for index in (5, 1):
        buffer.push(make_packet(index, ssrc=2), now=0.0)
    assert buffer.statistics().dropped == {"late": 0, "duplicate": 1, "malformed": 0, "overflow": 0}


# Redundancy


def test_a_copy_takes_the_place_of_a_lost_packet() -> None:
    buffer = make_buffer()
    assert play(buffer, 0, copies=1) == [received(0)]
    assert play(buffer, 2, copies=1) == [received(1, is_copy=True), received(2)]
    assert buffer.statistics().recovered == 1
    assert buffer.statistics().received == 2


def test_what_a_copy_has_replaced_is_a_duplicate_when_it_comes() -> None:
    buffer = make_buffer()
    play(buffer, 0, 2, 1, copies=1)
    play(buffer, 5, copies=1)
    play(buffer, 4, copies=1)
    assert buffer.statistics().dropped["duplicate"] == 2
    assert buffer.missing() == []


def test_copies_as_old_as_the_gap_close_it() -> None:
    buffer = make_buffer()
    assert heard(play(buffer, 0, 4, copies=2)) == [0]
    assert buffer.missing() == [1]
    assert heard(play(buffer, 1)) == [1, 2, 3, 4]


def test_no_copy_is_from_before_the_stream_or_another_one() -> None:
    buffer = make_buffer()
    assert heard(play(buffer, 5, copies=3)) == [5]
    buffer.push(make_packet(9000, copies=2), now=0.0)
    assert heard(pop_all(buffer)) == [9000]


@pytest.mark.parametrize(
    "copy", [RedBlock(5, TICKS, payload_of(1)), RedBlock(0, 0, payload_of(1)), RedBlock(0, TICKS, b"")]
)
def test_a_copy_that_makes_no_sense_is_left_alone(copy: RedBlock) -> None:
    buffer = make_buffer()
    play(buffer, 0)
    payload = RedPayload(payload_type=0, primary=payload_of(2), copies=(copy,)).encode()
    buffer.push(RtpPacket(RED, 2, 2 * TICKS, 1, payload), now=0.0)
    assert buffer.missing() == [1]


def test_of_a_packet_full_of_copies_no_more_are_looked_at_than_can_be_late() -> None:
    buffer = make_buffer()
    play(buffer, 0)
    copies = tuple(RedBlock(0, n, b"\1") for n in range(160, 0, -1))
    payload = RedPayload(payload_type=0, primary=payload_of(200), copies=copies).encode()
    buffer.push(RtpPacket(RED, 200, 200 * TICKS, 1, payload), now=0.0)
    assert buffer.gap == 99
    assert len(buffer._held) == 101


# Hostile input


@pytest.mark.parametrize("payload", [b"\x00", b"\x80", b"\x05" + bytes(160)])
def test_red_that_is_malformed_or_around_something_else_is_dropped(payload: bytes) -> None:
    buffer = make_buffer()
    assert buffer.push(RtpPacket(RED, 0, 0, 1, payload), now=0.0) is DropReason.MALFORMED


def test_a_payload_type_that_was_not_agreed_on_is_dropped() -> None:
    buffer = make_buffer()
    assert buffer.push(make_packet(0)._replace(payload_type=8), now=0.0) is DropReason.MALFORMED


def test_what_cannot_be_a_payload_counts_as_lost() -> None:
    buffer = ReceiveBuffer(open_codec("opus"), payload_type=111)
    frame = b"\xf8\xff\xfe"
    for number, payload in enumerate([frame, b"\xfb\x00", frame]):
        buffer.push(RtpPacket(111, number, number * 960, 1, payload), now=0.0)
    pop_all(buffer)
    assert buffer.give_up() == Lost(960, 960, 960, frame)
    assert buffer.statistics().dropped["malformed"] == 1


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 1, 0, 3), (0, 3, 2, 1), (1, 0, 3, 2)])
def test_packets_of_nothing_but_padding_only_use_up_their_numbers(order: tuple[int, ...]) -> None:
    buffer = make_buffer()
    play(buffer, 0)
    probe, following = make_packet(0)._replace(payload=b""), make_packet(1)
    numbers = {0: (1, probe), 1: (2, probe), 2: (3, following), 3: (4, probe)}
    for index in order:
        number, packet = numbers[index]
        assert buffer.push(packet._replace(sequence_number=number), now=0.0) is None
    assert [item.payload for item in pop_all(buffer) if isinstance(item, Received)] == [payload_of(1)]
    assert buffer.give_up() is None
    assert not any(buffer.statistics().dropped.values())
    assert buffer.statistics().lost == 0


def test_padding_behind_a_gap_is_given_up_with_it() -> None:
    buffer = make_buffer()
    play(buffer, 0)
    buffer.push(make_packet(2)._replace(payload=b""), now=0.0)
    assert buffer.gap == 1
    assert buffer.give_up() is not None
    assert buffer.gap == 0
    play(buffer, 0, first=3)
    assert buffer.statistics().received == 2


def test_no_more_is_held_than_any_delay_needs() -> None:
    buffer = make_buffer()
    play(buffer, 0)
    reasons = [buffer.push(make_packet(2 + index), now=0.0) for index in range(MAX_HELD + 10)]
    assert reasons == [None] * MAX_HELD + [DropReason.OVERFLOW] * 10


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(
            st.integers(0, 0xFFFF) | st.integers(0, 9),
            st.integers(0, 2**32 - 1),
            st.integers(0, 1),
            st.binary(max_size=2),
            st.booleans(),
        )
    )
)
def test_no_sequence_of_packets_makes_it_go_back_or_hold_more_than_it_may(
    packets: list[tuple[int, int, int, bytes, bool]],
) -> None:
    buffer = make_buffer()
    reached = 0
    for number, timestamp, ssrc, payload, is_whole in packets:
        buffer.push(RtpPacket(0, number, timestamp, ssrc, payload), now=0.0)
        for item in [*pop_all(buffer), buffer.give_up(is_whole=is_whole)]:
            if item is not None:
                assert item.position >= reached
                assert 0 <= item.ticks <= 960
                assert 0 <= item.timestamp < 2**32
                reached = item.position + item.ticks
        assert len(buffer._held) + len(buffer._ready) <= MAX_HELD
        assert buffer.held_ticks >= 0
    statistics = buffer.statistics()
    held = len(buffer._held) + sum(isinstance(item, Received) for item in buffer._ready)
    # What is only padding is in no count once it had its turn.
    accounted = statistics.received + sum(statistics.dropped.values()) + held
    assert sum(bool(payload) for *_, payload, _is_whole in packets) <= accounted <= len(packets)
