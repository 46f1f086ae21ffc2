"""A source of our own."""

import pytest
from hypothesis import given

from tests.rtp.strategy import REPORT_BLOCKS
from voicegate.errors import UsageError
from voicegate.rtp import ReportBlock, RtpPacket, RtpSender


def sender(*, sequence_number: int = 0, timestamp: int = 0) -> RtpSender:
    return RtpSender(
        ssrc=0xCAFE, payload_type=111, clock_rate=48000, sequence_number=sequence_number, timestamp=timestamp
    )


def block(*, reference: int, delay: float = 0, fraction_lost: int = 0) -> ReportBlock:
    return ReportBlock(
        ssrc=0xCAFE,
        fraction_lost=fraction_lost,
        packets_lost=0,
        highest_sequence_number=0,
        jitter=0,
        last_sender_report=reference,
        delay_since_last_sender_report=round(delay * 0x10000),
    )


def test_numbers_and_timestamps_go_on_and_wrap() -> None:
    source = sender(sequence_number=0xFFFF, timestamp=0xFFFFFFFF)
    first = source.next_packet(b"one", samples=960, now=0, marker=True)
    second = source.next_packet(b"two", samples=960, now=0.02)
    assert RtpPacket.decode(first) == RtpPacket(111, 0xFFFF, 0xFFFFFFFF, 0xCAFE, b"one", marker=True)
    assert RtpPacket.decode(second) == RtpPacket(111, 0, 959, 0xCAFE, b"two")


def test_skipped_time_shows_in_the_timestamp_only() -> None:
    source = sender()
    source.next_packet(b"", samples=960, now=0)
    source.skip(48000)
    packet = RtpPacket.decode(source.next_packet(b"", samples=960, now=1))
    assert packet.timestamp == 960 + 48000
    assert packet.sequence_number == 1
    source.skip(0xFFFFFFFF)
    assert source.timestamp == 960 + 48000 + 960 - 1


@pytest.mark.parametrize(
    ("bits", "sequence_number", "timestamp"), [(b"\x12", 0x1212, 0x12121212), (b"\xff", 0x7FFF, 0xFFFFFFFF)]
)
def test_a_source_begins_at_random_far_from_a_wrap_of_the_sequence_number(
    bits: bytes, sequence_number: int, timestamp: int
) -> None:
    source = RtpSender.begin(ssrc=1, payload_type=0, clock_rate=8000, random=lambda length: bits * length)
    assert source.sequence_number == sequence_number
    assert source.timestamp == timestamp


@pytest.mark.parametrize("payload_type", [-1, 128])
def test_a_payload_type_has_seven_bits(payload_type: int) -> None:
    with pytest.raises(UsageError):
        RtpSender(ssrc=1, payload_type=payload_type, clock_rate=48000, sequence_number=0, timestamp=0)


def test_a_report_tells_what_was_sent_and_the_media_time_of_now() -> None:
    source = sender(timestamp=1000)
    source.next_packet(b"four", samples=960, now=10)
    source.next_packet(b"seventy", samples=960, now=10.02)
    report = source.sender_report(now=10.03, wallclock_ntp=3_900_000_000.5)
    assert report.ssrc == 0xCAFE
    assert report.packet_count == 2
    assert report.octet_count == 11
    assert report.rtp_timestamp == 1000 + 960 + 480
    assert report.ntp_timestamp == 3_900_000_000 << 32 | 1 << 31


def test_the_round_trip_leaves_out_the_delay_at_the_far_side() -> None:
    source = sender()
    report = source.sender_report(now=10, wallclock_ntp=3_900_000_000.25)
    reference = report.ntp_timestamp >> 16 & 0xFFFFFFFF
    source.sender_report(now=12, wallclock_ntp=3_900_000_002.25)
    source.handle_report_block(block(reference=reference, delay=2.5, fraction_lost=64), now=12.58)
    assert source.round_trip == pytest.approx(0.08)
    assert source.remote_fraction_lost == 0.25


def test_a_delay_that_cannot_be_makes_no_negative_round_trip() -> None:
    source = sender()
    report = source.sender_report(now=10, wallclock_ntp=3_900_000_000.25)
    source.handle_report_block(block(reference=report.ntp_timestamp >> 16 & 0xFFFFFFFF, delay=5), now=11)
    assert source.round_trip == 0


def test_a_block_about_no_report_of_ours_tells_no_round_trip() -> None:
    source = sender()
    source.sender_report(now=10, wallclock_ntp=3_900_000_000.25)
    source.handle_report_block(block(reference=0), now=11)
    source.handle_report_block(block(reference=0x12345678), now=11)
    assert source.round_trip is None
    assert source.remote_fraction_lost == 0


def test_only_the_last_reports_are_remembered() -> None:
    source = sender()
    first = source.sender_report(now=0, wallclock_ntp=3_900_000_000)
    for second in range(1, 100):
        source.sender_report(now=second, wallclock_ntp=3_900_000_000 + second)
    source.handle_report_block(block(reference=first.ntp_timestamp >> 16 & 0xFFFFFFFF), now=100)
    assert source.round_trip is None


@given(REPORT_BLOCKS)
def test_any_block_is_taken_in(report: ReportBlock) -> None:
    source = sender()
    source.sender_report(now=0, wallclock_ntp=0)
    source.handle_report_block(report, now=1)
    assert source.remote_fraction_lost is not None
    assert 0 <= source.remote_fraction_lost < 1
