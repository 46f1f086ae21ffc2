import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio.signals import to_samples, tone
from voicegate.audio.pcm import fade_out


@pytest.mark.slow
@given(st.integers(0, 200).flatmap(lambda length: st.binary(min_size=2 * length, max_size=2 * length)))
def test_a_fade_keeps_the_length_and_never_gets_louder(pcm: bytes) -> None:
    faded = fade_out(pcm)
    assert len(faded) == len(pcm)
    assert (abs(to_samples(faded)) <= abs(to_samples(pcm))).all()


def test_a_fade_is_a_straight_line_from_all_to_nothing() -> None:
    before = to_samples(tone(0.005, frequency=100))
    after = to_samples(fade_out(tone(0.005, frequency=100)))
    assert after[0] == before[0]
    assert after[120] == pytest.approx(before[120] / 2, abs=1)
    assert abs(after[-1]) <= abs(before[-1]) / 240 + 1
