from itertools import count

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.audio.signals import to_samples, tone
from voicegate.audio import PlayoutQueue
from voicegate.audio.playout import CAPACITY_PIECES, RESPONSES_KEPT, PlayedMark
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
    while isinstance(frame := queue.pull(), bytes):
        pulled.append(frame)
    assert {len(frame) for frame in pulled} <= {FRAME}
    assert len(pulled) == -(-len(pushed) // FRAME)
    assert b"".join(pulled) == pushed.ljust(len(pulled) * FRAME, b"\0")
    assert queue.played_samples == sum(lengths)


@attrs.define(eq=False)
class Piece:
    """What the model has queued: samples by their numbers, one packet, or one mark."""

    response: str
    numbers: list[int]
    packet: int | None = None
    mark: str | None = None

    @property
    def length(self) -> int:
        return len(self.numbers) if self.packet is None else self.packet


RESPONSES = st.sampled_from("abc")


class PlayoutMachine(RuleBasedStateMachine):
    """Any sequence of commands against the plainest model: one list of pieces.

    The law: whatever is pushed is played once and in order, or dropped by overflow, cleared, or discarded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.queue = PlayoutQueue(sample_rate=SMALL_RATE, capacity_seconds=0.1)
        self.capacity = 40
        self.numbers = count(1)
        self.pieces: list[Piece] = []
        self.cancelled: set[str] = set()
        self.newest = ""
        self.pushed = self.played = self.dropped = self.cleared = self.discarded = 0
        self.marks: list[str] = []
        self.fade = 0
        self.is_sounding = self.is_paused = False

    @rule(response=RESPONSES, length=st.integers(0, 50))
    def push(self, response: str, length: int) -> None:
        numbers = [next(self.numbers) % 32000 + 1 for _ in range(length)]
        self.queue.push(np.array(numbers, "<i2").tobytes(), response_id=response)
        self._note_pushed(Piece(response, numbers))

    @rule(response=RESPONSES, length=st.integers(1, 30))
    def push_packet(self, response: str, length: int) -> None:
        number = next(self.numbers)
        self.queue.push_packet(number.to_bytes(4, "big"), length, response_id=response)
        self._note_pushed(Piece(response, [number], packet=length))

    def _note_pushed(self, piece: Piece) -> None:
        self.pushed += piece.length
        if piece.response in self.cancelled:
            self.discarded += piece.length
        elif piece.length:
            hopeless = max(0, len(piece.numbers) - self.capacity)
            del piece.numbers[:hopeless]
            self.dropped += hopeless
            self.newest = piece.response
            self.pieces.append(piece)
        overflow = sum(piece.length for piece in self.pieces) - self.capacity
        while overflow > 0:
            head = self.pieces[0]
            if head.packet is None and head.mark is None and head.length > overflow:
                del head.numbers[:overflow]
                self.dropped += overflow
                return
            self.pieces.pop(0)
            self.dropped += head.length
            overflow -= head.length
            self.marks += [head.mark] if head.mark is not None else []

    @rule()
    def mark(self) -> None:
        name = str(next(self.numbers))
        self.queue.mark(name)
        self.pieces.append(Piece(self.newest, [], mark=name))

    @rule()
    def pull(self) -> None:
        got = self.queue.pull()
        if self.is_paused:
            self._begin_fade()
            assert (got is not None) == (self.fade > 0)
            self.fade = 0
            return
        self._reach_marks()
        head = self.pieces[0] if self.pieces else None
        if head is not None and head.packet is not None and not self.fade:
            assert got == (head.numbers[0].to_bytes(4, "big"), head.packet)
            self.played += head.packet
            self.pieces.pop(0)
            self._reach_marks()
            self.is_sounding = False
            return
        room = 8 - self.fade
        expected: list[int] = []
        while self.pieces and self.pieces[0].packet is None and len(expected) < room:
            head = self.pieces[0]
            taken = head.numbers[: room - len(expected)]
            del head.numbers[: len(taken)]
            expected += taken
            if not head.numbers:
                self.pieces.pop(0)
            self._reach_marks()
        self.is_sounding = len(expected) == room
        if not expected and not self.fade:
            assert got is None
            return
        assert isinstance(got, bytes)
        assert to_samples(got)[self.fade :].tolist() == expected + [0] * (room - len(expected))
        self.played += len(expected)
        self.fade = 0

    def _reach_marks(self) -> None:
        while self.pieces and self.pieces[0].mark is not None:
            self.marks.append(self.pieces.pop(0).mark or "")

    def _begin_fade(self) -> None:
        if self.is_sounding and not self.fade and self.pieces and self.pieces[0].packet is None:
            # Samples pushed for one response lie in one piece, as the queue joins them.
            self.fade = min(2, self._joined_length())
        self.is_sounding = False

    def _joined_length(self) -> int:
        length = 0
        for piece in self.pieces:
            if (
                piece.packet is not None
                or piece.mark is not None
                or piece.response != self.pieces[0].response
            ):
                break
            length += piece.length
        return length

    @rule()
    def clear(self) -> None:
        self._begin_fade()
        cleared = sum(piece.length for piece in self.pieces)
        assert self.queue.clear() == cleared
        self.cleared += cleared
        self.cancelled |= {piece.response for piece in self.pieces} | {self.newest}
        self.pieces = []
        self.is_paused = False

    @rule(response=RESPONSES)
    def cancel(self, response: str) -> None:
        if self.pieces and self.pieces[0].response == response:
            self._begin_fade()
        cancelled = sum(piece.length for piece in self.pieces if piece.response == response)
        assert self.queue.cancel(response) == cancelled
        self.cleared += cancelled
        self.cancelled.add(response)
        self.pieces = [piece for piece in self.pieces if piece.response != response]

    @rule()
    def pause(self) -> None:
        self.queue.pause()
        self.is_paused = True

    @rule()
    def resume(self) -> None:
        self.queue.resume()
        self.is_paused = False

    @rule()
    def begin_new_responses(self) -> None:
        """Forget which were cancelled, so that a long run goes on with something."""
        if not self.pieces:
            self.queue = PlayoutQueue(sample_rate=SMALL_RATE, capacity_seconds=0.1)
            self.__dict__.update(pushed=0, played=0, dropped=0, cleared=0, discarded=0, fade=0, newest="")
            self.__dict__.update(cancelled=set(), marks=[], is_sounding=False, is_paused=False)

    @invariant()
    def every_sample_is_accounted_for(self) -> None:
        waiting = sum(piece.length for piece in self.pieces)
        assert self.queue.queued_samples == waiting <= self.capacity
        assert self.queue.played_samples == self.played
        assert self.queue.dropped_samples == self.dropped
        assert self.queue.discarded_samples == self.discarded
        assert self.pushed == self.played + self.dropped + self.cleared + self.discarded + waiting
        assert self.queue.has_room(self.capacity - waiting)
        assert not self.queue.has_room(self.capacity - waiting + 1)

    @invariant()
    def it_is_idle_with_nothing_to_play_and_nothing_to_wait_for(self) -> None:
        assert self.queue.is_idle == (not self.pieces and not self.fade and not self.is_paused)

    @invariant()
    def marks_come_when_all_before_them_has_gone(self) -> None:
        while (mark := self.queue.poll_mark()) is not None:
            assert self.marks.pop(0) == mark.name
        assert self.marks == []


PlayoutMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
test_any_sequence_of_commands_agrees_with_a_list = pytest.mark.slow(PlayoutMachine.TestCase)


def test_an_interruption_is_silent_within_5_ms_and_without_a_click() -> None:
    queue = PlayoutQueue(sample_rate=48000)
    queue.push(tone(1.0))
    heard = [queue.pull() for _ in range(10)]
    assert queue.clear() == 48000 - 10 * 960
    assert queue.queued_samples == 0
    heard.append(queue.pull())
    samples = to_samples(b"".join(frame for frame in heard if isinstance(frame, bytes)))
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
    assert isinstance(frame, bytes)
    assert frame[80:] == numbered(5000, 120)


def test_interrupting_twice_does_not_cut_the_fade() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    queue.push(numbered(1000, 500))
    queue.pull()
    queue.clear()
    queue.push(numbered(5000, 100))
    assert queue.clear() == 100
    frame = queue.pull()
    assert isinstance(frame, bytes)
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


# Responses


def pulled(queue: PlayoutQueue) -> bytes:
    """Play everything, as one piece of sound."""
    sound = b""
    while isinstance(frame := queue.pull(), bytes):
        sound += frame
    return sound


def test_a_cancelled_response_is_heard_no_more_and_others_go_on() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    queue.push(numbered(0, 400), response_id="a")
    queue.push(numbered(1000, 160), response_id="b")
    queue.push(numbered(2000, 160), response_id="a")
    assert queue.pull() == numbered(0, 160)
    assert queue.cancel("a") == 400
    queue.push(numbered(3000, 160), response_id="a")
    assert queue.discarded_samples == 160
    assert pulled(queue)[80 : 80 + FRAME] == numbered(1000, 160), "after 5 ms in which the other dies away"


def test_a_response_may_be_cancelled_before_it_begins() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    assert queue.cancel("late") == 0
    queue.push(numbered(0, 160), response_id="late")
    queue.push_packet(b"x", 160, response_id="late")
    assert (queue.pull(), queue.discarded_samples) == (None, 320)


def test_of_a_refused_response_only_what_is_queued_is_heard() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    queue.push(numbered(0, 160), response_id="a")
    queue.refuse("a")
    queue.push(numbered(160, 160), response_id="a")
    assert queue.pull() == numbered(0, 160)
    assert queue.pull() is None
    assert queue.discarded_samples == 160


def test_an_interruption_cancels_the_responses_that_it_meets_and_the_latest() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    for response in ("heard", "met", "latest"):
        queue.push(numbered(0, 160), response_id=response)
        if response == "heard":
            queue.pull()
    assert queue.clear() == 320
    for response in ("heard", "met", "latest", "next"):
        queue.push(numbered(0, 160), response_id=response)
    assert queue.discarded_samples == 320
    while queue.pull():
        pass
    queue.clear()
    queue.push(numbered(0, 160), response_id="next")
    assert queue.discarded_samples == 480, "what was played to its end may not be over"


def test_how_much_of_a_response_was_played_is_counted_across_gaps() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    queue.push(numbered(0, 200), response_id="a")
    pulled(queue)
    queue.push(numbered(0, 200), response_id="a")
    queue.pull()
    assert (queue.speech.response_id, queue.speech.played_samples) == ("a", 360)
    pulled(queue)
    queue.push(numbered(0, 200))
    assert (queue.speech.response_id, queue.speech.played_samples) == (None, 0)


def test_without_names_a_speech_lasts_until_the_queue_is_empty() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    queue.push(numbered(0, 200))
    queue.pull()
    queue.push(numbered(0, 200))
    pulled(queue)
    assert queue.latest.played_samples == 400
    queue.push(numbered(0, 200))
    pulled(queue)
    assert queue.latest.played_samples == 200


def test_only_so_many_responses_are_remembered() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    for number in range(10 * RESPONSES_KEPT):
        queue.cancel(str(number))
    assert len(queue._speeches) == RESPONSES_KEPT


# Packets


def test_packets_and_samples_come_out_in_their_order() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    queue.push(numbered(0, 200))
    queue.push_packet(b"a", 480)
    queue.push_packet(b"b", 80)
    queue.push(numbered(500, 160))
    played = [(queue.next_ticks, queue.pull()) for _ in range(5)]
    assert played == [
        (None, numbered(0, 160)),
        (None, numbered(160, 40).ljust(FRAME, b"\0")),
        (480, (b"a", 480)),
        (80, (b"b", 80)),
        (None, numbered(500, 160)),
    ]
    assert queue.is_idle
    assert queue.played_samples == 200 + 480 + 80 + 160


def test_packets_are_measured_in_ticks_and_counted_in_samples() -> None:
    queue = PlayoutQueue(sample_rate=16000, clock_rate=8000)
    queue.push_packet(b"x", 160)
    assert queue.queued_samples == 320


@pytest.mark.parametrize("ticks", [-1, 0, 8001])
def test_a_packet_that_takes_no_time_or_too_much_is_our_callers_fault(ticks: int) -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    with pytest.raises(UsageError, match="ticks"):
        queue.push_packet(b"x", ticks)


def test_a_million_little_pieces_cost_no_memory() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    for number in range(3 * CAPACITY_PIECES):
        queue.push(numbered(number, 1), response_id="ab"[number % 2])
        queue.mark(str(number))
    assert len(queue._pieces) <= CAPACITY_PIECES
    assert queue.queued_samples + queue.dropped_samples == 3 * CAPACITY_PIECES


def test_a_packet_after_an_interruption_waits_for_the_fade() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    queue.push(tone(1.0, sample_rate=RATE))
    queue.pull()
    queue.clear()
    queue.push_packet(b"x", 160)
    fade = queue.pull()
    assert isinstance(fade, bytes)
    assert not any(fade[80:])
    assert queue.pull() == (b"x", 160)


# Pauses


def test_a_paused_speech_goes_on_at_the_exact_sample() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    queue.push(numbered(1000, 800))
    assert queue.pull() == numbered(1000, 160)
    queue.pause()
    fade = queue.pull()
    assert isinstance(fade, bytes)
    assert fade[:2] == numbered(1160, 1)
    assert not any(fade[80:])
    assert [queue.pull() for _ in range(3)] == [None] * 3
    assert not queue.is_idle
    queue.push(numbered(5000, 160))
    queue.resume()
    assert pulled(queue) == numbered(1160, 640) + numbered(5000, 160)
    assert queue.played_samples == 960, "what was heard as the fade counts once"


def test_a_pause_that_is_over_before_the_next_frame_is_not_heard() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    queue.push(numbered(0, 320))
    queue.pull()
    queue.pause()
    queue.resume()
    assert queue.pull() == numbered(160, 160)


def test_an_interruption_ends_a_pause() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    queue.push(numbered(0, 320))
    queue.pause()
    assert queue.clear() == 320
    queue.push(numbered(500, 160))
    assert queue.pull() == numbered(500, 160)


# Marks


def test_marks_are_reached_with_the_frame_that_plays_what_is_before_them() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    queue.mark("before")
    queue.push(numbered(0, 200), response_id="a")
    queue.mark("middle")
    queue.push(numbered(0, 120), response_id="a")
    queue.mark("end")
    reached: list[list[PlayedMark]] = []
    for _ in range(3):
        queue.pull()
        reached.append([])
        while (mark := queue.poll_mark()) is not None:
            reached[-1].append(mark)
    assert reached == [[("before", 0)], [("middle", 200), ("end", 320)], []]


def test_a_mark_that_is_interrupted_is_never_reached() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    queue.push(numbered(0, 200))
    queue.mark("end")
    queue.clear()
    queue.pull()
    assert queue.poll_mark() is None


def test_a_mark_waits_while_its_speech_is_paused() -> None:
    queue = PlayoutQueue(sample_rate=RATE)
    queue.mark("now")
    queue.pause()
    reached = []
    for _ in range(2):
        queue.pull()
        reached.append(queue.poll_mark())
        queue.resume()
    assert reached == [None, ("now", 0)]
