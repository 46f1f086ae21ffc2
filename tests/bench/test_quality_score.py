import sys

import numpy as np
import pytest

from voicegate.audio import OpusEncoder
from voicegate.bench.quality_score import (
    Arrival,
    Heard,
    Score,
    find_parts,
    read_speech,
    require_zimtohrli,
    score,
)
from voicegate.errors import UsageError
from voicegate.testing.sound import Sound, silence

pytestmark = pytest.mark.slow

SPEECH = read_speech().cut(0.0, 3.6)
PARTS = find_parts(SPEECH)
START = 0xFFFF_F000


def encode(sound: Sound) -> list[bytes]:
    encoder, pcm = OpusEncoder(), sound.pcm
    return [encoder.encode(pcm[at : at + 1920]) for at in range(0, len(pcm) - 1919, 1920)]


def arrive(payloads: list[bytes], *, delay: float = 0.1) -> list[Arrival]:
    """Bring payloads back; their timestamps wrap."""
    return [
        Arrival(index / 50 + delay, (START + 960 * index) & 0xFFFFFFFF, payload)
        for index, payload in enumerate(payloads)
    ]


def judge(arrivals: list[Arrival]) -> Score:
    return score(SPEECH, PARTS, [part.start / 48000 for part in PARTS], Heard(arrivals))


def test_speech_is_taken_apart_at_its_pauses() -> None:
    whole = read_speech()
    parts = find_parts(whole)
    assert len(parts) == 5
    assert sum(part.stop - part.start for part in parts) > 0.8 * len(whole.samples)
    short = find_parts(whole, longest=0.6)
    assert all(0.25 <= (part.stop - part.start) / 48000 <= 0.6 for part in short)
    assert (short[0].start, short[-1].stop) == (parts[0].start, parts[-1].stop)


def test_what_was_only_coded_sounds_good_and_comes_when_it_comes() -> None:
    result = judge(arrive(encode(SPEECH)))
    assert result.opinion > 4
    # A packet holds what was said before it came, and Opus looks 6.5 ms ahead.
    assert result.delays == pytest.approx([0.1] * len(PARTS), abs=0.03)


def test_loss_is_heard() -> None:
    arrivals = arrive(encode(SPEECH))
    good = judge(arrivals).opinion
    assert judge([arrival for index, arrival in enumerate(arrivals) if index % 5]).opinion < good - 0.3


def test_a_longer_pause_is_no_fault() -> None:
    pause = PARTS[0].stop / 48000 + 0.05
    longer = SPEECH.cut(0, pause) + silence(0.08) + SPEECH.cut(pause, SPEECH.seconds)
    result = judge(arrive(encode(longer)))
    assert result.opinion > 4
    first, *others = (delay or 0.0 for delay in result.delays)
    assert first == pytest.approx(0.1, abs=0.03)
    assert others == pytest.approx([0.18] * len(others), abs=0.03)


def test_what_comes_twice_or_in_another_order_is_put_right() -> None:
    arrivals = arrive(encode(SPEECH))
    mixed = [*arrivals[:50], arrivals[51], arrivals[50], arrivals[50], *arrivals[52:]]
    heard, expected = Heard(mixed), Heard(arrivals)
    assert np.array_equal(heard.sound.samples, expected.sound.samples)


def test_other_sounds_are_not_recognised() -> None:
    noise = Sound(np.random.default_rng(1).uniform(-0.3, 0.3, len(SPEECH.samples)))
    result = judge(arrive(encode(noise)))
    assert result.delays == [None] * len(PARTS)
    assert result.opinion < 2


@pytest.mark.parametrize("arrivals", [[], arrive([b"\xf8\xff\xfe"] * 100)])
def test_silence_is_the_worst(arrivals: list[Arrival]) -> None:
    assert judge(arrivals) == Score(opinion=1.0, delays=[None] * len(PARTS))


def test_what_came_too_soon_ends_is_padded() -> None:
    result = judge(arrive(encode(SPEECH))[:100])
    assert result.delays[0] is not None
    assert result.opinion < 3.5


def test_lateness_is_what_a_client_has_to_wait_for() -> None:
    arrivals = arrive(encode(SPEECH))
    assert Heard(arrivals).lateness == pytest.approx(0.0, abs=1e-6)
    late = [
        arrival._replace(at=arrival.at + 0.05) if index % 10 == 0 else arrival
        for index, arrival in enumerate(arrivals)
    ]
    assert Heard(late).lateness == pytest.approx(0.05, abs=1e-6)


def test_a_missing_model_of_hearing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require_zimtohrli()
    monkeypatch.setitem(sys.modules, "zimtohrli", None)
    with pytest.raises((UsageError, ValueError), match="zimtohrli"):
        require_zimtohrli()
