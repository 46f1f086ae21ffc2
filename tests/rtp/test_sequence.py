"""Sequence numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.rtp.sequence import extend_sequence_number


@pytest.mark.parametrize(
    ("number", "reference", "extended"),
    [(0, 0xFFFF, 0x10000), (0xFFFF, 0x10000, 0xFFFF), (0xFFFF, 0, -1), (7, 0x50003, 0x50007)],
)
def test_an_extended_number_counts_the_wraps(number: int, reference: int, extended: int) -> None:
    assert extend_sequence_number(number, reference=reference) == extended


@given(st.integers(0, 0xFFFF), st.integers(-(1 << 48), 1 << 48))
def test_an_extended_number_is_the_nearest_with_the_same_low_bits(number: int, reference: int) -> None:
    extended = extend_sequence_number(number, reference=reference)
    assert extended & 0xFFFF == number
    assert -0x8000 <= extended - reference < 0x8000
