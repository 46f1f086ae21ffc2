import pytest

from tests.audio.signals import frames, noise, tone, voice
from voicegate.audio import OpusDecoder, OpusEncoder, VoiceDetector
from voicegate.errors import UsageError

RATES = [8000, 16000, 24000, 32000, 48000]


def voiced(pcm: bytes, *, sample_rate: int = 48000, detector: VoiceDetector | None = None) -> float:
    """Return which part of the frames is taken for speech."""
    detector = detector or VoiceDetector(sample_rate=sample_rate)
    said = [detector.is_speech(frame) for frame in frames(pcm, sample_rate // 50)]
    return sum(said) / len(said)


@pytest.mark.parametrize("sample_rate", RATES)
def test_a_voice_is_speech_and_silence_is_none(sample_rate: int) -> None:
    assert voiced(voice(1.0, sample_rate=sample_rate), sample_rate=sample_rate) > 0.7
    assert voiced(bytes(2 * sample_rate), sample_rate=sample_rate) == 0


def test_a_voice_is_speech_after_a_trip_through_opus() -> None:
    encoder, decoder = OpusEncoder(), OpusDecoder()
    heard = b"".join(decoder.decode(encoder.encode(frame)) for frame in frames(voice(1.0)))
    assert voiced(heard) > 0.7


@pytest.mark.parametrize(
    "sound",
    [noise(3.0, deviation=40), voice(3.0, peak=90)],
    ids=["faint noise", "far too quiet a voice"],
)
def test_what_is_too_quiet_is_no_speech(sound: bytes) -> None:
    assert voiced(sound) == 0


@pytest.mark.parametrize("frequency", [440, 1000])
def test_a_steady_tone_is_taken_for_speech_only_at_first(frequency: float) -> None:
    detector = VoiceDetector(sample_rate=48000)
    voiced(bytes(48000), detector=detector)
    assert voiced(tone(8.0, frequency=frequency), detector=detector) > 0.5
    voiced(tone(8.0, frequency=frequency), detector=detector)
    assert voiced(tone(4.0, frequency=frequency), detector=detector) == 0


def test_speech_stands_out_from_steady_noise() -> None:
    detector = VoiceDetector(sample_rate=8000)
    assert voiced(noise(10.0, sample_rate=8000, deviation=200), sample_rate=8000, detector=detector) < 0.2
    assert voiced(voice(1.0, sample_rate=8000), sample_rate=8000, detector=detector) > 0.5


@pytest.mark.parametrize("size", [0, 1918, 1922, 960])
def test_only_whole_frames_are_taken(size: int) -> None:
    with pytest.raises(UsageError, match="20 ms"):
        VoiceDetector(sample_rate=48000).is_speech(bytes(size))


def test_other_sample_rates_are_our_callers_fault() -> None:
    with pytest.raises(UsageError, match="44100"):
        VoiceDetector(sample_rate=44100)
