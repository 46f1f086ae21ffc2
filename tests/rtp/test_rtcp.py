"""RTCP packets and compounds."""

from pathlib import Path
from struct import pack
from typing import Any

import attrs
import pytest
from aiortc import rtp as aiortc_rtp
from hypothesis import given
from hypothesis import strategies as st

from tests.rtp.strategy import RTCP_PACKETS, SOURCE_DESCRIPTIONS
from voicegate.errors import UsageError, WireError
from voicegate.rtp import (
    ExtendedReport,
    Goodbye,
    ReceiverReferenceTime,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceChunk,
    SourceDescription,
    UnknownPacket,
    decode_compound,
    encode_compound,
)
from voicegate.rtp.rtcp import CNAME, MAX_PACKETS

VECTORS = Path(__file__).parent.parent / "vectors" / "rtp"
CAPTURES = {path.stem: path.read_bytes() for path in sorted(VECTORS.glob("*.bin"))}
COMPOUNDS = st.lists(RTCP_PACKETS, min_size=1, max_size=2).map(tuple)

BLOCK = ReportBlock(
    ssrc=0x01020304,
    fraction_lost=128,
    packets_lost=-1,
    highest_sequence_number=0x0001FFFF,
    jitter=960,
    last_sender_report=0xAABBCCDD,
    delay_since_last_sender_report=0x00018000,
)
REPORT = SenderReport(
    ssrc=0xCAFEBABE,
    ntp_timestamp=0xE123456780000000,
    rtp_timestamp=48000,
    packet_count=50,
    octet_count=4000,
    reports=(BLOCK,),
)
DESCRIPTION = SourceDescription(chunks=(SourceChunk(ssrc=0xCAFEBABE, items=((CNAME, b"somebody"),)),))


@given(COMPOUNDS)
def test_a_compound_survives_the_wire(compound: tuple[RtcpPacket, ...]) -> None:
    data = encode_compound(compound)
    assert len(data) % 4 == 0
    assert decode_compound(data) == compound
    assert encode_compound(decode_compound(data)) == data


@pytest.mark.parametrize("data", CAPTURES.values(), ids=CAPTURES)
def test_what_browsers_send_is_understood_whole(data: bytes) -> None:
    compound = decode_compound(data)
    assert not any(isinstance(packet, UnknownPacket) for packet in compound)
    assert encode_compound(compound) == data


def test_chromium_asks_for_the_delay_of_its_reference_time() -> None:
    report, extended = decode_compound(CAPTURES["chromium-156-extended-report"])
    assert isinstance(report, ReceiverReport)
    assert report.reports[0].jitter == 152
    assert extended == ExtendedReport(
        ssrc=report.ssrc, blocks=(ReceiverReferenceTime(ntp_timestamp=0xEEAC6916957A2489),)
    )


@given(st.binary(max_size=100))
def test_no_bytes_let_out_anything_but_a_wire_error(data: bytes) -> None:
    try:
        compound = decode_compound(data)
    except WireError:
        return
    assert len(compound) <= len(data) // 4


@given(st.sampled_from([200, 201, 202, 203, 205, 207]), st.integers(0x80, 0xBF), st.binary(max_size=80))
def test_no_well_framed_bytes_let_out_anything_but_a_wire_error(type_: int, first: int, body: bytes) -> None:
    body = body[: len(body) & ~3]
    try:
        compound = decode_compound(pack("!BBH", first, type_, len(body) // 4) + body)
    except WireError:
        return
    assert decode_compound(encode_compound(compound)) == compound


@given(COMPOUNDS, st.data())
def test_no_part_of_a_compound_is_taken_for_more_than_it_is(
    compound: tuple[RtcpPacket, ...], data: st.DataObject
) -> None:
    encoded = encode_compound(compound)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    try:
        decoded = decode_compound(encoded[:cut])
    except WireError:
        return
    assert decoded == compound[: len(decoded)]


def test_a_report_block_is_laid_out_as_in_the_rfc() -> None:
    assert encode_compound([ReceiverReport(ssrc=1, reports=(BLOCK,))]).hex(" ", 4) == (
        "81c90007 00000001 01020304 80ffffff 0001ffff 000003c0 aabbccdd 00018000"
    )


def test_a_sender_report_is_laid_out_as_in_the_rfc() -> None:
    assert encode_compound([attrs.evolve(REPORT, reports=())]).hex(" ", 4) == (
        "80c80006 cafebabe e1234567 80000000 0000bb80 00000032 00000fa0"
    )


@given(SOURCE_DESCRIPTIONS)
def test_every_chunk_ends_with_a_zero_at_a_word_boundary(description: SourceDescription) -> None:
    for chunk in description.chunks:
        length = len(encode_compound([SourceDescription(chunks=(chunk,))])) - 4
        content = 4 + sum(2 + len(text) for _, text in chunk.items)
        assert length % 4 == 0
        assert 1 <= length - content <= 4


def test_padding_of_a_known_type_is_taken_off() -> None:
    data = bytes.fromhex("a0c90002 00000001 00000004")
    assert decode_compound(data) == (ReceiverReport(ssrc=1),)


def test_padding_of_an_unknown_type_is_kept_whatever_its_length() -> None:
    data = bytes.fromhex("afce0002 00000001 11220002")
    packet = UnknownPacket(packet_type=206, count=15, body=data[4:], has_padding=True)
    assert decode_compound(data) == (packet,)
    assert encode_compound([packet]) == data


def test_a_reduced_size_packet_needs_no_report_before_it() -> None:
    assert decode_compound(bytes.fromhex("81ce0002 00000001 00000002")) == (
        UnknownPacket(packet_type=206, count=1, body=bytes.fromhex("0000000100000002")),
    )


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("", id="empty"),
        pytest.param("80c900", id="shorter than a header"),
        pytest.param("40c90001 00000001", id="version 1"),
        pytest.param("80c90002 00000001", id="longer than what came"),
        pytest.param("80c90001 00000001 80", id="a rest behind the last packet"),
        pytest.param("80c90000", id="a receiver report without an SSRC"),
        pytest.param("81c90001 00000001", id="fewer blocks than counted"),
        pytest.param("80c80001 00000001", id="a sender report without sender information"),
        pytest.param("a0c90000", id="padding in nothing"),
        pytest.param("a0c90002 00000001 00000000", id="no bytes of padding"),
        pytest.param("a0c90002 00000001 00000003", id="padding that is not whole words"),
        pytest.param("a0c90002 00000001 0000000c", id="more padding than packet"),
        pytest.param("81ca0001 00000001", id="a chunk without an end"),
        pytest.param("81ca0002 00000001 01ff6162", id="an item longer than its packet"),
        pytest.param("81ca0002 00000001 00000001", id="a chunk not padded with zeros"),
        pytest.param("80ca0001 00000001", id="a chunk that is not counted"),
        pytest.param("81cb0000", id="fewer goodbyes than counted"),
        pytest.param("80cb0001 04616263", id="a reason longer than its packet"),
        pytest.param("80cb0001 01610001", id="a reason not padded with zeros"),
        pytest.param("80cb0002 00000000 00000000", id="words behind the reason"),
    ],
)
def test_a_compound_that_contradicts_itself_is_refused(data: str) -> None:
    with pytest.raises(WireError):
        decode_compound(bytes.fromhex(data))


def test_a_compound_has_only_so_many_packets() -> None:
    goodbyes = [Goodbye()] * MAX_PACKETS
    assert len(decode_compound(encode_compound(goodbyes))) == MAX_PACKETS
    with pytest.raises(WireError):
        decode_compound(encode_compound([*goodbyes, Goodbye()]))


@pytest.mark.parametrize(
    "packet",
    [
        ReceiverReport(ssrc=1 << 32),
        ReceiverReport(ssrc=1, reports=(BLOCK,) * 32),
        ReceiverReport(ssrc=1, extension=b"abc"),
        ReceiverReport(ssrc=1, reports=(attrs.evolve(BLOCK, packets_lost=0x800000),)),
        ReceiverReport(ssrc=1, reports=(attrs.evolve(BLOCK, fraction_lost=256),)),
        attrs.evolve(REPORT, ntp_timestamp=1 << 64),
        SourceDescription(chunks=(SourceChunk(ssrc=1, items=((0, b"end"),)),)),
        SourceDescription(chunks=(SourceChunk(ssrc=1, items=((CNAME, bytes(256)),)),)),
        Goodbye(ssrcs=(1,) * 32),
        Goodbye(reason=bytes(256)),
        UnknownPacket(packet_type=256, count=0, body=b""),
        UnknownPacket(packet_type=205, count=32, body=b""),
        UnknownPacket(packet_type=205, count=0, body=b"abc"),
    ],
    ids=repr,
)
def test_a_field_that_does_not_fit_cannot_be_written(packet: RtcpPacket) -> None:
    with pytest.raises(UsageError):
        encode_compound([packet])


def aiortc_block(block: ReportBlock) -> dict[str, int]:
    return {
        "ssrc": block.ssrc,
        "fraction_lost": block.fraction_lost,
        "packets_lost": block.packets_lost,
        "highest_sequence": block.highest_sequence_number,
        "jitter": block.jitter,
        "lsr": block.last_sender_report,
        "dlsr": block.delay_since_last_sender_report,
    }


def test_aiortc_reads_what_we_write() -> None:
    compound = (REPORT, ReceiverReport(ssrc=9, reports=(BLOCK,)), DESCRIPTION, Goodbye(ssrcs=(1, 2)))
    theirs: list[Any] = aiortc_rtp.RtcpPacket.parse(encode_compound(compound))
    sender, receiver, description, goodbye = theirs
    assert sender.ssrc == REPORT.ssrc
    assert vars(sender.sender_info) == {
        name: getattr(REPORT, name)
        for name in ("ntp_timestamp", "rtp_timestamp", "packet_count", "octet_count")
    }
    assert vars(sender.reports[0]) == vars(receiver.reports[0]) == aiortc_block(BLOCK)
    assert [(chunk.ssrc, chunk.items) for chunk in description.chunks] == [(REPORT.ssrc, [(1, b"somebody")])]
    assert goodbye.sources == [1, 2]


def test_we_read_what_aiortc_writes() -> None:
    info: Any = aiortc_rtp.RtcpSenderInfo(
        ntp_timestamp=REPORT.ntp_timestamp, rtp_timestamp=48000, packet_count=50, octet_count=4000
    )
    block = aiortc_rtp.RtcpReceiverInfo(**aiortc_block(BLOCK))
    source = aiortc_rtp.RtcpSourceInfo(ssrc=REPORT.ssrc, items=[(CNAME, b"somebody")])
    data = b"".join(
        (
            bytes(aiortc_rtp.RtcpSrPacket(ssrc=REPORT.ssrc, sender_info=info, reports=[block])),
            bytes(aiortc_rtp.RtcpSdesPacket(chunks=[source])),
            bytes(aiortc_rtp.RtcpByePacket(sources=[1, 2])),
        )
    )
    assert decode_compound(data) == (REPORT, DESCRIPTION, Goodbye(ssrcs=(1, 2)))
    assert encode_compound(decode_compound(data)) == data
