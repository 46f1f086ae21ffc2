from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import UsageError
from voicegate.transceiver.clock import SLOT_SECONDS, Frames, SlotClock

PERIODS = st.sampled_from([0.01, 0.02, 0.04, 0.06])


def take(clock: SlotClock[str], now: float) -> list[Frames[str]]:
    clock.handle_timeout(now=now)
    return list(iter(clock.poll_frames, None))


def run(clock: SlotClock[str], until: float) -> list[tuple[float, str]]:
    """Let time pass from slot to slot; return when each member had a frame."""
    frames: list[tuple[float, str]] = []
    while (due := clock.poll_timeout()) is not None and due <= until:
        for deadline, missed, members in take(clock, due):
            assert deadline == due
            assert not missed
            frames += [(deadline, member) for member in members]
    return frames


@pytest.mark.parametrize("seconds", [0.01, 0.02, 0.04, 0.06])
def test_frames_are_as_far_apart_as_they_are_long_for_ever(seconds: float) -> None:
    clock = SlotClock[str]()
    clock.join("a", frame_seconds=seconds, now=1000.0012)
    times = [at for at, _ in run(clock, 1010.0)]
    assert 1000.0012 + seconds / 2 - SLOT_SECONDS <= times[0] <= 1000.0012 + 1.5 * seconds
    assert times == pytest.approx([times[0] + index * seconds for index in range(len(times))], abs=1e-9)
    assert len(times) >= 9.9 / seconds
    assert all(abs(at / SLOT_SECONDS - round(at / SLOT_SECONDS)) < 1e-6 for at in times)


@pytest.mark.parametrize("seconds", [0.0, 0.003, 0.0125, 0.03 + 1e-6, 0.07, 0.24])
def test_frames_that_fit_no_slots_are_refused(seconds: float) -> None:
    with pytest.raises(UsageError, match="don't fit"):
        SlotClock[str]().join("a", frame_seconds=seconds, now=0.0)


def test_nobody_joins_twice() -> None:
    clock = SlotClock[str]()
    clock.join("a", frame_seconds=0.02, now=0.0)
    with pytest.raises(UsageError, match="already"):
        clock.join("a", frame_seconds=0.02, now=0.0)


def test_calls_that_begin_at_once_are_spread_over_the_slots() -> None:
    clock = SlotClock[str]()
    for index in range(600):
        clock.join(str(index), frame_seconds=0.02, now=0.0)
    loads = [
        sum(map(len, (frames.members for frames in take(clock, 1.0 + slot * SLOT_SECONDS))))
        for slot in range(1, 5)
    ]
    take(clock, 1.0)
    assert [len(members) for members in clock._wheel] == [150] * 24
    assert loads[0] == 600  # a second's stall: each has one frame
    assert loads[1:] == [150] * 3


@given(joins=st.lists(st.tuples(PERIODS, st.floats(0, 0.2)), min_size=1, max_size=40))
def test_no_slot_has_much_more_to_do_than_another(joins: list[tuple[float, float]]) -> None:
    clock = SlotClock[str]()
    now = 0.0
    for index, (seconds, pause) in enumerate(joins):
        now += pause
        clock.handle_timeout(now=now)
        clock.join(str(index), frame_seconds=seconds, now=now)
    loads = [len(members) for members in clock._wheel]
    mean = sum(loads) / len(loads)
    # Short frames have few places to choose from; they weigh no more than one in each slot of theirs.
    assert max(loads) <= 2 * mean + 1


def test_the_slots_of_who_leaves_are_free_again() -> None:
    clock = SlotClock[str]()
    for index in range(8):
        clock.join(str(index), frame_seconds=0.02, now=0.0)
    gone = [str(index) for index in (1, 5)]
    for member in (*gone, "nobody"):
        clock.leave(member)
    clock.join("new", frame_seconds=0.02, now=0.0)
    assert sorted(len(members) for members in clock._wheel[:4]) == [1, 2, 2, 2]
    assert clock.footprint == (7, 0)
    assert not {member for _, member in run(clock, 1.0)} & set(gone)


@pytest.mark.parametrize(
    ("late", "missed"),
    [(0.0, 0), (0.004, 0), (0.0199, 0), (0.02, 1), (0.047, 2), (7.0, 350), (86400.0, 4320000)],
)
def test_a_late_turn_has_one_frame_of_each_and_moves_nothing(late: float, missed: int) -> None:
    clock = SlotClock[str]()
    clock.join("a", frame_seconds=0.02, now=100.0)
    before = run(clock, 100.1)
    due = clock.poll_timeout()
    assert due is not None
    [frames] = take(clock, due + late)
    assert (frames.missed, frames.members) == (missed, ["a"])
    assert frames.deadline == pytest.approx(due + missed * 0.02)
    after = clock.poll_timeout()
    assert after is not None
    assert after == pytest.approx(due + (missed + 1) * 0.02)
    phase = round(before[0][0] / SLOT_SECONDS) % 4
    assert round(after / SLOT_SECONDS) % 4 == phase


def test_after_a_stall_those_due_longest_come_first() -> None:
    clock = SlotClock[str]()
    for member in "abcd":
        clock.join(member, frame_seconds=0.02, now=0.0)
    clock.join("slow", frame_seconds=0.06, now=0.0)
    run(clock, 0.5)
    turns = take(clock, 0.5624)
    assert [frames.deadline for frames in turns] == sorted(frames.deadline for frames in turns)
    assert sorted(member for frames in turns for member in frames.members) == ["a", "b", "c", "d", "slow"]
    assert {member: frames.missed for frames in turns for member in frames.members}["slow"] <= 1
    assert all(0.5424 < frames.deadline <= 0.5624 for frames in turns if "slow" not in frames.members)


@given(
    stalls=st.lists(st.floats(0, 0.3), max_size=30),
    seconds=st.lists(PERIODS, min_size=1, max_size=5),
)
def test_frames_sent_and_missed_add_up_to_the_time_that_passed(
    stalls: list[float], seconds: list[float]
) -> None:
    clock = SlotClock[str]()
    for index, each in enumerate(seconds):
        clock.join(str(index), frame_seconds=each, now=50.0)
    firsts = {member: place.first * SLOT_SECONDS for member, place in clock._places.items()}
    counts = dict.fromkeys(firsts, 0)
    now = 50.0
    for stall in stalls:
        now += stall
        for deadline, missed, members in take(clock, now):
            for member in members:
                counts[member] += 1 + missed
                assert deadline <= now + 1e-6
                frame = seconds[int(member)]
                assert deadline == pytest.approx(firsts[member] + (counts[member] - 1) * frame)
                assert now - deadline < frame
    assert clock.poll_timeout() is not None


# Wakes


def woken(clock: SlotClock[str], now: float) -> list[str]:
    clock.handle_timeout(now=now)
    return list(iter(clock.poll_wake, None))


def test_a_member_is_woken_once_in_the_slot_behind_its_time() -> None:
    clock = SlotClock[str]()
    clock.wake_at("a", 10.0121)
    clock.wake_at("b", 10.02)
    assert clock.poll_timeout() == pytest.approx(10.015)
    assert woken(clock, 10.0149) == []
    assert woken(clock, 10.015) == ["a"]
    assert clock.poll_timeout() == pytest.approx(10.02)
    assert woken(clock, 10.02) == ["b"]
    assert woken(clock, 11.0) == []
    assert clock.poll_timeout() is None


def test_the_time_to_wake_can_move_either_way_and_be_taken_back() -> None:
    clock = SlotClock[str]()
    for when in (5.0, 1.0, 3.0, 3.0):
        clock.wake_at("a", when)
    assert woken(clock, 2.99) == []
    assert woken(clock, 3.0) == ["a"]
    clock.wake_at("a", 4.0)
    clock.wake_at("a", None)
    clock.wake_at("b", None)
    assert clock.poll_timeout() is None
    assert clock.footprint == (0, 0)


def test_a_time_that_is_over_means_the_next_slot() -> None:
    clock = SlotClock[str]()
    clock.handle_timeout(now=10.0)
    clock.wake_at("a", 3.0)
    assert clock.poll_timeout() == pytest.approx(10.005)
    assert woken(clock, 10.005) == ["a"]


@given(changes=st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.floats(0, 60)), max_size=60))
def test_everybody_is_woken_when_they_last_said(changes: list[tuple[str, float | None]]) -> None:
    clock = SlotClock[str]()
    wanted: dict[str, float | None] = {}
    for member, when in changes:
        clock.wake_at(member, when)
        wanted[member] = when
    at: dict[str, float] = {}
    while (due := clock.poll_timeout()) is not None:
        for member in woken(clock, due):
            assert member not in at
            at[member] = due
    assert at.keys() == {member for member, when in wanted.items() if when is not None}
    for member, due in at.items():
        when = wanted[member]
        assert when is not None
        assert due == pytest.approx(when, abs=SLOT_SECONDS)
        assert due >= when - 1e-6
    assert not clock._wakes
    assert min(clock._wake_slots, default=inf) == inf
