"""What hypothesis draws RTP and RTCP from."""

from hypothesis import strategies as st

from voicegate.rtp import (
    DelayReport,
    ExtendedReport,
    GenericNack,
    Goodbye,
    ReceiverReferenceTime,
    ReceiverReport,
    ReceiverReportDelay,
    ReportBlock,
    RtcpPacket,
    RtpPacket,
    SenderReport,
    SourceChunk,
    SourceDescription,
    StatisticsSummary,
    TransportFeedback,
    UnknownBlock,
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
NACKS = st.builds(
    GenericNack,
    ssrc=U32,
    media_ssrc=U32,
    sequence_numbers=st.lists(U16 | st.integers(0xFFF8, 0xFFFF) | st.integers(0, 20), max_size=8).map(tuple),
)


@st.composite
def _transport_feedback(draw: st.DrawFn) -> TransportFeedback:
    packet_count = draw(st.integers(0, 60) | st.integers(0, 0xFFFF))
    offsets = st.integers(0, min(packet_count, 60) - 1) | st.integers(0, packet_count - 1)
    deltas = st.integers(0, 255) | st.integers(-0x8000, 0x7FFF)
    arrivals = draw(st.dictionaries(offsets, deltas, max_size=60)) if packet_count else {}
    return TransportFeedback(
        ssrc=draw(U32),
        media_ssrc=draw(U32),
        base_sequence_number=draw(U16),
        packet_count=packet_count,
        reference_time=draw(st.integers(-0x800000, 0x7FFFFF)),
        feedback_count=draw(U8),
        arrivals=tuple(sorted(arrivals.items())),
    )


TRANSPORT_FEEDBACKS = _transport_feedback()
REPORTED_BLOCKS = st.one_of(
    st.builds(ReceiverReferenceTime, ntp_timestamp=st.integers(0, 0xFFFFFFFFFFFFFFFF)),
    st.builds(
        DelayReport,
        delays=st.lists(
            st.builds(
                ReceiverReportDelay,
                ssrc=U32,
                last_receiver_report=U32,
                delay_since_last_receiver_report=U32,
            ),
            max_size=3,
        ).map(tuple),
    ),
    st.builds(
        StatisticsSummary,
        ssrc=U32,
        first_sequence_number=U16,
        end_sequence_number=U16,
        has_losses=st.booleans(),
        has_duplicates=st.booleans(),
        has_jitter=st.booleans(),
        hops=st.integers(0, 3),
        packets_lost=U32,
        duplicates=U32,
        min_jitter=U32,
        max_jitter=U32,
        mean_jitter=U32,
        jitter_deviation=U32,
        min_hops=U8,
        max_hops=U8,
        mean_hops=U8,
        hops_deviation=U8,
    ),
    st.builds(
        UnknownBlock,
        block_type=U8.filter(lambda block_type: block_type not in (4, 5, 6)),
        type_specific=U8,
        body=WORDS,
    ),
)
EXTENDED_REPORTS = st.builds(
    ExtendedReport, ssrc=U32, blocks=st.lists(REPORTED_BLOCKS, max_size=4).map(tuple)
)
UNKNOWN_PACKETS = st.builds(
    UnknownPacket,
    packet_type=U8,
    count=st.integers(0, 31),
    body=WORDS,
    has_padding=st.booleans(),
).filter(
    lambda packet: (
        packet.packet_type not in (200, 201, 202, 203, 207)
        and (packet.packet_type, packet.count) not in ((205, 1), (205, 15))
    )
)
RTCP_PACKETS: st.SearchStrategy[RtcpPacket] = st.one_of(
    SENDER_REPORTS,
    RECEIVER_REPORTS,
    SOURCE_DESCRIPTIONS,
    GOODBYES,
    NACKS,
    TRANSPORT_FEEDBACKS,
    EXTENDED_REPORTS,
    UNKNOWN_PACKETS,
)
