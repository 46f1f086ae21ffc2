import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import UsageError, WireError
from voicegate.testing.plain_codec import PlainCodec


@given(st.binary(min_size=1, max_size=200))
def test_samples_come_out_as_they_went_in(samples: bytes) -> None:
    pcm = samples * 2
    codec = PlainCodec(48_000)
    assert codec.decode(codec.encode(pcm)) == pcm
    assert codec.duration(pcm) == len(pcm) // 2


@pytest.mark.parametrize("payload", [b"", b"x"])
def test_what_is_no_payload_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        PlainCodec(8000).decode(payload)


def test_another_rate_is_resampled() -> None:
    codec = PlainCodec(48_000)
    codec.use_rate(16_000)
    assert (codec.sample_rate, codec.frame_samples) == (16_000, 320)
    assert len(codec.decode(codec.silence)) == 640
    assert len(codec.encode(bytes(640))) == 1920
    assert codec.silence == codec.encode_silence(960)
    with pytest.raises(UsageError):
        codec.use_rate(44_100)


def test_a_loss_fades_away() -> None:
    codec = PlainCodec(8000)
    codec.decode(b"\x00\x40" * 160)
    assert codec.conceal(160) == b"\x00\x20" * 160
    assert codec.conceal(160) == b"\x00\x10" * 160
    codec.adapt(None)
