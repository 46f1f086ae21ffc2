import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio.signals import noise, tone, voice
from voicegate.audio.frame import Cut, FrameCutter, Quietness, blend
from voicegate.audio.pcm import audioop

RATE = 8000
FRAME = 320


def cuts(cutter: FrameCutter) -> list[Cut]:
    return list(iter(cutter.pop, None))


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(1, 400), st.sampled_from(["heard", "made_up"])), max_size=20))
def test_whatever_the_packets_each_sample_comes_out_once_and_knows_whether_it_was_made_up(
    packets: list[tuple[int, str]],
) -> None:
    cutter = FrameCutter(RATE)
    frames = []
    for samples, kind in packets:
        cutter.push((b"\1\1" if kind == "made_up" else b"\0\0") * samples, is_made_up=kind == "made_up")
        if samples % 2:
            frames += cuts(cutter)
    frames += cuts(cutter)
    total = sum(samples for samples, _ in packets)
    assert len(frames) == total // 160
    assert [cut.position for cut in frames] == [160 * index for index in range(len(frames))]
    assert [cut.made_up for cut in frames] == [sum(cut.pcm) // 2 for cut in frames]
    assert cutter.position == total
    assert cutter.length == total % 160
    assert cutter.lacking == 160 - total % 160


def test_samples_on_top_take_no_time_of_the_client() -> None:
    cutter = FrameCutter(RATE)
    cutter.push(bytes(2 * 60))
    cutter.insert(bytes(2 * cutter.lacking))
    assert cuts(cutter) == [Cut(bytes(FRAME), 0, 100)]
    assert cutter.position == 60
    cutter.push(bytes(FRAME))
    assert cuts(cutter) == [Cut(bytes(FRAME), 60, 0)]


def test_a_pause_between_frames_is_left_out() -> None:
    cutter = FrameCutter(RATE)
    assert cutter.pause(1000)
    cutter.push(bytes(FRAME))
    assert cuts(cutter) == [Cut(bytes(FRAME), 1000, 0)]
    assert cutter.pause(500)
    assert cutter.position == 1160


def test_a_frame_that_a_pause_interrupts_is_filled_up_with_silence() -> None:
    cutter = FrameCutter(RATE)
    cutter.push(b"\1\1" * 60)
    assert not cutter.pause(1000)
    assert cuts(cutter) == [Cut(b"\1\1" * 60 + bytes(200), 0, 0)]
    assert cutter.pause(1000)
    assert cutter.position == 1000


def test_a_pause_shorter_than_what_a_frame_lacks_is_silence_in_it() -> None:
    cutter = FrameCutter(RATE)
    cutter.push(b"\1\1" * 60)
    assert cutter.pause(90)
    cutter.push(b"\2\2" * 70)
    assert cuts(cutter) == [Cut(b"\1\1" * 60 + bytes(60) + b"\2\2" * 70, 0, 0)]


def test_what_is_skipped_is_gone() -> None:
    cutter = FrameCutter(RATE)
    cutter.push(bytes(FRAME), is_made_up=True)
    cutter.skip_to(5000)
    assert cutter.is_empty
    cutter.push(bytes(FRAME))
    assert cuts(cutter) == [Cut(bytes(FRAME), 5000, 0)]


def test_another_rate_counts_the_same_time_in_other_samples() -> None:
    cutter = FrameCutter(RATE)
    cutter.push(bytes(FRAME + 20))
    cuts(cutter)
    cutter.use_rate(48000)
    assert cutter.position == 170 * 6
    assert cutter.lacking == 960


def frames_of(pcm: bytes) -> list[bytes]:
    return [pcm[at : at + FRAME] for at in range(0, len(pcm) - FRAME + 1, FRAME)]


@pytest.mark.parametrize("deviation", [0, 20, 300])
def test_pauses_between_words_are_quiet_even_with_noise_in_them(deviation: int) -> None:
    quietness = Quietness()
    background = noise(2.4, sample_rate=RATE, deviation=deviation)
    sound = frames_of(audioop.add(voice(2, sample_rate=RATE) + bytes(FRAME * 20), background, 2))
    speech, pause = sound[:100], sound[100:]
    for _ in range(3):
        quiet = [quietness.is_quiet(frame) for frame in [*speech, *pause]]
    assert sum(quiet[100:]) >= 15
    assert sum(quiet[:100]) <= 25


@pytest.mark.parametrize("sound", [voice(5, sample_rate=RATE), tone(20, sample_rate=RATE)])
def test_what_is_heard_is_not_quiet(sound: bytes) -> None:
    quietness = Quietness()
    quiet = [quietness.is_quiet(frame) for frame in frames_of(sound)]
    # The voice fades out between syllables.
    assert sum(quiet) <= len(quiet) // 4
    assert sum(quietness.is_quiet(frame) for frame in frames_of(tone(20, sample_rate=RATE))) == 0


def test_the_frame_after_one_left_out_begins_like_it() -> None:
    mixed = blend(b"\x00\x10" * 160, bytes(FRAME), sample_rate=RATE)
    samples = memoryview(mixed).cast("h")
    assert samples[0] == 0x1000
    assert list(samples) == sorted(samples, reverse=True)
    assert mixed[80:] == bytes(FRAME - 80)
