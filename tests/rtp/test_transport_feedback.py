"""Transport-wide feedback: every way to say what arrived."""

from struct import pack

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rtp.strategy import TRANSPORT_FEEDBACKS, U16
from voicegate.errors import UsageError, WireError
from voicegate.rtp import TransportFeedback, decode_compound, encode_compound

EMPTY = TransportFeedback(
    ssrc=1, media_ssrc=2, base_sequence_number=10, packet_count=0, reference_time=-2, feedback_count=3
)


def wire(packet_count: int, rest: str, *, padding: bool = False) -> bytes:
    body = bytes.fromhex("00000001 00000002 000a") + packet_count.to_bytes(2, "big")
    body += bytes.fromhex("fffffe03" + rest)
    return pack("!BBH", 0xAF if padding else 0x8F, 205, len(body) // 4) + body


def read(packet_count: int, rest: str, *, padding: bool = False) -> tuple[tuple[int, int], ...]:
    (feedback,) = decode_compound(wire(packet_count, rest, padding=padding))
    assert isinstance(feedback, TransportFeedback)
    assert attrs.evolve(feedback, packet_count=0, arrivals=()) == EMPTY
    return feedback.arrivals


def written(packet_count: int, *arrivals: tuple[int, int]) -> bytes:
    return encode_compound([attrs.evolve(EMPTY, packet_count=packet_count, arrivals=arrivals)])


@given(TRANSPORT_FEEDBACKS)
def test_arrivals_survive_the_wire(feedback: TransportFeedback) -> None:
    data = encode_compound([feedback])
    assert decode_compound(data) == (feedback,)
    assert encode_compound(decode_compound(data)) == data


@given(U16, st.binary(max_size=60))
def test_no_bytes_let_out_anything_but_a_wire_error(packet_count: int, rest: bytes) -> None:
    data = wire(packet_count, (rest + bytes(-len(rest) % 4)).hex())
    try:
        (feedback,) = decode_compound(data)
    except WireError:
        return
    assert isinstance(feedback, TransportFeedback)
    assert len(feedback.arrivals) <= len(rest)
    assert decode_compound(encode_compound([feedback])) == (feedback,)


def test_a_run_says_that_all_have_arrived() -> None:
    data = wire(3, "2003 04 05 06 000000")
    assert read(3, "2003 04 05 06 000000") == ((0, 4), (1, 5), (2, 6))
    assert written(3, (0, 4), (1, 5), (2, 6)) == data


def test_a_run_of_large_deltas_goes_both_ways() -> None:
    assert read(2, "4002 ff00 0100 0000") == ((0, -256), (1, 256))
    assert written(2, (0, -256), (1, 256)) == wire(2, "4002 ff00 0100 0000")


def test_lost_packets_take_no_delta() -> None:
    assert read(20, "0013 2001 07 000000") == ((19, 7),)
    assert written(20, (19, 7)) == wire(20, "0013 2001 07 000000")


def test_a_vector_of_one_bit_says_14_packets() -> None:
    assert read(14, "a001 01 02") == ((0, 1), (13, 2))
    assert written(14, (0, 1), (13, 2)) == wire(14, "a001 01 02")


def test_a_vector_of_two_bits_says_7_packets() -> None:
    assert read(7, "d002 01 8000 000000") == ((0, 1), (6, -32768))
    assert written(7, (0, 1), (6, -32768)) == wire(7, "d002 01 8000 000000")


def test_the_last_vector_may_be_longer_than_there_are_packets() -> None:
    assert read(2, "9fff 01 00") == ((1, 1),)
    assert read(2, "d555 01 00") == ((0, 1), (1, 0))
    assert written(3, (0, 1), (2, 2)) == wire(3, "a800 01 02")
    assert written(3, (0, 1), (2, 300)) == wire(3, "d200 01 012c 000000")


def test_the_last_run_may_be_longer_than_there_are_packets() -> None:
    assert read(1, "3fff 01 00") == ((0, 1),)
    assert read(1, "1fff 0000") == ()


def test_a_run_of_nothing_says_nothing() -> None:
    assert read(1, "0000 2001 05 000000") == ((0, 5),)


def test_long_runs_take_several_chunks() -> None:
    assert written(9000, (8999, 1)) == wire(9000, "1fff 0328 2001 01 00")
    assert read(9000, "1fff 0328 2001 01 00") == ((8999, 1),)


def test_few_of_one_kind_before_a_vector_become_part_of_it() -> None:
    # Seven small ones, then a large one: a run pays off where a vector of two bits would say no more.
    seven = tuple((offset, offset) for offset in range(7))
    assert written(9, *seven, (7, 999)) == wire(9, "2007 e000 00010203040506 03e7 000000")


def test_padding_may_be_said_in_the_way_of_rtcp() -> None:
    # As libwebrtc does: the last byte of padding is how many there are, 1 to 3.
    assert read(3, "2003 04 05 06 000003", padding=True) == ((0, 4), (1, 5), (2, 6))
    assert read(1, "2001 04 01", padding=True) == ((0, 4),)


@pytest.mark.parametrize(
    ("packet_count", "rest"),
    [
        pytest.param(1, "", id="no chunks"),
        pytest.param(9, "2001 01 00", id="fewer chunks than packets"),
        pytest.param(1, "6001 0000", id="the reserved symbol in a run"),
        pytest.param(1, "f000 0000", id="the reserved symbol in a vector"),
        pytest.param(4, "2004 0101", id="fewer deltas than arrivals"),
        pytest.param(2, "4002 0101", id="fewer bytes than large deltas"),
        pytest.param(1, "2001 01 01", id="a rest that is not zero"),
        pytest.param(1, "2001 01 00 00000000", id="words behind the deltas"),
    ],
)
def test_feedback_that_contradicts_itself_is_refused(packet_count: int, rest: str) -> None:
    with pytest.raises(WireError):
        decode_compound(wire(packet_count, rest))


def test_many_packets_in_few_bytes_take_little_memory() -> None:
    with pytest.raises(WireError):
        decode_compound(wire(0xFFFF, "3fff" * 8))
    assert read(0xFFFF, "1fff" * 9 + "0000") == ()


@pytest.mark.parametrize(
    "feedback",
    [
        attrs.evolve(EMPTY, reference_time=0x800000),
        attrs.evolve(EMPTY, feedback_count=256),
        attrs.evolve(EMPTY, packet_count=-1),
        attrs.evolve(EMPTY, packet_count=1, arrivals=((1, 0),)),
        attrs.evolve(EMPTY, packet_count=2, arrivals=((1, 0), (0, 0))),
        attrs.evolve(EMPTY, packet_count=2, arrivals=((1, 0), (1, 0))),
        attrs.evolve(EMPTY, packet_count=1, arrivals=((0, 0x8000),)),
    ],
    ids=repr,
)
def test_what_does_not_fit_cannot_be_written(feedback: TransportFeedback) -> None:
    with pytest.raises(UsageError):
        encode_compound([feedback])
