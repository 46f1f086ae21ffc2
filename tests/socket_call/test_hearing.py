"""Audio of any length and rate, as frames."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicegate.audio import SpeechStarted, TurnEnded
from voicegate.call import AudioFrame
from voicegate.socket_call.hearing import Hearing
from voicegate.testing import sound

RATE = 24_000


def frames(hearing: Hearing) -> list[AudioFrame]:
    found = []
    while (frame := hearing.poll_frame()) is not None:
        found.append(frame)
    return found


@settings(max_examples=25)
@given(st.lists(st.integers(0, 2000), max_size=20))
def test_pieces_of_any_length_come_out_as_frames_one_after_the_other(lengths: list[int]) -> None:
    hearing = Hearing(sample_rate=RATE)
    pcm = b"".join(number.to_bytes(2, "little") for number in range(sum(lengths)))
    rest = pcm
    for length in lengths:
        hearing.handle_audio(rest[: 2 * length], rate=RATE)
        rest = rest[2 * length :]
    heard = frames(hearing)
    hearing.flush()
    last = frames(hearing)
    assert [frame.position for frame in heard + last] == [480 * index for index in range(len(heard + last))]
    assert b"".join(frame.pcm for frame in heard + last).startswith(pcm)
    assert all(len(frame.pcm) == 960 for frame in heard + last)
    assert hearing.position_ms == sum(lengths) * 1000 // RATE


def test_what_filled_up_the_last_frame_takes_no_time() -> None:
    hearing = Hearing(sample_rate=RATE)
    hearing.handle_audio(b"\1\0" * 500, rate=RATE)
    hearing.flush()
    hearing.handle_audio(b"\2\0" * 480, rate=RATE)
    assert [frame.position for frame in frames(hearing)] == [0, 480, 500]


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
def test_another_rate_is_resampled_to_the_sample(rate: int) -> None:
    said = sound.speech_like(1.0, rate=8000)
    hearing = Hearing(sample_rate=RATE)
    hearing.use_rate(rate)
    hearing.handle_audio(said.pcm, rate=8000)
    hearing.flush()
    heard = frames(hearing)
    assert hearing.position_ms == 1000
    assert {frame.sample_rate for frame in heard} == {rate}
    again = sound.Sound.from_pcm(b"".join(frame.pcm for frame in heard), rate=rate)
    assert sound.recognise(again, sound.speech_like(1.0, rate=rate)).peak > 0.8


def test_turns_are_found_by_position_and_forgotten_when_cleared() -> None:
    hearing = Hearing(sample_rate=RATE)
    assert hearing.pre_roll(100) == b""
    hearing.detect_speech(silence_ms=300, turn_model=None, detector="webrtc")
    hearing.handle_audio(sound.speech_like(1.0, rate=RATE).pcm + bytes(RATE), rate=RATE)
    found = []
    while hearing.poll_frame() is not None:
        while (event := hearing.poll_event()) is not None:
            found.append(event)
    assert isinstance(found[0], SpeechStarted)
    assert isinstance(found[-1], TurnEnded)
    assert len(hearing.pre_roll(100)) == 4800
    hearing.handle_audio(sound.speech_like(0.5, rate=RATE).pcm, rate=RATE)
    frames(hearing)
    turns = [hearing.is_in_turn]
    hearing.clear()
    assert [*turns, hearing.is_in_turn] == [True, False]
    hearing.stop_detecting()
    hearing.end_turn()
    assert hearing.poll_event() is None
