from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.audio import Lost, ReceiveBuffer, Received, open_codec
from voicegate.audio.receive import HOLD_SECONDS, MAX_HELD, ReceiveItem
from voicegate.rtp.packet import RtpPacket

TICKS = 160


def make_packet(index: int, *, first: int = 0, ssrc: int = 1, timestamp: int | None = None) -> RtpPacket:
    """A G.711 packet whose payload says which one it is, in a stream whose numbers begin anywhere."""
    ticks = (first * 12345 + index * TICKS) & 0xFFFFFFFF if timestamp is None else timestamp
    payload = index.to_bytes(4, "big") * (TICKS // 4)
    return RtpPacket(0, (first + index) & 0xFFFF, ticks, ssrc, payload)


def index_of(item: ReceiveItem) -> int:
    payload = item.payload if isinstance(item, Received) else item.following
    return int.from_bytes(payload[:4], "big")


def drain(buffer: ReceiveBuffer) -> list[ReceiveItem]:
    items = []
    while (item := buffer.poll()) is not None:
        items.append(item)
    return items


def make_buffer() -> ReceiveBuffer:
    return ReceiveBuffer(open_codec("PCMU"))


def play(buffer: ReceiveBuffer, *indices: int, first: int = 0, now: float = 0.0) -> list[ReceiveItem]:
    items = []
    for index in indices:
        buffer.push(make_packet(index, first=first), now=now)
        items += drain(buffer)
    return items


def received(index: int, *, first: int = 0) -> Received:
    packet = make_packet(index, first=first)
    return Received(packet.payload, packet.timestamp)


class Arrival(NamedTuple):
    time: float
    number: int


@st.composite
def journeys(draw: st.DrawFn) -> list[Arrival]:
    """Packets sent every 20 ms, each lost, doubled or delayed by up to 200 ms, in order of arrival."""
    fates = draw(st.lists(st.lists(st.integers(0, 200), max_size=2), min_size=1, max_size=40))
    arrivals = [
        Arrival(index * 0.020 + delay / 1000, index) for index, delays in enumerate(fates) for delay in delays
    ]
    return sorted(arrivals)


@pytest.mark.slow
@given(journeys(), st.integers(0, 0xFFFF))
def test_whatever_the_network_does_the_stream_is_whole_and_in_order(
    arrivals: list[Arrival], first: int
) -> None:
    buffer = make_buffer()
    released: list[tuple[float, ReceiveItem]] = []

    def take(now: float) -> None:
        released.extend((now, item) for item in drain(buffer))

    for arrival in arrivals:
        while (due := buffer.poll_timeout()) is not None and due <= arrival.time:
            buffer.handle_timeout(due)
            take(due)
        buffer.push(make_packet(arrival.number, first=first), now=arrival.time)
        take(arrival.time)
    while (due := buffer.poll_timeout()) is not None:
        buffer.handle_timeout(due)
        take(due)

    # In order, none twice, and each gap announced right before what comes after it, with its exact length.
    indices = [index_of(item) for _, item in released if isinstance(item, Received)]
    assert indices == sorted(set(indices))
    previous: Received | None = None
    missing = 0
    for position, (_, item) in enumerate(released):
        if isinstance(item, Lost):
            after = released[position + 1][1]
            assert isinstance(after, Received)
            assert previous is not None
            gap = index_of(after) - index_of(previous) - 1
            assert item == Lost(
                min(gap * TICKS, 960), (after.timestamp - item.samples) % 2**32, after.payload
            )
            missing += gap
        else:
            if previous is not None and not isinstance(released[position - 1][1], Lost):
                assert index_of(item) == index_of(previous) + 1
            previous = item

    # Nothing waits longer than the limit.
    first_arrival = {index: min(a.time for a in arrivals if a.number == index) for index in indices}
    assert all(
        now - first_arrival[index_of(item)] <= HOLD_SECONDS + 1e-9
        for now, item in released
        if isinstance(item, Received)
    )

    # Every packet is accounted for.
    statistics = buffer.statistics()
    assert statistics.received == len(indices)
    assert statistics.lost == missing
    assert statistics.received + sum(statistics.dropped.values()) == len(arrivals)
    assert statistics.dropped["malformed"] == statistics.restarts == 0


@pytest.mark.slow
@given(st.permutations(range(3)), st.lists(st.permutations(range(3)), max_size=10), st.integers(0, 0xFFFF))
def test_packets_up_to_two_places_out_of_order_are_all_put_right(
    head: list[int], groups: list[list[int]], first: int
) -> None:
    buffer = make_buffer()
    sent = [0, *(1 + 3 * number + place for number, group in enumerate([head, *groups]) for place in group)]
    assert play(buffer, *sent, first=first) == [received(index, first=first) for index in sorted(sent)]
    assert buffer.poll_timeout() is None


def test_packets_in_order_are_never_held() -> None:
    buffer = make_buffer()
    for index in range(5):
        assert play(buffer, index, first=65533) == [received(index, first=65533)]


def test_a_gap_is_given_up_when_three_packets_wait_behind_it() -> None:
    buffer = make_buffer()
    assert play(buffer, 0, 3, 4) == [received(0)]
    behind = received(3)
    assert play(buffer, 5) == [
        Lost(2 * TICKS, TICKS, behind.payload),
        behind,
        received(4),
        received(5),
    ]
    assert buffer.statistics().lost == 2


def test_a_gap_is_given_up_when_the_packet_behind_it_has_waited_60_ms() -> None:
    buffer = make_buffer()
    assert play(buffer, 0, now=1.0) == [received(0)]
    assert play(buffer, 2, now=1.01) == []
    assert buffer.poll_timeout() == pytest.approx(1.07)
    buffer.handle_timeout(1.06)
    assert drain(buffer) == []
    buffer.handle_timeout(1.07)
    assert drain(buffer) == [Lost(TICKS, TICKS, received(2).payload), received(2)]
    assert buffer.poll_timeout() is None


def test_a_timeout_that_nobody_delivered_happens_with_the_next_packet() -> None:
    buffer = make_buffer()
    play(buffer, 0, 2, now=1.0)
    assert [type(item) for item in play(buffer, 1, now=2.0)] == [Lost, Received]
    assert buffer.statistics().dropped["late"] == 1


def test_several_gaps_are_given_up_one_after_the_other() -> None:
    buffer = make_buffer()
    play(buffer, 0)
    assert play(buffer, 2, 4, now=0.0) == []
    assert [type(item) for item in play(buffer, 6, now=0.02)] == [Lost, Received]
    buffer.handle_timeout(0.06)
    assert [type(item) for item in drain(buffer)] == [Lost, Received]
    assert buffer.poll_timeout() == pytest.approx(0.08)


def test_late_packets_and_duplicates_are_told_apart() -> None:
    buffer = make_buffer()
    play(buffer, 5, 6, 8, 9, 10)
    assert play(buffer, 7) == []
    assert play(buffer, 6, 10) == []
    assert play(buffer, 4) == []
    assert play(buffer, 12, 12) == []
    assert buffer.statistics().dropped == {"late": 1, "duplicate": 4, "malformed": 0}


def test_a_long_outage_asks_for_no_more_than_120_ms_of_concealment() -> None:
    buffer = make_buffer()
    play(buffer, 0)
    lost, *rest = play(buffer, 1000, 1001, 1002)
    assert lost == Lost(960, 1000 * TICKS - 960, received(1000).payload)
    assert rest == [received(1000), received(1001), received(1002)]
    assert buffer.statistics().lost == 999


def test_a_jump_of_the_timestamp_alone_is_silence_and_not_loss() -> None:
    buffer = make_buffer()
    play(buffer, 0)
    later = make_packet(1, timestamp=123_456)
    buffer.push(later, now=1.0)
    assert drain(buffer) == [Received(later.payload, 123_456)]
    assert buffer.statistics().lost == 0


def test_loss_in_a_pause_lies_right_before_the_next_packet() -> None:
    buffer = make_buffer()
    play(buffer, 0)
    later = make_packet(2, timestamp=100_000)
    buffer.push(later, now=0.0)
    buffer.handle_timeout(1.0)
    assert drain(buffer)[0] == Lost(TICKS, 100_000 - TICKS, later.payload)


@pytest.mark.parametrize("jump", [3001, 30_000, 65_536 - 101])
def test_a_far_jump_of_the_sequence_number_begins_a_new_stream(jump: int) -> None:
    buffer = make_buffer()
    play(buffer, 0, 2)
    assert play(buffer, 1 + jump) == [
        Lost(TICKS, TICKS, received(2).payload),
        received(2),
        received(1 + jump),
    ]
    assert buffer.statistics().restarts == 1
    assert play(buffer, 2 + jump) == [received(2 + jump)]


def test_jumps_as_far_as_loss_and_delay_go_do_not_begin_a_new_stream() -> None:
    buffer = make_buffer()
    play(buffer, 0)
    assert play(buffer, 1 + 3000) == []
    assert play(buffer, 1 + 65_536 - 100) == []
    assert buffer.statistics().restarts == 0
    assert buffer.statistics().dropped["duplicate"] == 1


def test_what_was_lost_of_the_old_stream_is_not_late_in_the_new_one() -> None:
    buffer = make_buffer()
    play(buffer, 0, 2, 3, 4)
    for index in (5, 1):
        buffer.push(make_packet(index, ssrc=2), now=0.0)
    assert buffer.statistics().dropped == {"late": 0, "duplicate": 1, "malformed": 0}


def test_a_new_source_begins_a_new_stream_behind_what_is_left_of_the_old() -> None:
    buffer = make_buffer()
    play(buffer, 0, 2)
    other = make_packet(2, ssrc=2)
    buffer.push(other, now=0.0)
    assert drain(buffer) == [Lost(TICKS, TICKS, received(2).payload), received(2), received(2)]
    assert buffer.statistics().restarts == 1
    assert buffer.statistics().dropped["duplicate"] == 0


def test_what_cannot_be_a_payload_counts_as_lost() -> None:
    buffer = ReceiveBuffer(open_codec("opus"))
    frame = b"\xf8\xff\xfe"
    for number, payload in enumerate([frame, b"", frame, frame, frame]):
        buffer.push(RtpPacket(111, number, number * 960, 1, payload), now=0.0)
    assert drain(buffer) == [
        Received(frame, 0),
        Lost(960, 960, frame),
        *(Received(frame, 960 * number) for number in (2, 3, 4)),
    ]
    assert buffer.statistics().dropped["malformed"] == 1


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1), st.integers(0, 1), st.binary(max_size=2))
    )
)
def test_no_sequence_of_packets_makes_it_hold_more_than_it_may(
    packets: list[tuple[int, int, int, bytes]],
) -> None:
    buffer = make_buffer()
    for number, timestamp, ssrc, payload in packets:
        buffer.push(RtpPacket(0, number, timestamp, ssrc, payload), now=0.0)
        for item in drain(buffer):
            assert isinstance(item, Received) or 0 < item.samples <= 960
            assert 0 <= item.timestamp < 2**32
        assert len(buffer._held) < MAX_HELD
    statistics = buffer.statistics()
    assert statistics.received + sum(statistics.dropped.values()) + len(buffer._held) == len(packets)
