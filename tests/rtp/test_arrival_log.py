"""What is told of the packets that arrived, against what did arrive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.rtp import TransportFeedback, decode_compound, encode_compound
from voicegate.rtp.arrival_log import FEEDBACK_INTERVAL, MAX_FEEDBACKS, MAX_GAP, MAX_NOTED, ArrivalLog


def noted(log: ArrivalLog, *packets: tuple[int, float]) -> list[TransportFeedback]:
    for number, at in packets:
        log.handle_packet(number & 0xFFFF, now=at)
    return log.take_feedbacks(ssrc=1, media_ssrc=2)


def told(feedbacks: list[TransportFeedback]) -> list[tuple[int, list[float | None]]]:
    """Read feedback as its receiver does: a base, and of each packet when it arrived."""
    rows = []
    for feedback in feedbacks:
        row: list[float | None] = [None] * feedback.packet_count
        ticks = feedback.reference_time * 256
        for offset, delta in feedback.arrivals:
            ticks += delta
            row[offset] = ticks / 4000
        rows.append((feedback.base_sequence_number, row))
    return rows


def test_nothing_is_due_before_the_first_packet() -> None:
    log = ArrivalLog()
    assert log.due_at is None
    assert log.take_feedbacks(ssrc=1, media_ssrc=2) == []


def test_feedback_is_due_a_while_after_the_first_packet() -> None:
    log = ArrivalLog()
    log.handle_packet(7, now=1)
    log.handle_packet(8, now=1.1)
    assert log.due_at == 1 + FEEDBACK_INTERVAL
    noted(log)
    assert log.due_at is None


def test_what_is_missing_is_told_with_what_came() -> None:
    log = ArrivalLog()
    assert told(noted(log, (5, 10.0), (7, 10.02))) == [(5, [10.0, None, 10.02])]
    assert told(noted(log, (9, 10.25))) == [(8, [None, 10.25])]


def test_reordered_packets_stand_in_their_order() -> None:
    assert told(noted(ArrivalLog(), (5, 1.0), (7, 1.02), (6, 1.03))) == [(5, [1.0, 1.03, 1.02])]


def test_of_copies_the_first_counts() -> None:
    assert told(noted(ArrivalLog(), (5, 1.0), (5, 1.02))) == [(5, [1.0])]


def test_numbers_wrap() -> None:
    log = ArrivalLog()
    assert told(noted(log, (65535, 1.0), (0, 1.25))) == [(65535, [1.0, 1.25])]
    assert told(noted(log, (2, 1.5))) == [(1, [None, 1.5])]


def test_a_packet_from_before_the_first_is_told_of_alone() -> None:
    assert told(noted(ArrivalLog(), (5, 1.0), (3, 1.25))) == [(3, [1.25]), (5, [1.0])]
    assert told(noted(ArrivalLog(), (5, 1.0), (4, 1.25))) == [(4, [1.25, 1.0])]


def test_late_packets_say_nothing_of_those_told_before() -> None:
    log = ArrivalLog()
    noted(log, (10, 1.0), (20, 1.0))
    rows = told(noted(log, (12, 1.25), (13, 1.25), (17, 1.5), (22, 1.75)))
    assert rows == [(12, [1.25, 1.25]), (17, [1.5]), (21, [None, 1.75])]


def test_a_late_packet_right_before_the_next_joins_it() -> None:
    log = ArrivalLog()
    noted(log, (10, 1.0))
    assert told(noted(log, (9, 1.25), (12, 1.5))) == [(9, [1.25]), (11, [None, 1.5])]
    assert told(noted(log, (12, 2.0), (13, 2.0), (15, 2.0))) == [(12, [2.0, 2.0, None, 2.0])]


def test_a_sender_that_counts_anew_is_not_told_of_losses() -> None:
    log = ArrivalLog()
    noted(log, (10, 1.0))
    assert told(noted(log, (12 + MAX_GAP, 2.0))) == [(12 + MAX_GAP, [2.0])]
    assert told(noted(log, (13 + MAX_GAP, 3.0), (15 + 2 * MAX_GAP, 3.0))) == [
        (13 + MAX_GAP, [3.0]),
        (15 + 2 * MAX_GAP, [3.0]),
    ]
    assert told(noted(log, (17 + 2 * MAX_GAP, 4.0))) == [(16 + 2 * MAX_GAP, [None, 4.0])]


def test_a_pause_that_no_delta_can_say_begins_another_message() -> None:
    assert told(noted(ArrivalLog(), (5, 1.0), (7, 99.0))) == [(5, [1.0]), (6, [None, 99.0])]


def test_feedbacks_are_counted() -> None:
    log = ArrivalLog()
    counts = [noted(log, (number, 1.0))[0].feedback_count for number in range(258)]
    assert counts == [*range(256), 0, 1]


def test_the_reference_time_wraps() -> None:
    (feedback,) = noted(ArrivalLog(), (1, 0x80_0001 * 0.064))
    assert feedback.reference_time == -0x7F_FFFF


def test_when_there_is_no_more_room_feedback_is_due_at_once() -> None:
    log = ArrivalLog()
    for number in range(MAX_NOTED):
        log.handle_packet(number, now=1)
    assert log.due_at == 1 + FEEDBACK_INTERVAL
    log.handle_packet(MAX_NOTED, now=1.1)
    assert log.due_at == 1.1
    (feedback,) = noted(log)
    assert feedback.packet_count == MAX_NOTED


def test_scattered_packets_make_a_few_messages() -> None:
    feedbacks = noted(ArrivalLog(), *((number * 2 * MAX_GAP, 1.0) for number in range(30)))
    assert len(feedbacks) == MAX_FEEDBACKS
    assert feedbacks[-1].base_sequence_number == 29 * 2 * MAX_GAP


@given(
    st.integers(0, 0xFFFF),
    st.lists(st.lists(st.integers(-40, 40), max_size=12), max_size=8),
    st.integers(0, 0xFFFF),
)
def test_everything_that_arrived_is_told_once_and_nothing_else(
    first: int, rounds: list[list[int]], jump: int
) -> None:
    log = ArrivalLog()
    now = 1.0
    for step, offsets in enumerate(rounds):
        packets = []
        for offset in offsets:
            now += 0.25
            number = (first + 100 + offset + (jump if step > 4 else 0)) & 0xFFFF
            packets.append((number, now))
        fresh: dict[int, float] = {}
        for number, at in packets:
            fresh.setdefault(number, at)
        feedbacks = noted(log, *packets)
        data = encode_compound(feedbacks) if feedbacks else b""
        assert len(data) <= 900
        assert not data or decode_compound(data) == tuple(feedbacks)
        if len(feedbacks) == MAX_FEEDBACKS:
            continue
        rows = told(feedbacks)
        said = {
            (base + index) & 0xFFFF: at
            for base, row in rows
            for index, at in enumerate(row)
            if at is not None
        }
        assert said == fresh


@pytest.mark.parametrize("losses", [set(), {3, 4, 17}])
def test_a_steady_stream_is_told_in_one_message_each_time(losses: set[int]) -> None:
    log = ArrivalLog()
    rows = []
    for number in range(40):
        if number not in losses:
            log.handle_packet(number, now=number * 0.02)
        if number % 10 == 9:
            rows += told(noted(log))
    assert [at is None for _, row in rows for at in row] == [number in losses for number in range(40)]
