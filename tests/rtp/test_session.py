"""A session: two of them talk to each other, in virtual time."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rtp.strategy import RTCP_PACKETS, RTP_PACKETS, U16
from voicegate.rtp import (
    DelayReport,
    ExtendedReport,
    GenericNack,
    Goodbye,
    GoodbyeReceived,
    ReceiverReferenceTime,
    ReceiverReport,
    ReceiverReportDelay,
    ReportBlock,
    ReportReceived,
    RetransmissionRequested,
    RtcpPacket,
    RtpPacket,
    RtpSender,
    RtpSession,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    decode_compound,
    encode_compound,
)
from voicegate.rtp.arrival_log import FEEDBACK_INTERVAL
from voicegate.rtp.session import MAX_REQUESTED, MAX_SOURCES


def middle(length: int) -> bytes:
    """Random bytes that leave every interval at its average."""
    return b"\x80" + bytes(length - 1)


def session(
    ssrc: int = 1,
    *,
    random: Callable[[int], bytes] = middle,
    now: float = 0,
    has_reduced_size: bool = False,
) -> RtpSession:
    return RtpSession(
        RtpSender.begin(ssrc=ssrc, payload_type=111, clock_rate=48000, random=random),
        cname=f"participant {ssrc}",
        ntp_at_zero=3_900_000_000,
        random=random,
        now=now,
        has_reduced_size=has_reduced_size,
    )


def send(source: RtpSession, sink: RtpSession, *, now: float, delay: float = 0) -> None:
    deliver(source.next_packet(b"20 ms", samples=960, now=now), sink, now=now + delay)


def deliver(packet: bytes, sink: RtpSession, *, now: float) -> None:
    sink.handle_packet(RtpPacket.decode(packet), now=now)


def due_compound(source: RtpSession) -> tuple[RtcpPacket, ...]:
    """Let the time come for the next report, and take it."""
    due = source.poll_timeout()
    assert due is not None
    source.handle_timeout(now=due)
    compound = source.poll_transmit()
    assert compound is not None
    assert source.poll_transmit() is None
    return decode_compound(compound)


def test_the_first_report_comes_early_and_the_others_in_their_interval() -> None:
    here = session(now=100)
    assert here.poll_timeout() == 101
    here.handle_timeout(now=100.9)
    assert here.poll_transmit() is None
    due_compound(here)
    assert here.poll_timeout() == 103.5


@pytest.mark.parametrize(("bits", "first", "later"), [(b"\x00", 0.5, 1.25), (b"\xff", 1.5, 3.75)])
def test_intervals_vary_by_half(bits: bytes, first: float, later: float) -> None:
    here = session(random=lambda length: bits * length)
    assert here.poll_timeout() == pytest.approx(first)
    here.handle_timeout(now=10)
    assert here.poll_timeout() == pytest.approx(10 + later)


def test_who_has_sent_nothing_reports_as_a_receiver_and_names_itself() -> None:
    report, description = due_compound(session())
    assert report == ReceiverReport(ssrc=1)
    assert isinstance(description, SourceDescription)
    assert description.chunks[0].items == ((1, b"participant 1"),)


def test_who_sends_reports_as_a_sender_until_two_intervals_after() -> None:
    here, there = session(1), session(2)
    send(here, there, now=0.5)
    kinds = [type(due_compound(here)[0]) for _ in range(4)]
    assert kinds == [SenderReport, SenderReport, ReceiverReport, ReceiverReport]


def test_the_wallclock_in_a_report_is_that_of_now() -> None:
    here = session()
    here.next_packet(b"", samples=960, now=0)
    report, _ = due_compound(here)
    assert isinstance(report, SenderReport)
    assert report.ntp_timestamp == 3_900_000_001 << 32


def test_both_sides_learn_loss_and_round_trip() -> None:
    here, there = session(1), session(2)
    for number in range(40):
        packet = here.next_packet(b"", samples=960, now=number * 0.02)
        if number % 4 != 1:
            deliver(packet, there, now=number * 0.02 + 0.03)
    there.handle_compound(encode_compound(due_compound(here)), now=1.03)
    there.handle_timeout(now=1.5)
    compound = there.poll_transmit()
    assert compound is not None
    here.handle_compound(compound, now=1.53)
    assert here.statistics().round_trip == pytest.approx(0.06, abs=1e-4)
    assert here.statistics().remote_fraction_lost == pytest.approx(0.25, abs=0.01)
    assert there.statistics().packets_received == 30
    assert there.statistics().packets_lost == 10
    assert there.statistics().round_trip is None


def test_a_source_is_reported_on_only_while_it_sends() -> None:
    here, there = session(1), session(2)
    send(here, there, now=0.5)
    first, second = due_compound(there)[0], due_compound(there)[0]
    assert isinstance(first, ReceiverReport)
    assert [block.ssrc for block in first.reports] == [1]
    assert second == ReceiverReport(ssrc=2)


def test_statistics_tell_what_was_sent_and_received() -> None:
    here, there = session(1), session(2)
    assert there.statistics().jitter is None
    send(here, there, now=0)
    send(here, there, now=0.02, delay=0.01)
    assert here.statistics().packets_sent == 2
    assert here.statistics().octets_sent == 10
    assert there.statistics().packets_received == 2
    assert there.statistics().jitter == pytest.approx(0.01 / 16)


def test_only_the_newest_sources_are_kept() -> None:
    there = session(2)
    for ssrc in range(100, 100 + MAX_SOURCES + 3):
        there.handle_packet(RtpPacket(111, 0, 0, ssrc), now=0)
    report = due_compound(there)[0]
    assert isinstance(report, ReceiverReport)
    assert [block.ssrc for block in report.reports] == list(range(103, 103 + MAX_SOURCES))


def test_a_goodbye_becomes_an_event_and_its_sources_are_forgotten() -> None:
    here, there = session(1), session(2)
    send(here, there, now=0)
    there.handle_compound(encode_compound([Goodbye(ssrcs=(1, 5), reason=b"enough")]), now=1)
    assert there.poll_event() == GoodbyeReceived(ssrcs=(1, 5), reason=b"enough")
    assert there.poll_event() is None
    assert there.statistics().packets_received == 0


def test_skipped_time_is_no_jitter() -> None:
    here, there = session(1), session(2)
    send(here, there, now=0)
    here.skip(48000)
    send(here, there, now=1.02)
    assert there.statistics().jitter == pytest.approx(0)


def test_closing_says_goodbye_and_ends_the_reports() -> None:
    here = session()
    here.next_packet(b"", samples=960, now=0)
    here.close(now=0.5)
    compound = here.poll_transmit()
    assert compound is not None
    report, description, goodbye = decode_compound(compound)
    assert isinstance(report, SenderReport)
    assert isinstance(description, SourceDescription)
    assert goodbye == Goodbye(ssrcs=(1,))
    assert here.poll_timeout() is None
    here.handle_timeout(now=100)
    here.close(now=100)
    assert here.poll_transmit() is None


def test_who_was_never_heard_says_no_goodbye() -> None:
    here = session()
    here.close(now=0.5)
    assert here.poll_transmit() is None
    assert here.poll_timeout() is None


def test_who_has_only_reported_says_goodbye() -> None:
    here = session()
    due_compound(here)
    here.close(now=2)
    assert here.poll_transmit() is not None


def test_a_malformed_compound_is_counted_and_dropped() -> None:
    here = session()
    here.handle_compound(encode_compound([Goodbye(ssrcs=(1,))]) + b"\x80", now=0)
    assert here.statistics().malformed_compounds == 1
    assert here.poll_event() is None


def test_a_report_on_somebody_else_is_not_taken_for_ours() -> None:
    here, there, third = session(1), session(2), session(3)
    send(third, there, now=0)
    here.handle_compound(encode_compound(due_compound(there)), now=2)
    assert here.statistics().remote_fraction_lost is None


def test_a_report_on_ours_becomes_an_event() -> None:
    here = session(1)
    block = ReportBlock(
        ssrc=1,
        fraction_lost=64,
        packets_lost=3,
        highest_sequence_number=0x1_0007,
        jitter=480,
        last_sender_report=0,
        delay_since_last_sender_report=0,
    )
    here.handle_compound(encode_compound([ReceiverReport(ssrc=2, reports=(block,))]), now=1)
    assert here.poll_event() == ReportReceived(
        fraction_lost=0.25, highest_sequence=0x1_0007, round_trip=None, jitter=0.01
    )
    assert here.poll_event() is None


def test_a_report_tells_the_round_trip() -> None:
    here, there = session(1), session(2)
    send(here, there, now=0.5)
    there.handle_compound(encode_compound(due_compound(here)), now=1.1)
    there.handle_timeout(now=1.5)
    compound = there.poll_transmit()
    assert compound is not None
    here.handle_compound(compound, now=1.6)
    event = here.poll_event()
    assert isinstance(event, ReportReceived)
    assert event.round_trip == pytest.approx(0.2, abs=1e-4)


def taken(source: RtpSession) -> tuple[RtcpPacket, ...]:
    compound = source.poll_transmit()
    assert compound is not None
    assert source.poll_transmit() is None
    return decode_compound(compound)


@pytest.mark.parametrize("has_reduced_size", [False, True])
def test_missing_packets_are_asked_for_at_once(has_reduced_size: bool) -> None:
    here, there = session(1, has_reduced_size=has_reduced_size), session(2)
    send(there, here, now=0)
    here.request((5, 6, 9), now=0.1)
    *before, nack = taken(here)
    assert nack == GenericNack(ssrc=1, media_ssrc=2, sequence_numbers=(5, 6, 9))
    assert [type(packet) for packet in before] == (
        [] if has_reduced_size else [ReceiverReport, SourceDescription]
    )
    there.handle_compound(encode_compound([*before, nack]), now=0.2)
    assert there.poll_event() == RetransmissionRequested(sequence_numbers=(5, 6, 9))


def test_nothing_is_asked_of_nobody_nor_after_the_end() -> None:
    here, there = session(1), session(2)
    here.request((5,), now=0)
    send(there, here, now=0)
    here.request((), now=0)
    assert here.poll_transmit() is None
    here.handle_compound(encode_compound([Goodbye(ssrcs=(2, 3))]), now=1)
    here.request((5,), now=1)
    send(there, here, now=1)
    here.close(now=2)
    here.request((5,), now=2)
    assert here.poll_transmit() is None


def test_a_request_fits_a_datagram() -> None:
    here, there = session(1), session(2)
    send(there, here, now=0)
    here.request(tuple(range(0, 20000, 20)), now=0)
    nack = taken(here)[-1]
    assert isinstance(nack, GenericNack)
    assert nack.sequence_numbers == tuple(range(0, 20000, 20))[-MAX_REQUESTED:]


def test_requests_for_others_or_for_nothing_are_passed_over() -> None:
    here = session(1)
    packets = [
        GenericNack(ssrc=2, media_ssrc=3, sequence_numbers=(1,)),
        GenericNack(ssrc=2, media_ssrc=1, sequence_numbers=()),
    ]
    here.handle_compound(encode_compound(packets), now=0)
    assert here.poll_event() is None


def test_what_has_arrived_is_told_on_its_own_timer() -> None:
    here, there = session(1, has_reduced_size=True), session(2)
    for number in range(3):
        packet = RtpPacket.decode(there.next_packet(b"", samples=960, now=0))
        here.handle_packet(packet, transport_sequence=100 + 2 * number, now=0.064 + number * 0.02)
    assert here.poll_timeout() == pytest.approx(0.064 + FEEDBACK_INTERVAL)
    here.handle_timeout(now=0.2)
    assert here.poll_transmit() is None
    here.handle_timeout(now=0.27)
    (feedback,) = taken(here)
    assert feedback == TransportFeedback(
        ssrc=1,
        media_ssrc=2,
        base_sequence_number=100,
        packet_count=5,
        reference_time=1,
        feedback_count=0,
        arrivals=((0, 0), (2, 80), (4, 80)),
    )
    assert here.poll_timeout() == 1


def test_feedback_rides_with_a_report_and_with_a_request() -> None:
    here, there = session(1), session(2)
    packet = RtpPacket.decode(there.next_packet(b"", samples=960, now=0))
    here.handle_packet(packet, transport_sequence=1, now=0.9)
    assert here.poll_timeout() == 1
    here.handle_timeout(now=1)
    assert [type(each) for each in taken(here)] == [ReceiverReport, SourceDescription, TransportFeedback]
    here.handle_packet(packet, transport_sequence=2, now=1.1)
    here.request((7,), now=1.15)
    assert [type(each) for each in taken(here)][2:] == [GenericNack, TransportFeedback]
    assert here.poll_timeout() == 3.5


def test_feedback_that_has_no_source_any_more_names_none() -> None:
    here = session(1, has_reduced_size=True)
    here.handle_packet(RtpPacket(111, 0, 0, 2), transport_sequence=1, now=0)
    here.handle_compound(encode_compound([Goodbye(ssrcs=(2,))]), now=0.1)
    here.handle_timeout(now=0.3)
    (feedback,) = taken(here)
    assert isinstance(feedback, TransportFeedback)
    assert feedback.media_ssrc == 0


def test_after_the_end_nothing_is_told() -> None:
    here = session(1)
    here.close(now=0)
    here.handle_packet(RtpPacket(111, 0, 0, 2), transport_sequence=1, now=0)
    here.handle_timeout(now=9)
    assert (here.poll_timeout(), here.poll_transmit()) == (None, None)


def test_a_receiver_is_told_how_long_ago_its_reference_time_came() -> None:
    here = session(1)
    block = ReceiverReferenceTime(ntp_timestamp=0x1111_2222_3333_4444)
    here.handle_compound(encode_compound([ExtendedReport(ssrc=7, blocks=(block,))]), now=0.25)
    *_, report = due_compound(here)
    delay = ReceiverReportDelay(
        ssrc=7, last_receiver_report=0x2222_3333, delay_since_last_receiver_report=0xC000
    )
    assert report == ExtendedReport(ssrc=1, blocks=(DelayReport(delays=(delay,)),))
    assert len(due_compound(here)) == 2
    here.handle_compound(encode_compound([report]), now=4)
    assert len(due_compound(here)) == 2


def test_only_so_many_receivers_are_answered() -> None:
    here = session(1)
    block = ReceiverReferenceTime(ntp_timestamp=0)
    for ssrc in (*range(100, 100 + MAX_SOURCES + 3), 103):
        here.handle_compound(encode_compound([ExtendedReport(ssrc=ssrc, blocks=(block,))]), now=0)
    *_, report = due_compound(here)
    assert isinstance(report, ExtendedReport)
    (answer,) = report.blocks
    assert isinstance(answer, DelayReport)
    assert [delay.ssrc for delay in answer.delays] == list(range(103, 103 + MAX_SOURCES))


class Arrival(NamedTuple):
    packet: RtpPacket
    transport_sequence: int | None


@given(
    st.lists(
        st.tuples(
            st.floats(0, 10),
            st.one_of(
                st.builds(Arrival, RTP_PACKETS, st.none() | U16),
                st.lists(RTCP_PACKETS, min_size=1, max_size=3),
                st.frozensets(U16, max_size=3),
                st.binary(max_size=60),
            ),
        ),
        max_size=12,
    )
)
def test_nothing_a_peer_sends_gets_the_session_out_of_step(
    script: list[tuple[float, Arrival | list[RtcpPacket] | frozenset[int] | bytes]],
) -> None:
    here = session()
    now = 0.0
    for pause, step in script:
        now += pause
        match step:
            case Arrival(packet, transport_sequence):
                here.handle_packet(packet, transport_sequence=transport_sequence, now=now)
            case bytes():
                here.handle_compound(step, now=now)
            case list():
                here.handle_compound(encode_compound(step), now=now)
            case frozenset() as numbers:
                here.request(tuple(numbers), now=now)
        here.handle_timeout(now=now)
        while (compound := here.poll_transmit()) is not None:
            assert len(compound) <= 1200
            assert decode_compound(compound)
        while here.poll_event() is not None:
            pass
        due = here.poll_timeout()
        assert due is not None
        assert now < due <= now + 3.75
        assert here.statistics().packets_received <= len(script)
