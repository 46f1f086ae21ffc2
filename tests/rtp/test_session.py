"""A session: two of them talk to each other, in virtual time."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rtp.strategy import RTCP_PACKETS, RTP_PACKETS
from voicegate.rtp import (
    Goodbye,
    GoodbyeReceived,
    ReceiverReport,
    RtcpPacket,
    RtpPacket,
    RtpSender,
    RtpSession,
    SenderReport,
    SourceDescription,
    decode_compound,
    encode_compound,
)
from voicegate.rtp.session import MAX_SOURCES


def middle(length: int) -> bytes:
    """Random bytes that leave every interval at its average."""
    return b"\x80" + bytes(length - 1)


def session(ssrc: int = 1, *, random: Callable[[int], bytes] = middle, now: float = 0) -> RtpSession:
    return RtpSession(
        RtpSender.begin(ssrc=ssrc, payload_type=111, clock_rate=48000, random=random),
        cname=f"participant {ssrc}",
        ntp_at_zero=3_900_000_000,
        random=random,
        now=now,
    )


def send(source: RtpSession, sink: RtpSession, *, now: float, delay: float = 0) -> None:
    deliver(source.next_packet(b"20 ms", samples=960, now=now), sink, now=now + delay)


def deliver(packet: bytes, sink: RtpSession, *, now: float) -> None:
    _, number, timestamp, ssrc, *_ = RtpPacket.decode(packet)
    sink.handle_packet(ssrc, number, timestamp, now=now)


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
        there.handle_packet(ssrc, 0, 0, now=0)
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


@given(
    st.lists(
        st.tuples(
            st.floats(0, 10),
            st.one_of(RTP_PACKETS, st.lists(RTCP_PACKETS, min_size=1, max_size=3), st.binary(max_size=60)),
        ),
        max_size=12,
    )
)
def test_nothing_a_peer_sends_gets_the_session_out_of_step(
    script: list[tuple[float, RtpPacket | list[RtcpPacket] | bytes]],
) -> None:
    here = session()
    now = 0.0
    for pause, step in script:
        now += pause
        match step:
            case RtpPacket():
                here.handle_packet(step.ssrc, step.sequence_number, step.timestamp, now=now)
            case bytes():
                here.handle_compound(step, now=now)
            case _:
                here.handle_compound(encode_compound(step), now=now)
        here.handle_timeout(now=now)
        while (compound := here.poll_transmit()) is not None:
            assert len(compound) <= 28 + 24 * MAX_SOURCES + 24
            assert decode_compound(compound)
        while here.poll_event() is not None:
            pass
        due = here.poll_timeout()
        assert due is not None
        assert now < due <= now + 3.75
        assert here.statistics().packets_received <= len(script)
