"""Audio levels in a header extension."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import UsageError, WireError
from voicegate.rtp import AudioLevel


def test_the_top_bit_is_the_voice_flag() -> None:
    assert AudioLevel.decode(b"\x85") == AudioLevel(level=5, is_voice=True)
    assert AudioLevel.decode(b"\x7f") == AudioLevel(level=127, is_voice=False)


@given(st.builds(AudioLevel, st.integers(0, 127), st.booleans()))
def test_a_level_survives_the_wire(level: AudioLevel) -> None:
    assert AudioLevel.decode(level.encode()) == level


@given(st.binary(max_size=4).filter(lambda value: len(value) != 1))
def test_a_level_of_another_length_is_refused(value: bytes) -> None:
    with pytest.raises(WireError):
        AudioLevel.decode(value)


@pytest.mark.parametrize("level", [-1, 128])
def test_a_level_out_of_range_cannot_be_written(level: int) -> None:
    with pytest.raises(UsageError):
        AudioLevel(level, is_voice=False).encode()
