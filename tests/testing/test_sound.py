import base64
import io
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import webrtcvad
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import UsageError, WireError
from voicegate.testing.sound import (
    Sound,
    chirp,
    correlate,
    noise_bursts,
    recognise,
    silence,
    speech_like,
    tone,
)


def stereo_wav(left: int, right: int) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.array([left, right] * 10, "<i2").tobytes())
    return target.getvalue()


def test_a_wav_file_holds_a_sound_to_the_precision_of_16_bits(tmp_path: Path) -> None:
    sound = chirp(100, 2000, 0.2, rate=16_000)
    sound.write_wav(tmp_path / "chirp.wav")
    read = Sound.read_wav(tmp_path / "chirp.wav")
    assert read.rate == 16_000
    np.testing.assert_allclose(read.samples, sound.samples, atol=1 / 32_767)


def test_what_was_read_is_written_back_byte_for_byte() -> None:
    data = noise_bursts(0.2).encode()
    assert Sound.decode(data).encode() == data


def test_samples_beyond_full_scale_are_clipped() -> None:
    read = Sound.decode(Sound([2.0, -2.0, 0.5]).encode())
    np.testing.assert_allclose(read.samples, [1, -1, 0.5], atol=1e-4)


def test_several_channels_become_their_mean() -> None:
    read = Sound.decode(stereo_wav(16_384, 0))
    assert read.rate == 8000
    np.testing.assert_allclose(read.samples, np.full(10, 0.25), atol=1e-4)


def test_samples_of_another_width_are_refused() -> None:
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setparams((1, 1, 8000, 0, "NONE", ""))
        file.writeframes(bytes(10))
    with pytest.raises(WireError, match="8 bits"):
        Sound.decode(target.getvalue())


@given(st.binary(max_size=100))
def test_bytes_that_are_no_wav_file_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        Sound.decode(data)


@given(st.data())
def test_a_damaged_wav_file_is_read_or_refused(data: st.DataObject) -> None:
    wav = bytearray(tone(440, 0.001).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        wav[data.draw(st.integers(0, len(wav) - 1))] = data.draw(st.integers(0, 255))
    try:
        sound = Sound.decode(bytes(wav[: data.draw(st.integers(0, len(wav)))]))
    except WireError:
        return
    assert sound.seconds >= 0


def test_base64_of_the_recorder_holds_little_endian_floats() -> None:
    text = base64.b64encode(np.array([0.25, -1.0], "<f4").tobytes()).decode()
    assert Sound.from_base64(text, rate=44_100).samples.tolist() == [0.25, -1.0]


def test_sounds_follow_each_other_and_are_cut_apart_again() -> None:
    whole = tone(440, 0.5) + silence(0.25)
    assert whole.seconds == 0.75
    assert whole.cut(0.5, 0.75).loudness == 0
    assert whole.cut(0, 0.5).loudness == pytest.approx(0.5 / 2**0.5, rel=1e-3)
    assert whole.cut(1, 2).loudness == 0


def test_sounds_of_different_rates_do_not_mix() -> None:
    with pytest.raises(UsageError, match="8000"):
        silence(1) + silence(1, rate=8000)
    with pytest.raises(UsageError, match="8000"):
        correlate(tone(440, 0.1, rate=8000), tone(440, 1))


@pytest.mark.parametrize("frequency", [200, 1000, 3999])
def test_a_tone_is_found_in_noise_with_its_level(frequency: float) -> None:
    mixed = Sound(tone(frequency, 1, level=0.2).samples + noise_bursts(1, length=1, level=0.1).samples)
    assert mixed.dominant_frequency() == pytest.approx(frequency, abs=1)
    assert mixed.tone_level(frequency) == pytest.approx(0.2, abs=0.01)
    assert mixed.tone_level(frequency + 500) < 0.01


def test_bursts_of_noise_come_at_their_times() -> None:
    bursts = noise_bursts(1, every=0.5, length=0.1)
    assert bursts.cut(0, 0.1).loudness > 0.2
    assert bursts.cut(0.1, 0.5).loudness == 0
    assert bursts.cut(0.5, 0.6).loudness > 0.2


@pytest.mark.parametrize(
    "make", [lambda: speech_like(3), lambda: chirp(100, 4000, 3), lambda: noise_bursts(3)]
)
def test_a_part_is_found_where_it_was_cut_though_fainter_turned_and_noisy(make: Callable[[], Sound]) -> None:
    whole = make()
    heard = Sound(
        whole.cut(1.2, 1.7).samples * -0.1 + noise_bursts(0.5, length=0.5, level=0.005, seed=2).samples
    )
    match = correlate(heard, whole)
    assert match.peak > 0.95
    assert match.lag == pytest.approx(1.2, abs=1e-4)


@pytest.mark.parametrize("whole", [noise_bursts(3), tone(440, 3), speech_like(3, seed=2)])
def test_a_part_is_not_found_in_another_sound(whole: Sound) -> None:
    assert correlate(speech_like(3).cut(1, 1.5), whole).peak < 0.6


def test_one_good_stretch_of_a_recording_is_enough() -> None:
    spoken = speech_like(3)
    disturbed = noise_bursts(1.1, length=1) + spoken.cut(1, 1.8) + silence(0.7)
    peak, lag = recognise(disturbed, spoken)
    assert peak > 0.99
    assert lag == pytest.approx(1 - 1.1, abs=1e-4)


def test_other_speech_and_silence_are_not_recognised() -> None:
    assert recognise(speech_like(2, seed=2), speech_like(3)).peak < 0.6
    assert recognise(silence(1), speech_like(3)).peak == 0
    assert recognise(silence(0), speech_like(3)).peak == 0


def test_what_is_too_short_to_hold_a_whole_stretch_is_not_recognised_by_chance() -> None:
    with pytest.raises(UsageError, match=r"0\.70 s are too short"):
        recognise(speech_like(3), speech_like(0.7))


def test_nothing_is_found_in_silence() -> None:
    assert correlate(tone(440, 0.1), silence(1)).peak == 0


@pytest.mark.parametrize("part", [silence(0.1), tone(440, 2), silence(0)])
def test_a_part_that_cannot_be_found_is_refused(part: Sound) -> None:
    with pytest.raises(UsageError, match="silent"):
        correlate(part, tone(440, 1))


def test_speech_like_sound_is_taken_for_speech() -> None:
    detector = webrtcvad.Vad(3)
    pcm = speech_like(2, rate=16_000).encode()[44:]
    frames = [pcm[at : at + 960] for at in range(0, len(pcm) - 959, 960)]
    assert sum(detector.is_speech(frame, 16_000) for frame in frames) > 0.8 * len(frames)
