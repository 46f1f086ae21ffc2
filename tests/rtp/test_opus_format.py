"""What a client asks of our Opus."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.rtp import OpusFormat

NAMES = ("minptime", "maxaveragebitrate", "maxplaybackrate", "stereo", "useinbandfec", "usedtx", "cbr")


def test_nothing_said_is_the_defaults_of_the_payload_format() -> None:
    assert OpusFormat.read({}) == OpusFormat(
        minptime=3,
        maxaveragebitrate=None,
        maxplaybackrate=48000,
        stereo=False,
        useinbandfec=False,
        usedtx=False,
        cbr=False,
    )


def test_what_is_said_is_taken() -> None:
    said = dict(zip(NAMES, ("10", "20000", "16000", "1", "1", "1", "1"), strict=True))
    assert OpusFormat.read(said) == OpusFormat(
        minptime=10,
        maxaveragebitrate=20_000,
        maxplaybackrate=16_000,
        stereo=True,
        useinbandfec=True,
        usedtx=True,
        cbr=True,
    )


@pytest.mark.parametrize("text", ["", "-1", "+1", " 1", "1.5", "x", "1" * 5000, "²", "9999999", "1_0"])
def test_what_is_malformed_counts_as_absent(text: str) -> None:
    assert OpusFormat.read(dict.fromkeys(NAMES, text)) == OpusFormat()


def test_zero_asks_for_nothing() -> None:
    assert OpusFormat.read(dict.fromkeys(NAMES, "0")) == OpusFormat()


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=6)))
def test_any_text_is_read(parameters: dict[str, str]) -> None:
    asked = OpusFormat.read(parameters)
    assert 0 < asked.minptime <= 120
