"""Extended reports and their blocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rtp.strategy import EXTENDED_REPORTS
from voicegate.errors import UsageError, WireError
from voicegate.rtp import (
    DelayReport,
    ExtendedReport,
    ReceiverReferenceTime,
    ReceiverReportDelay,
    StatisticsSummary,
    UnknownBlock,
    decode_compound,
    encode_compound,
)


@given(EXTENDED_REPORTS)
def test_blocks_survive_the_wire(report: ExtendedReport) -> None:
    data = encode_compound([report])
    assert decode_compound(data) == (report,)
    assert encode_compound(decode_compound(data)) == data


@given(st.integers(0, 255), st.integers(0, 20), st.binary(max_size=60))
def test_no_bytes_let_out_anything_but_a_wire_error(block_type: int, words: int, rest: bytes) -> None:
    rest = rest[: len(rest) & ~3]
    length = 2 + len(rest) // 4
    data = bytes.fromhex(f"80cf{length:04x} 00000001 {block_type:02x}ff{words:04x}") + rest
    try:
        packets = decode_compound(data)
    except WireError:
        return
    assert decode_compound(encode_compound(packets)) == packets


@pytest.mark.parametrize(
    ("block", "data"),
    [
        (ReceiverReferenceTime(ntp_timestamp=0xE123456780000000), "04000002 e1234567 80000000"),
        (
            DelayReport(
                delays=(
                    ReceiverReportDelay(
                        ssrc=7, last_receiver_report=0x45678000, delay_since_last_receiver_report=0x10000
                    ),
                )
            ),
            "05000003 00000007 45678000 00010000",
        ),
        (
            StatisticsSummary(
                ssrc=7,
                first_sequence_number=1,
                end_sequence_number=51,
                has_losses=True,
                has_jitter=True,
                hops=1,
                packets_lost=2,
                duplicates=3,
                min_jitter=4,
                max_jitter=5,
                mean_jitter=6,
                jitter_deviation=7,
                min_hops=8,
                max_hops=9,
                mean_hops=10,
                hops_deviation=11,
            ),
            "06a80009 00000007 00010033 00000002 00000003 00000004 00000005 00000006 00000007 08090a0b",
        ),
        (
            StatisticsSummary(ssrc=7, first_sequence_number=1, end_sequence_number=2, has_duplicates=True),
            f"06400009 00000007 00010002 {'00000000 ' * 7}".strip(),
        ),
        (UnknownBlock(block_type=7, type_specific=9, body=b"VoIP"), "07090001 566f4950"),
    ],
)
def test_a_block_is_laid_out_as_in_the_rfc(
    block: ReceiverReferenceTime | DelayReport | StatisticsSummary | UnknownBlock, data: str
) -> None:
    report = ExtendedReport(ssrc=1, blocks=(block,))
    encoded = encode_compound([report])
    assert encoded[4:].hex(" ", 4) == f"00000001 {data}"
    assert decode_compound(encoded) == (report,)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("80cf0000", id="no SSRC"),
        pytest.param("80cf0002 00000001 04000002", id="a block longer than its packet"),
        pytest.param("80cf0003 00000001 04000001 00000000", id="a reference time of one word"),
        pytest.param("80cf0005 00000001 04000003 00000000 00000000 00000000", id="a word too many"),
        pytest.param("80cf0003 00000001 05000001 00000000", id="a delay of one word"),
        pytest.param("80cf0003 00000001 06000001 00000000", id="a summary of one word"),
    ],
)
def test_a_block_that_contradicts_itself_is_refused(data: str) -> None:
    with pytest.raises(WireError):
        decode_compound(bytes.fromhex(data))


@pytest.mark.parametrize(
    "block",
    [
        ReceiverReferenceTime(ntp_timestamp=1 << 64),
        StatisticsSummary(ssrc=1, first_sequence_number=0, end_sequence_number=0, hops=4),
        UnknownBlock(block_type=7, type_specific=0, body=b"abc"),
        UnknownBlock(block_type=7, type_specific=0, body=bytes(4 * 65536)),
        UnknownBlock(block_type=256, type_specific=0, body=b""),
    ],
    ids=lambda block: type(block).__name__,
)
def test_what_does_not_fit_cannot_be_written(
    block: ReceiverReferenceTime | StatisticsSummary | UnknownBlock,
) -> None:
    with pytest.raises(UsageError):
        encode_compound([ExtendedReport(ssrc=1, blocks=(block,))])
