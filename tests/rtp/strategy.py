"""What hypothesis draws RTP and RTCP from."""

from hypothesis import strategies as st

from voicegate.rtp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    RtpPacket,
    SenderReport,
    SourceChunk,
    SourceDescription,
    UnknownPacket,
)
from voicegate.rtp.header_extension import ONE_BYTE_PROFILE

U8 = st.integers(0, 0xFF)
U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFFFFFF)
WORDS = st.integers(0, 6).flatmap(lambda words: st.binary(min_size=4 * words, max_size=4 * words))

ONE_BYTE_ELEMENTS = st.lists(st.tuples(st.integers(1, 14), st.binary(min_size=1, max_size=16)), max_size=3)
TWO_BYTE_ELEMENTS = st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=32)), max_size=3)
TWO_BYTE_PROFILES = st.integers(0x1000, 0x100F)
FOREIGN_PROFILES = U16.filter(lambda profile: profile != ONE_BYTE_PROFILE and profile >> 4 != 0x100)

EXTENSIONS = st.one_of(
    st.just((None, ())),
    st.tuples(st.just(ONE_BYTE_PROFILE), ONE_BYTE_ELEMENTS.map(tuple)),
    st.tuples(TWO_BYTE_PROFILES, TWO_BYTE_ELEMENTS.map(tuple)),
    st.tuples(FOREIGN_PROFILES, WORDS.map(lambda block: ((0, block),) if block else ())),
)

RTP_PACKETS = st.builds(
    lambda extension, **fields: RtpPacket(**fields, extension_profile=extension[0], extensions=extension[1]),
    EXTENSIONS,
    payload_type=st.integers(0, 127),
    sequence_number=U16,
    timestamp=U32,
    ssrc=U32,
    payload=st.binary(max_size=40),
    marker=st.booleans(),
    csrcs=st.lists(U32, max_size=4).map(tuple),
    padding_length=st.integers(0, 255),
)

REPORT_BLOCKS = st.builds(
    ReportBlock,
    ssrc=U32,
    fraction_lost=U8,
    packets_lost=st.integers(-0x800000, 0x7FFFFF),
    highest_sequence_number=U32,
    jitter=U32,
    last_sender_report=U32,
    delay_since_last_sender_report=U32,
)
SENDER_REPORTS = st.builds(
    SenderReport,
    ssrc=U32,
    ntp_timestamp=st.integers(0, 0xFFFFFFFFFFFFFFFF),
    rtp_timestamp=U32,
    packet_count=U32,
    octet_count=U32,
    reports=st.lists(REPORT_BLOCKS, max_size=3).map(tuple),
    extension=WORDS,
)
RECEIVER_REPORTS = st.builds(
    ReceiverReport, ssrc=U32, reports=st.lists(REPORT_BLOCKS, max_size=3).map(tuple), extension=WORDS
)
SOURCE_CHUNKS = st.builds(
    SourceChunk,
    ssrc=U32,
    items=st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=20)), max_size=4).map(tuple),
)
SOURCE_DESCRIPTIONS = st.builds(SourceDescription, chunks=st.lists(SOURCE_CHUNKS, max_size=3).map(tuple))
GOODBYES = st.builds(
    Goodbye, ssrcs=st.lists(U32, max_size=4).map(tuple), reason=st.none() | st.binary(max_size=255)
)
UNKNOWN_PACKETS = st.builds(
    UnknownPacket,
    packet_type=U8.filter(lambda packet_type: not 200 <= packet_type <= 203),
    count=st.integers(0, 31),
    body=WORDS,
    has_padding=st.booleans(),
)
RTCP_PACKETS: st.SearchStrategy[RtcpPacket] = st.one_of(
    SENDER_REPORTS, RECEIVER_REPORTS, SOURCE_DESCRIPTIONS, GOODBYES, UNKNOWN_PACKETS
)
