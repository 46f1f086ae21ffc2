"""Generic NACK."""

import pytest
from aiortc import rtp as aiortc_rtp
from hypothesis import given
from hypothesis import strategies as st

from tests.rtp.strategy import NACKS, U16
from voicegate.errors import UsageError, WireError
from voicegate.rtp import GenericNack, decode_compound, encode_compound


def nack(*numbers: int) -> GenericNack:
    return GenericNack(ssrc=1, media_ssrc=2, sequence_numbers=numbers)


@given(NACKS)
def test_numbers_survive_the_wire_in_their_order(message: GenericNack) -> None:
    data = encode_compound([message])
    assert decode_compound(data) == (message,)
    assert len(data) <= 12 + 4 * len(message.sequence_numbers)


def test_a_nack_is_laid_out_as_in_the_rfc() -> None:
    assert encode_compound([nack(100, 101, 116, 117)]).hex(" ", 4) == (
        "81cd0004 00000001 00000002 00648001 00750000"
    )


def test_a_mask_goes_over_the_wrap() -> None:
    data = bytes.fromhex("81cd0003 00000001 00000002 ffff0003")
    assert decode_compound(data) == (nack(65535, 0, 1),)
    assert encode_compound([nack(65535, 0, 1)]) == data


@pytest.mark.parametrize("numbers", [(7, 7), (9, 7), (7, 9, 8), (7, 9, 9)])
def test_what_no_mask_can_say_takes_another_pair(numbers: tuple[int, ...]) -> None:
    data = encode_compound([nack(*numbers)])
    assert len(data) == 20
    assert decode_compound(data) == (nack(*numbers),)


@pytest.mark.parametrize("data", ["81cd0001 00000001", "81cd0000", "a1cd0003 00000001 00000002 00000002"])
def test_a_nack_that_is_cut_is_refused(data: str) -> None:
    with pytest.raises(WireError):
        decode_compound(bytes.fromhex(data))


@pytest.mark.parametrize("number", [-1, 65536])
def test_a_number_that_does_not_fit_cannot_be_written(number: int) -> None:
    with pytest.raises(UsageError):
        encode_compound([nack(1, number)])


@given(st.sets(U16, min_size=1, max_size=20))
def test_aiortc_asks_for_the_same_packets(numbers: set[int]) -> None:
    lost = sorted(numbers)
    data = encode_compound([nack(*lost)])
    (theirs,) = aiortc_rtp.RtcpPacket.parse(data)
    assert isinstance(theirs, aiortc_rtp.RtcpRtpfbPacket)
    assert (theirs.fmt, theirs.ssrc, theirs.media_ssrc, theirs.lost) == (1, 1, 2, lost)
    (read,) = decode_compound(bytes(theirs))
    assert read == nack(*lost)
