"""How the world is judged: what a late machine excuses, and that nothing else is."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
import trio

from tests.watch import Watch
from tests.world.stage import ATTEMPTS, Attempt, Stage
from voicegate.testing.world import World


class MadeUpWatch(Watch):
    late_by = 0.0

    @property
    def lateness(self) -> float:
        return self.late_by

    @property
    def was_late(self) -> bool:
        return self.late_by > 0


async def judge(seconds: Sequence[float], *, late_by: float, others: float = 0.1) -> int:
    """Let attempts take so long, of which 1 s is promised; return how many there were."""
    watch = MadeUpWatch()
    watch.late_by = late_by
    left = list(seconds)

    async def act() -> Attempt:
        await trio.lowlevel.checkpoint()
        return Attempt(seconds=[left.pop(0)], bound=1.0, others=[others], figures={})

    await Stage(cast("World", None), watch, Path()).in_time(act)
    return len(seconds) - len(left)


async def test_what_is_in_time_is_done_once() -> None:
    assert await judge([0.9, 9.0], late_by=0.0) == 1
    assert await judge([0.9, 9.0], late_by=0.5) == 1


async def test_what_is_late_on_a_machine_that_is_not_fails_at_once() -> None:
    with pytest.raises(AssertionError):
        await judge([1.1, 0.9], late_by=0.0, others=9.0)


async def test_what_is_late_with_the_machine_is_done_again() -> None:
    assert await judge([1.1, 1.2, 0.9], late_by=0.3) == 3


async def test_a_machine_that_is_always_late_allows_for_that_and_no_more() -> None:
    assert await judge([1.2] * ATTEMPTS, late_by=0.3) == ATTEMPTS
    assert await judge([1.7] * ATTEMPTS, late_by=0.3, others=1.0) == ATTEMPTS
    with pytest.raises(AssertionError):
        await judge([1.4] * ATTEMPTS, late_by=0.3)
