import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio.signals import voice
from voicegate.audio import OpusEncoder, open_codec
from voicegate.audio.fec import fec_samples


@pytest.mark.slow
@pytest.mark.parametrize("milliseconds", [20, 40, 60])
def test_packets_of_an_encoder_with_fec_have_copies_and_of_one_without_have_none(milliseconds: int) -> None:
    size = 96 * milliseconds
    sound = voice(1.2)
    for has_fec in (True, False):
        encoder = OpusEncoder(bitrate=24_000, inband_fec=has_fec, expected_loss_percent=30)
        packets = [encoder.encode(sound[at : at + size]) for at in range(0, len(sound) - size + 1, size)]
        copied = [fec_samples(packet) for packet in packets]
        assert set(copied) <= {0, 48 * milliseconds}
        assert (sum(map(bool, copied)) > len(packets) // 2) is has_fec


def test_celt_has_no_copies() -> None:
    assert fec_samples(open_codec("opus").silence) == 0
    assert fec_samples(b"\xf8\xff\xff") == 0


@pytest.mark.parametrize(
    ("packet", "samples"),
    [
        (b"", 0),
        (b"\x08", 0),  # no frame
        (b"\x08\x40", 960),  # SILK, 20 ms: one voice bit, then the flag
        (b"\x08\xbf", 0),
        (b"\x10\x20", 1920),  # 40 ms
        (b"\x18\x10", 2880),  # 60 ms
        (b"\x18\xef", 0),
        (b"\x0c\x10", 960),  # stereo: the flag of the side channel
        (b"\x1c\x01", 2880),
        (b"\x0c\x20", 0),
        (b"\x09\x40", 960),  # two frames as long as each other
        (b"\x0a\x01\x40", 960),  # and of different length
        (b"\x0a\xfc\x01\x40", 960),
        (b"\x0a", 0),
        (b"\x0b", 0),  # any number of frames
        (b"\x0b\x02\x40", 960),
        (b"\x0b\x82\x01\x40", 960),
        (b"\x0b\x83\xfc\x00\x01\x40", 960),
        (b"\x0b\x41\x01\x40\x00", 960),  # padded
        (b"\x0b\x41\xff\x01\x40" + bytes(255), 960),
        (b"\x0b\x41\xff\xff", 0),
    ],
)
def test_the_flag_is_found_in_any_form_of_packet(packet: bytes, samples: int) -> None:
    assert fec_samples(packet) == samples


@pytest.mark.slow
@given(st.binary(max_size=20))
def test_any_bytes_have_an_answer(packet: bytes) -> None:
    assert fec_samples(packet) in (0, 480, 960, 1920, 2880)
