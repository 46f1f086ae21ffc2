import pytest

from tests.audio.signals import frames, noise, tone, voice
from voicegate.audio import OpusDecoder, OpusEncoder, SpeechStarted, SpeechStopped, VoiceDetector
from voicegate.audio.voice import VoiceEvent
from voicegate.errors import UsageError

RATES = [8000, 16000, 32000, 48000]


def silence(seconds: float, *, sample_rate: int = 48000) -> bytes:
    return bytes(2 * int(seconds * sample_rate))


def listen(detector: VoiceDetector, pcm: bytes, *, sample_rate: int = 48000) -> list[VoiceEvent]:
    events = [detector.handle_frame(frame) for frame in frames(pcm, sample_rate // 50)]
    return [event for event in events if event is not None]


@pytest.mark.slow
@pytest.mark.parametrize("sample_rate", RATES)
def test_speech_between_silences_starts_and_stops_where_it_does(sample_rate: int) -> None:
    detector = VoiceDetector(sample_rate=sample_rate)
    sound = (
        silence(0.5, sample_rate=sample_rate)
        + voice(1.5, sample_rate=sample_rate)
        + silence(1.0, sample_rate=sample_rate)
    )
    started, stopped = listen(detector, sound, sample_rate=sample_rate)
    assert isinstance(started, SpeechStarted)
    assert isinstance(stopped, SpeechStopped)
    assert started.position / sample_rate == pytest.approx(0.5, abs=0.1)
    assert stopped.position / sample_rate == pytest.approx(2.0, abs=0.15)


def test_speech_is_noticed_within_150_ms() -> None:
    detector = VoiceDetector(sample_rate=48000)
    listen(detector, silence(0.5))
    handled = 0
    for frame in frames(voice(1.0)):
        handled += 1
        if detector.handle_frame(frame) is not None:
            break
    assert detector.is_speaking
    assert handled * 20 <= 150


@pytest.mark.slow
def test_speech_is_noticed_after_a_trip_through_opus() -> None:
    encoder, decoder = OpusEncoder(), OpusDecoder()
    sound = silence(0.5) + voice(1.5) + silence(1.0)
    heard = b"".join(decoder.decode(encoder.encode(frame)) for frame in frames(sound))
    events = listen(VoiceDetector(sample_rate=48000), heard)
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped]


@pytest.mark.slow
def test_a_pause_shorter_than_the_limit_does_not_end_the_turn() -> None:
    detector = VoiceDetector(sample_rate=48000, silence_ms=500)
    events = listen(detector, voice(1.0) + silence(0.3) + voice(1.0) + silence(1.0) + voice(1.0))
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped, SpeechStarted]


def test_each_turn_has_its_whole_silence_before_it_ends() -> None:
    detector = VoiceDetector(sample_rate=48000, silence_ms=500)
    for _ in range(2):
        speech = iter(frames(voice(1.0)))
        assert any(isinstance(detector.handle_frame(frame), SpeechStarted) for frame in speech)
        assert listen(detector, silence(0.4)) == []
        assert [type(event) for event in listen(detector, silence(0.4))] == [SpeechStopped]


def test_the_turn_ends_after_the_silence_asked_for() -> None:
    detector = VoiceDetector(sample_rate=48000, silence_ms=200)
    listen(detector, voice(1.0))
    assert detector.is_speaking
    quiet = frames(silence(1.0))
    after, event = next(
        (index, event) for index, frame in enumerate(quiet, 1) if (event := detector.handle_frame(frame))
    )
    assert isinstance(event, SpeechStopped)
    assert 48000 + after * 960 - event.position == 9600
    assert after * 20 <= 320
    assert not detector.is_speaking


@pytest.mark.parametrize(
    "sound",
    [silence(3.0), noise(3.0, deviation=40), voice(3.0, peak=90), silence(1.0) + voice(0.06) + silence(1.0)],
    ids=["silence", "faint noise", "far too quiet a voice", "a click"],
)
def test_what_is_no_speech_says_nothing(sound: bytes) -> None:
    assert listen(VoiceDetector(sample_rate=48000), sound) == []


@pytest.mark.parametrize("frequency", [440, 1000])
def test_a_steady_tone_is_taken_for_speech_only_at_first(frequency: float) -> None:
    detector = VoiceDetector(sample_rate=48000)
    events = listen(detector, silence(0.5) + tone(20.0, frequency=frequency))
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped]
    assert events[1].position / 48000 == pytest.approx(12, abs=2)


@pytest.mark.slow
def test_long_speech_with_natural_dips_is_never_taken_for_background() -> None:
    detector = VoiceDetector(sample_rate=48000)
    assert [type(event) for event in listen(detector, 15 * voice(2.0))] == [SpeechStarted]


def test_speech_stands_out_from_steady_noise() -> None:
    detector = VoiceDetector(sample_rate=8000)
    hum = noise(10.0, sample_rate=8000, deviation=200)
    listen(detector, hum, sample_rate=8000)
    assert not detector.is_speaking
    started = listen(detector, voice(1.0, sample_rate=8000), sample_rate=8000)
    assert [type(event) for event in started] == [SpeechStarted]


@pytest.mark.parametrize("size", [0, 1918, 1922, 960])
def test_only_whole_frames_are_taken(size: int) -> None:
    with pytest.raises(UsageError, match="20 ms"):
        VoiceDetector(sample_rate=48000).handle_frame(bytes(size))


def test_other_sample_rates_are_our_callers_fault() -> None:
    with pytest.raises(UsageError, match="24000"):
        VoiceDetector(sample_rate=24000)
