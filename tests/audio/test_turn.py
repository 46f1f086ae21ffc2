from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio.signals import noise, tone, voice
from voicegate.audio import SpeechStarted, SpeechStopped, TurnDetector, TurnEnded, VoiceDetector
from voicegate.audio.turn import LevelGate, TurnEvent

RATES = [8000, 16000, 24000, 48000]
FRAME = 320
"""Bytes of 20 ms at 8 kHz."""


def silence(seconds: float, *, sample_rate: int = 48000) -> bytes:
    return bytes(2 * int(seconds * sample_rate))


class FirstSample:
    """Takes a frame for speech when its first sample is not zero, and learns nothing."""

    def __init__(self) -> None:
        self.frames = 0

    def is_speech(self, pcm: bytes) -> bool:
        self.frames += 1
        return pcm[:2] != b"\0\0"


@attrs.define
class Patience:
    """A turn model that says what it is told to."""

    answers: list[int]
    heard: list[bytes] = attrs.field(factory=list)

    def wait_ms(self, pcm: bytes) -> int:
        self.heard.append(pcm)
        return self.answers.pop(0)


def pattern(frames: str, *, first: int = 1) -> bytes:
    """Make 20 ms at 8 kHz of each letter: ``v`` for voiced; the samples count up from ``first``."""
    return b"".join(
        (number.to_bytes(2, "little") if letter == "v" else b"\0\0") + bytes([number % 251]) * (FRAME - 2)
        for number, letter in enumerate(frames, first)
    )


def drain(detector: TurnDetector) -> list[TurnEvent]:
    events: list[TurnEvent] = []
    while (event := detector.poll_event()) is not None:
        events.append(event)
    return events


def listen(
    detector: TurnDetector, pcm: bytes, *, position: int = 0, chunk: int = FRAME
) -> list[tuple[str, int]]:
    """Return the names of the events, and where they say that it happened."""
    for offset in range(0, len(pcm), chunk):
        detector.handle_audio(pcm[offset : offset + chunk], position=position + offset // 2)
    return [(type(event).__name__, event.position_ms) for event in drain(detector)]


def plain(**settings: object) -> TurnDetector:
    return TurnDetector(FirstSample(), sample_rate=8000, **settings)  # type: ignore[arg-type] # any of them


def real(sample_rate: int = 48000, silence_ms: int = 600) -> TurnDetector:
    return TurnDetector(
        VoiceDetector(sample_rate=sample_rate), sample_rate=sample_rate, silence_ms=silence_ms
    )


@pytest.mark.slow
@pytest.mark.parametrize("sample_rate", RATES)
def test_a_turn_between_silences_starts_and_ends_where_it_does(sample_rate: int) -> None:
    sound = (
        silence(0.5, sample_rate=sample_rate)
        + voice(1.5, sample_rate=sample_rate)
        + silence(1.0, sample_rate=sample_rate)
    )
    events = listen(real(sample_rate), sound)
    assert [events[0][0], events[-1][0]] == ["SpeechStarted", "TurnEnded"]
    assert events[0][1] == pytest.approx(500, abs=100)
    assert events[-1][1] == events[-2][1] == pytest.approx(2000, abs=150)
    assert events[-2][0] == "SpeechStopped"


def test_speech_is_noticed_within_150_ms() -> None:
    detector = real()
    listen(detector, silence(0.5))
    ((event, position_ms),) = listen(detector, voice(0.15), position=24000)
    assert event == "SpeechStarted"
    assert position_ms == pytest.approx(520, abs=20)
    assert detector.is_speaking


@pytest.mark.parametrize(
    "sound",
    [silence(3.0), noise(3.0, deviation=40), silence(1.0) + voice(0.06) + silence(1.0)],
    ids=["silence", "faint noise", "a click"],
)
def test_what_is_no_speech_says_nothing(sound: bytes) -> None:
    assert listen(real(), sound) == []


def test_a_steady_tone_ends_its_turn_by_itself() -> None:
    events = listen(real(), silence(0.5) + tone(20.0))
    assert [events[0][0], events[-1][0]] == ["SpeechStarted", "TurnEnded"]
    assert events[-1][1] == pytest.approx(12_000, abs=2000)


@pytest.mark.slow
def test_long_speech_with_natural_dips_is_one_turn() -> None:
    assert "TurnEnded" not in dict(listen(real(), 15 * voice(2.0)))


def test_a_pause_is_told_and_ends_no_turn() -> None:
    sound = pattern("v" * 10 + "-" * 29 + "v" * 10 + "-" * 30)
    assert listen(plain(silence_ms=600), sound) == [
        ("SpeechStarted", 0),
        ("SpeechStopped", 200),
        ("SpeechStarted", 780),
        ("SpeechStopped", 980),
        ("TurnEnded", 980),
    ]


def test_a_gap_within_words_is_no_pause() -> None:
    assert listen(plain(), pattern("v" * 10 + "-" * 9 + "v" * 10)) == [("SpeechStarted", 0)]


def test_a_click_in_the_silence_does_not_prolong_it() -> None:
    events = listen(plain(silence_ms=600), pattern("v" * 10 + "-" * 20 + "vv" + "-" * 8))
    assert events[-1] == ("TurnEnded", 200)


def test_a_silence_shorter_than_a_pause_ends_a_turn_at_once() -> None:
    assert listen(plain(silence_ms=60), pattern("v" * 10 + "-" * 3)) == [
        ("SpeechStarted", 0),
        ("SpeechStopped", 200),
        ("TurnEnded", 200),
    ]


def test_positions_are_those_of_the_clients_clock() -> None:
    detector = plain()
    assert listen(detector, pattern("v" * 5), position=80_000) == [("SpeechStarted", 10_000)]
    assert listen(detector, pattern("-" * 10), position=80_800) == [("SpeechStopped", 10_100)]


def test_what_the_client_did_not_send_is_silence() -> None:
    detector = plain(silence_ms=600)
    events = listen(detector, pattern("v" * 10))
    events += listen(detector, pattern("v" * 10), position=1600 + 160 * 15)
    events += listen(detector, pattern("v"), position=1600 + 160 * 1000)
    assert events == [
        ("SpeechStarted", 0),
        ("SpeechStopped", 200),
        ("SpeechStarted", 500),
        ("SpeechStopped", 700),
        ("TurnEnded", 700),
    ]


def test_an_hour_in_which_nothing_came_is_soon_over() -> None:
    detector = plain()
    listen(detector, pattern("v" * 10))
    assert listen(detector, pattern("v"), position=8000 * 3600)[-1] == ("TurnEnded", 200)
    assert listen(detector, pattern("v" * 3), position=8000 * 3600 + 160) == [("SpeechStarted", 3_600_000)]


def test_a_detector_that_begins_late_takes_nothing_for_a_gap() -> None:
    assert listen(plain(), pattern("v" * 4), position=8000 * 3600) == [("SpeechStarted", 3_600_000)]


@pytest.mark.slow
@given(chunks=st.lists(st.integers(1, 700), min_size=1, max_size=20))
def test_the_length_of_packets_does_not_matter(chunks: list[int]) -> None:
    sound = pattern("---" + "v" * 20 + "-" * 40)
    expected = listen(plain(), sound)
    detector = plain()
    position = 0
    events: list[TurnEvent] = []
    while position < len(sound) // 2:
        for samples in chunks:
            pcm = sound[2 * position : 2 * (position + samples)]
            detector.handle_audio(pcm, position=position)
            position += len(pcm) // 2
            events += drain(detector)
    assert [(type(event).__name__, event.position_ms) for event in events] == expected


def test_the_pre_roll_has_the_first_syllable_and_what_came_before() -> None:
    detector = plain()
    sound = pattern("-" * 60 + "v" * 4)
    for offset in range(0, len(sound), FRAME):
        detector.handle_audio(sound[offset : offset + FRAME], position=offset // 2)
    (event,) = drain(detector)
    assert isinstance(event, SpeechStarted)
    assert event.position_ms == 1200
    assert event.pre_roll == sound[-50 * FRAME :] == detector.pre_roll(1000)
    assert detector.pre_roll(100) == sound[-5 * FRAME :]
    assert detector.pre_roll(5000) == sound[-50 * FRAME :], "no more than that is kept"


def test_a_turn_model_hears_the_turn_and_says_how_long_to_wait() -> None:
    model = Patience([1000, 0])
    detector = plain(turn_model=model)
    sound = pattern("--" + "v" * 10 + "-" * 45 + "v" * 10 + "-" * 10)
    assert [name for name, _ in listen(detector, sound)] == [
        "SpeechStarted",
        "SpeechStopped",
        "SpeechStarted",
        "SpeechStopped",
        "TurnEnded",
    ]
    first, second = model.heard
    assert first == sound[2 * FRAME : 22 * FRAME]
    assert second == sound[2 * FRAME :], "the pause was within the turn"


def test_a_turn_model_hears_the_last_seconds_of_a_long_turn() -> None:
    model = Patience([0])
    sound = pattern("v" * 1000 + "-" * 10)
    listen(plain(turn_model=model), sound)
    assert model.heard == [sound[-400 * FRAME :]]


def test_an_agent_may_end_the_turn_in_a_pause_only() -> None:
    detector = plain(silence_ms=10_000)
    detector.end_turn()
    listen(detector, pattern("v" * 10))
    detector.end_turn()
    assert drain(detector) == []
    assert listen(detector, pattern("-" * 20), position=1600) == [("SpeechStopped", 200)]
    detector.end_turn()
    detector.end_turn()
    assert drain(detector) == [TurnEnded(200)]


def test_what_is_quiet_is_not_shown_to_the_model() -> None:
    model = FirstSample()
    detector = TurnDetector(model, sample_rate=8000)
    detector.handle_audio(pattern("v" * 20), position=0, is_quiet=True)
    assert (model.frames, drain(detector)) == (0, [])
    assert detector.pre_roll(100) == pattern("v" * 20)[-5 * FRAME :]


@pytest.mark.slow
@given(st.text("v-", max_size=200), st.integers(0, 2000))
def test_events_come_in_their_order_and_positions_never_go_back(frames: str, silence_ms: int) -> None:
    detector = plain(silence_ms=silence_ms)
    for number, letter in enumerate(frames):
        detector.handle_audio(pattern(letter), position=number * 160)
    allowed: dict[type[TurnEvent] | None, Sequence[type[TurnEvent]]] = {
        None: [SpeechStarted],
        SpeechStarted: [SpeechStopped],
        SpeechStopped: [SpeechStarted, TurnEnded],
        TurnEnded: [SpeechStarted],
    }
    last: type[TurnEvent] | None = None
    position = 0
    for event in drain(detector):
        assert type(event) in allowed[last]
        assert event.position_ms >= position
        last, position = type(event), event.position_ms


# The level that the client sends


def test_levels_that_vary_tell_background_from_voice() -> None:
    gate = LevelGate()
    background = [gate.is_quiet(70 + number % 3) for number in range(50)]
    assert not any(background), "it might as well be a client that measures nothing"
    assert not any(gate.is_quiet(level) for level in (40, 35, 30) * 10)
    assert all(gate.is_quiet(level) for level in (70, 71, 70, 127))


def test_a_background_that_becomes_louder_is_learned() -> None:
    gate = LevelGate()
    for level in [80] * 10 + [40] * 10:
        gate.is_quiet(level)
    assert not gate.is_quiet(55)
    assert [gate.is_quiet(55) for _ in range(600)][-1]
    assert not gate.is_quiet(40)


@pytest.mark.parametrize("level", [None, 0, 60, 127])
def test_a_client_that_measures_nothing_is_heard(level: int | None) -> None:
    gate = LevelGate()
    assert not any(gate.is_quiet(level) for _ in range(1000))
