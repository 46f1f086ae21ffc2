"""When each call's frames leave and its timers fire: one schedule of 5 ms slots for all calls.

A member that has joined has a frame in every so many slots, always the same ones: the schedule is absolute,
and a late turn moves nothing. Members are spread so that all slots have about as much to do. A frame whose
slot went by with another of its member's behind it is not made up for; it counts as missed.

A member may also want to be woken at some time, once: the slot after that time does it.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from heapq import heappop, heappush
from math import ceil, floor
from typing import Final, Generic, NamedTuple, TypeVar

from voicegate.errors import UsageError

__all__ = ["SLOT_SECONDS", "Frames", "SlotClock"]

SLOT_SECONDS: Final = 0.005
"""Length of a slot. Shorter ones would make smaller batches; longer ones would send more at once."""

_SLOTS: Final = 24
"""The schedule repeats after 120 ms, into which frames of 10, 20, 40 and 60 ms all go."""

_ROUNDING_SLOTS: Final = 1e-4
"""A time this little before a slot means that slot: half a microsecond, what sums of floats may lose."""

_NEVER: Final = 1 << 62

MemberT = TypeVar("MemberT", bound=Hashable)


class Frames(NamedTuple, Generic[MemberT]):
    """Members whose frames are due together."""

    deadline: float
    """When their slot began."""
    missed: int
    """Frames of each that were due before this one, and are not to be sent any more."""
    members: Sequence[MemberT]


class _Place(NamedTuple):
    """Where a member is in the schedule."""

    phase: int
    period: int
    """In slots."""
    first: int
    """The first slot that is its own."""


class SlotClock(Generic[MemberT]):
    """The schedule; ``now`` is in seconds, and slots begin at whole multiples of `SLOT_SECONDS`.

    Drain rule: after `handle_timeout`, `poll_frames` and `poll_wake`, each to None, then `poll_timeout`.
    """

    def __init__(self) -> None:
        self._next = 0
        """The first slot that has not been handled."""
        self._places: dict[MemberT, _Place] = {}
        self._wheel: list[dict[MemberT, None]] = [{} for _ in range(_SLOTS)]
        """For each slot its members."""
        self._fresh: dict[MemberT, int] = {}
        """The first slot of those that have joined and not begun."""
        self._wanted: dict[MemberT, int] = {}
        self._wakes: dict[int, dict[MemberT, None]] = {}
        self._wake_slots: list[int] = []
        """A heap of the slots in which somebody wanted to be woken, each once."""
        self._due_frames: deque[Frames[MemberT]] = deque()
        self._due_wakes: deque[MemberT] = deque()

    # Input

    def join(self, member: MemberT, *, frame_seconds: float, now: float) -> None:
        """Give a member its slots, the least used. Its first comes half a frame from now, or up to one later.

        Errors: UsageError for frames that don't divide 120 ms into whole slots, or who has joined before.
        """
        period = round(frame_seconds / SLOT_SECONDS)
        if not period or _SLOTS % period or abs(period * SLOT_SECONDS - frame_seconds) > 1e-9:
            raise UsageError(f"frames of {frame_seconds} s don't fit slots of {SLOT_SECONDS} s")
        if member in self._places:
            raise UsageError("this member has its slots already")
        if not self._places:
            self._next = max(self._next, _slot_at(now) + 1)
        earliest = max(self._next, _slot_at(now) + max(1, period // 2))
        first = min(range(earliest, earliest + period), key=lambda slot: self._load(slot, period))
        self._places[member] = _Place(first % period, period, first)
        self._fresh[member] = first
        for slot in range(first % period, _SLOTS, period):
            self._wheel[slot][member] = None

    def leave(self, member: MemberT) -> None:
        """Take back a member's slots, if it has any."""
        place = self._places.pop(member, None)
        if place is not None:
            for slot in range(place.phase, _SLOTS, place.period):
                del self._wheel[slot][member]
            self._fresh.pop(member, None)

    def wake_at(self, member: MemberT, when: float | None) -> None:
        """Wake a member once, in the first slot that begins at ``when`` or later; None: never mind."""
        slot = None if when is None else max(self._next, ceil(when / SLOT_SECONDS - _ROUNDING_SLOTS))
        before = self._wanted.get(member)
        if slot == before:
            return
        if before is not None:
            del self._wanted[member], self._wakes[before][member]
        if slot is not None:
            self._wanted[member] = slot
            if slot not in self._wakes:
                self._wakes[slot] = {}
                heappush(self._wake_slots, slot)
            self._wakes[slot][member] = None

    def handle_timeout(self, *, now: float) -> None:
        """Take up all slots that have begun."""
        current = _slot_at(now)
        if current < self._next:
            return
        while self._wake_slots and self._wake_slots[0] <= current:
            members = self._wakes.pop(heappop(self._wake_slots))
            self._due_wakes.extend(members)
            for member in members:
                del self._wanted[member]
        if current == self._next:
            self._take_slot(current)
        else:
            self._catch_up(current)
        self._next = current + 1

    # Output

    def poll_frames(self) -> Frames[MemberT] | None:
        """Return who is to send a frame now, the one due longest first."""
        return self._due_frames.popleft() if self._due_frames else None

    def poll_wake(self) -> MemberT | None:
        """Return who is next to be woken."""
        return self._due_wakes.popleft() if self._due_wakes else None

    def poll_timeout(self) -> float | None:
        """Return when the next slot begins in which there is anything to do."""
        while self._wake_slots and not self._wakes[self._wake_slots[0]]:
            del self._wakes[heappop(self._wake_slots)]
        frames = (slot for slot in range(self._next, self._next + _SLOTS) if self._wheel[slot % _SLOTS])
        slot = min(next(frames, _NEVER), self._wake_slots[0] if self._wake_slots else _NEVER)
        return slot * SLOT_SECONDS if slot < _NEVER else None

    @property
    def footprint(self) -> tuple[int, int]:
        """How many members have slots, and how many want to be woken."""
        return len(self._places), len(self._wanted)

    # Internals

    def _load(self, slot: int, period: int) -> int:
        """Return the most that any slot of a member has to do already, if its first is this one."""
        return max(len(self._wheel[other % _SLOTS]) for other in range(slot, slot + _SLOTS, period))

    def _take_slot(self, slot: int) -> None:
        due = list(self._wheel[slot % _SLOTS])
        if self._fresh:
            due = [member for member in due if self._fresh.get(member, slot) <= slot]
            for member in due:
                self._fresh.pop(member, None)
        if due:
            self._due_frames.append(Frames(slot * SLOT_SECONDS, 0, due))

    def _catch_up(self, current: int) -> None:
        """After a stall: each member's last slot that has begun is due, and those before it are missed."""
        due: dict[tuple[int, int], list[MemberT]] = {}
        for member, (phase, period, first) in self._places.items():
            last = current - (current - phase) % period
            begin = max(self._next, first)
            missed = (last - begin) // period
            if last >= begin:
                due.setdefault((last, missed), []).append(member)
        for last, missed in sorted(due):
            self._due_frames.append(Frames(last * SLOT_SECONDS, missed, due[last, missed]))


def _slot_at(now: float) -> int:
    """Return the slot that has begun last."""
    return floor(now / SLOT_SECONDS + _ROUNDING_SLOTS)
