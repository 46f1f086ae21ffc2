"""Statistics of a source that is received."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.rtp import ReceptionStatistics, SenderReport

CLOCK_RATE = 48000
SAMPLES = 960


def reception(*sequence_numbers: int) -> ReceptionStatistics:
    """A source of which packets of 20 ms came when they were due."""
    statistics = ReceptionStatistics(ssrc=7, clock_rate=CLOCK_RATE)
    for number in sequence_numbers:
        statistics.handle_packet(number & 0xFFFF, number * SAMPLES & 0xFFFFFFFF, now=number * 0.02)
    return statistics


def test_a_whole_stream_has_no_loss_and_no_jitter() -> None:
    statistics = reception(*range(65500, 65600))
    assert statistics.packets_received == 100
    assert statistics.packets_lost == 0
    assert statistics.jitter == pytest.approx(0, abs=1e-3)
    block = statistics.report_block(now=0)
    assert block.ssrc == 7
    assert block.fraction_lost == 0
    assert block.highest_sequence_number == 65599


def test_loss_is_counted_over_all_and_since_the_last_report() -> None:
    statistics = reception(0, 1, 4, 7)
    first = statistics.report_block(now=1)
    assert first.packets_lost == 4
    assert first.fraction_lost == 4 * 256 // 8
    statistics.handle_packet(8, 0, now=1)
    second = statistics.report_block(now=2)
    assert second.packets_lost == 4
    assert second.fraction_lost == 0


def test_a_late_packet_is_no_longer_lost() -> None:
    statistics = reception(0, 2, 3, 1)
    assert statistics.packets_lost == 0
    assert statistics.report_block(now=0).highest_sequence_number == 3


def test_a_packet_from_before_the_first_makes_the_loss_negative() -> None:
    block = reception(0x10000, 0xFFFF).report_block(now=0)
    assert block.packets_lost == -1
    assert block.fraction_lost == 0


def test_a_single_jump_is_ignored() -> None:
    statistics = reception(100, 101, 30000, 102)
    assert statistics.packets_received == 3
    assert statistics.packets_lost == 0


@pytest.mark.parametrize("start", [30000, 3200, 65000])
def test_two_packets_in_a_row_after_a_jump_are_a_fresh_start(start: int) -> None:
    statistics = reception(100, 101, start, start + 1, start + 2)
    assert statistics.packets_received == 2
    assert statistics.packets_lost == 0
    assert statistics.report_block(now=0).highest_sequence_number == start + 2


def test_jitter_is_that_of_the_rfc() -> None:
    statistics = ReceptionStatistics(ssrc=7, clock_rate=8000)
    arrivals = [0.0, 0.020, 0.045, 0.060]  # one packet 5 ms late: the transit varies by 40 units, twice
    for number, arrival in enumerate(arrivals):
        statistics.handle_packet(number, number * 160, now=arrival)
    assert statistics.jitter == pytest.approx((40 - 0) / 16 + (40 - 40 / 16) / 16)
    assert statistics.report_block(now=1).jitter == 4


def test_a_wrap_of_the_timestamp_is_no_jitter() -> None:
    statistics = ReceptionStatistics(ssrc=7, clock_rate=CLOCK_RATE)
    statistics.handle_packet(0, 0xFFFFFFFF - SAMPLES + 1, now=0)
    statistics.handle_packet(1, 0, now=0.02)
    assert statistics.jitter == pytest.approx(0)


def test_a_block_refers_to_the_last_sender_report() -> None:
    statistics = reception(0)
    assert statistics.report_block(now=1).last_sender_report == 0
    assert statistics.report_block(now=1).delay_since_last_sender_report == 0
    report = SenderReport(
        ssrc=7, ntp_timestamp=0x1111222233334444, rtp_timestamp=0, packet_count=1, octet_count=1
    )
    statistics.handle_sender_report(report, now=2)
    block = statistics.report_block(now=3.5)
    assert block.last_sender_report == 0x22223333
    assert block.delay_since_last_sender_report == 0x18000


def test_there_is_news_only_after_another_packet() -> None:
    statistics = reception(0)
    news = [statistics.has_news]
    statistics.report_block(now=0)
    news.append(statistics.has_news)
    statistics.handle_packet(1, SAMPLES, now=1)
    news.append(statistics.has_news)
    assert news == [True, False, True]


@given(
    st.lists(
        st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.floats(0, 1e6), st.booleans()),
        min_size=1,
        max_size=50,
    )
)
def test_a_block_can_always_be_written(script: list[tuple[int, int, float, bool]]) -> None:
    statistics = ReceptionStatistics(ssrc=7, clock_rate=CLOCK_RATE)
    now = 0.0
    for number, timestamp, pause, reports in script:
        now += pause
        statistics.handle_packet(number, timestamp, now=now)
        if reports:
            block = statistics.report_block(now=now)
            assert 0 <= block.fraction_lost < 256
            assert -0x800000 <= block.packets_lost < 0x800000
            assert 0 <= block.highest_sequence_number <= 0xFFFFFFFF
            assert 0 <= block.jitter <= 0xFFFFFFFF
