import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio.signals import frames, to_pcm, to_samples, tone
from voicegate.audio.resample import SAMPLE_RATES, RateBridge, Resampler
from voicegate.errors import UsageError

PAIRS = list(itertools.product(SAMPLE_RATES, SAMPLE_RATES))
every_pair = pytest.mark.parametrize(("source_rate", "target_rate"), PAIRS)


def resample(pcm: bytes, source_rate: int, target_rate: int) -> list[bytes]:
    resampler = Resampler(source_rate, target_rate)
    return [*map(resampler.process, frames(pcm, source_rate // 50)), resampler.flush()]


@every_pair
def test_a_tone_stays_the_same_tone(source_rate: int, target_rate: int) -> None:
    before = tone(1.0, frequency=1000, sample_rate=source_rate)
    after = to_samples(b"".join(resample(before, source_rate, target_rate)))
    assert len(after) == target_rate
    spectrum = np.abs(np.fft.rfft(after[target_rate // 4 : -target_rate // 4] * np.hanning(target_rate // 2)))
    assert int(np.argmax(spectrum)) * 2 == 1000
    assert np.sqrt((after[target_rate // 4 : -target_rate // 4] ** 2).mean()) == pytest.approx(
        8000 / np.sqrt(2), rel=0.01
    )


@pytest.mark.parametrize(("source_rate", "target_rate"), [(48000, 16000), (16000, 8000), (24000, 16000)])
def test_what_the_lower_rate_cannot_carry_is_gone(source_rate: int, target_rate: int) -> None:
    before = tone(1.0, frequency=target_rate * 0.65, sample_rate=source_rate)
    after = to_samples(b"".join(resample(before, source_rate, target_rate)))[
        target_rate // 10 : -target_rate // 10
    ]
    assert np.sqrt((after**2).mean()) < 3


@every_pair
def test_after_the_first_frames_each_gives_one_frame(source_rate: int, target_rate: int) -> None:
    sizes = [len(pcm) for pcm in resample(bytes(source_rate), source_rate, target_rate)]
    assert sizes[2:-1] == [target_rate // 50 * 2] * 23
    assert sum(sizes) == target_rate


@given(
    pair=st.sampled_from(PAIRS),
    chunks=st.lists(st.one_of(st.integers(0, 3), st.integers(0, 2000)), max_size=12),
)
def test_the_sound_lasts_as_long_whatever_it_came_in(pair: tuple[int, int], chunks: list[int]) -> None:
    source_rate, target_rate = pair
    resampler = Resampler(source_rate, target_rate)
    for _ in range(2):
        produced = b"".join(resampler.process(bytes(2 * samples)) for samples in chunks) + resampler.flush()
        assert len(produced) == sum(chunks) * target_rate // source_rate * 2


@pytest.mark.parametrize("rates", [(44100, 48000), (48000, 0), (-8000, 8000)])
def test_other_rates_are_our_callers_fault(rates: tuple[int, int]) -> None:
    for kind in (Resampler, RateBridge):
        with pytest.raises(UsageError, match="sample rate"):
            kind(*rates)


@pytest.mark.parametrize("target_rate", [16000, 48000])
def test_half_a_sample_is_our_callers_fault(target_rate: int) -> None:
    with pytest.raises(UsageError, match="within a sample"):
        Resampler(48000, target_rate).process(b"\0\0\0")


@every_pair
@pytest.mark.parametrize("milliseconds", [10, 20, 60])
def test_a_bridge_gives_a_frame_for_a_frame(source_rate: int, target_rate: int, milliseconds: int) -> None:
    bridge = RateBridge(target_rate, source_rate)
    ours = tone(0.6, sample_rate=source_rate)
    theirs = [bridge.to_codec(frame) for frame in frames(ours, source_rate * milliseconds // 1000)]
    assert {len(frame) for frame in theirs} == {target_rate * milliseconds // 1000 * 2}
    back = [bridge.from_codec(frame) for frame in theirs]
    assert {len(frame) for frame in back} == {source_rate * milliseconds // 1000 * 2}
    assert np.abs(to_samples(back[-1])).max() == pytest.approx(8000, rel=0.03)
    assert bridge.codec_samples(source_rate) == target_rate


def test_a_bridge_refuses_what_is_no_whole_number_of_samples() -> None:
    bridge = RateBridge(8000, 48000)
    with pytest.raises(UsageError, match="8000 Hz"):
        bridge.to_codec(to_pcm(np.zeros(5)))
