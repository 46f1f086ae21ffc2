from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.audio.signals import to_samples, tone
from voicegate.audio import PlayoutQueue
from voicegate.errors import UsageError

RATE = 8000
FRAME = 320

SMALL_RATE = 400
"""Frames of 8 samples and fades of 2, for a model that is searched at random."""


def numbered(first: int, length: int) -> bytes:
    """Samples that tell where they came from, none of them zero."""
    return b"".join((number % 32767 + 1).to_bytes(2, "little") for number in range(first, first + length))


@pytest.mark.slow
@given(st.lists(st.integers(0, 700), max_size=20))
def test_what_goes_in_comes_out_once_and_in_order_in_whole_frames(lengths: list[int]) -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    pushed = b""
    for length in lengths:
        pcm = numbered(len(pushed) // 2, length)
        queue.push(pcm)
        pushed += pcm
    pulled = []
    while (frame := queue.pull()) is not None:
        pulled.append(frame)
    assert {len(frame) for frame in pulled} <= {FRAME}
    assert len(pulled) == -(-len(pushed) // FRAME)
    assert b"".join(pulled) == pushed.ljust(len(pulled) * FRAME, b"\0")
    assert queue.played_samples == sum(lengths)


class PlayoutMachine(RuleBasedStateMachine):
    """Any sequence of calls against the plainest model: one list of samples."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = PlayoutQueue(sample_rate=SMALL_RATE, capacity_seconds=0.1)
        self.capacity = 40
        self.numbers = count(1)
        self.waiting: list[int] = []
        self.pushed = self.played = self.dropped = self.cleared = 0
        self.fade = 0
        self.is_sounding = False

    @rule(length=st.integers(0, 50))
    def push(self, length: int) -> None:
        samples = [next(self.numbers) % 32000 + 1 for _ in range(length)]
        self.queue.push(np.array(samples, "<i2").tobytes())
        self.pushed += length
        self.waiting += samples
        overflow = max(0, len(self.waiting) - self.capacity)
        del self.waiting[:overflow]
        self.dropped += overflow

    @rule()
    def pull(self) -> None:
        frame = self.queue.pull()
        room = 8 - self.fade
        expected, self.waiting = self.waiting[:room], self.waiting[room:]
        self.is_sounding = len(expected) == room
        if not expected and not self.fade:
            assert frame is None
            return
        assert frame is not None
        assert len(frame) == 16
        got = to_samples(frame)[self.fade :].tolist()
        assert got == expected + [0] * (room - len(expected))
        self.played += len(expected)
        self.fade = 0

    @rule()
    def clear(self) -> None:
        if self.is_sounding and not self.fade:
            self.fade = min(2, len(self.waiting))
        assert self.queue.clear() == len(self.waiting)
        self.cleared += len(self.waiting)
        self.waiting = []

    @invariant()
    def every_sample_is_accounted_for(self) -> None:
        assert self.queue.queued_samples == len(self.waiting) <= self.capacity
        assert self.queue.played_samples == self.played
        assert self.queue.dropped_samples == self.dropped
        assert self.pushed == self.played + self.dropped + self.cleared + len(self.waiting)
        assert self.queue.has_room(self.capacity - len(self.waiting))
        assert not self.queue.has_room(self.capacity - len(self.waiting) + 1)


PlayoutMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=20)
test_any_sequence_of_calls_agrees_with_a_list = pytest.mark.slow(PlayoutMachine.TestCase)


def test_an_interruption_is_silent_within_5_ms_and_without_a_click() -> None:
    queue = PlayoutQueue(sample_rate=48000)
    queue.push(tone(1.0))
    heard = [queue.pull() for _ in range(10)]
    assert queue.clear() == 48000 - 10 * 960
    assert queue.queued_samples == 0
    heard.append(queue.pull())
    samples = to_samples(b"".join(frame for frame in heard if frame))
    assert not samples[9600 + 240 :].any()
    # A 440 Hz sine of this loudness has no step beyond 461; neither has its end.
    assert abs(np.diff(samples)).max() <= 470
    assert queue.pull() is None
    assert queue.played_samples == 9600


def test_new_speech_follows_right_behind_the_fade() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    queue.push(numbered(0, 500))
    queue.pull()
    queue.clear()
    queue.push(numbered(5000, 500))
    frame = queue.pull()
    assert frame is not None
    assert frame[80:] == numbered(5000, 120)


def test_interrupting_twice_does_not_cut_the_fade() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    queue.push(numbered(1000, 500))
    queue.pull()
    queue.clear()
    queue.push(numbered(5000, 100))
    assert queue.clear() == 100
    frame = queue.pull()
    assert frame is not None
    assert frame[:2] == numbered(1160, 1)
    assert queue.pull() is None


def test_interrupting_before_the_first_frame_or_in_a_pause_makes_no_sound() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    for _ in range(2):
        queue.push(numbered(0, 100))
        assert queue.clear() == 100
        assert queue.pull() is None
        queue.push(numbered(0, 100))
        assert queue.pull() is not None


def test_overflow_drops_the_oldest_even_of_a_single_push() -> None:
    queue = PlayoutQueue(sample_rate=RATE, capacity_seconds=0.02)
    queue.push(numbered(0, 1000))
    assert queue.dropped_samples == 840
    assert queue.pull() == numbered(840, 160)


def test_a_minute_fits() -> None:
    queue = PlayoutQueue(sample_rate=48000)
    assert queue.has_room(60 * 48000)
    assert not queue.has_room(60 * 48000 + 1)


def test_half_a_sample_is_our_callers_fault() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    with pytest.raises(UsageError):
        queue.push(b"\0\0\0")
    assert queue.queued_samples == 0
