"""How far a reader is."""

from typing import Any

import pytest

from voicegate.directory.poll import Answer, Position
from voicegate.errors import WireError


def answer(
    *, epoch: bytes = b"e", version: int = 5, pruned: int = 0, changes: tuple[int, ...] = ()
) -> Answer:
    listed = [part for each in changes for part in (b"t:%08x" % each, str(each).encode())]
    raw = [b"1000", b"500000", epoch, str(version).encode(), str(pruned).encode(), listed]
    return Answer.decode(raw)


def take(position: Position, taken: Answer, *, now: float = 0.0) -> bool:
    """Take an answer; return whether all was read for it."""
    must_read_all = position.must_read_all(taken, now=now)
    position.handle_answer(taken, now=now, reread=300.0, limit=3)
    return must_read_all


def test_answers_are_read() -> None:
    read = answer(changes=(3, 4))
    assert (read.time, read.changed, read.reached) == (1000.5, (b"t:00000003", b"t:00000004"), 4)
    assert answer().reached == 0


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        [b"x", b"0", b"e", b"0", b"0", []],
        [b"1", b"0", b"e", b"0", b"0", [b"t:1"]],
        [b"1", b"0", b"e", b"0", b"0", [b"t:1", b"inf"]],
        [b"1", b"0", None, b"0", b"0", []],
    ],
)
def test_what_is_no_answer_is_refused(raw: Any) -> None:
    with pytest.raises(WireError):
        Answer.decode(raw)


def test_all_is_read_once_and_then_what_changes() -> None:
    position = Position()
    assert take(position, answer(version=5))
    assert not take(position, answer(version=9, changes=(6, 9)))
    assert position.version == 9


def test_many_changes_are_read_in_parts() -> None:
    position = Position()
    take(position, answer(version=5))
    assert answer(version=99, changes=(6, 7, 8)).is_partial(limit=3)
    take(position, answer(version=99, changes=(6, 7, 8)))
    assert position.version == 8


@pytest.mark.parametrize(
    ("changed", "is_emptied"),
    [
        (answer(epoch=b"other", version=5), True),
        (answer(version=4), False),  # a replica that had not heard of the last ones
        (answer(version=99, pruned=6), False),
        (answer(epoch=b"other", version=0), True),
    ],
)
def test_all_is_read_when_changes_are_not_enough(changed: Answer, is_emptied: bool) -> None:
    position = Position()
    assert not position.is_of_another_epoch(changed)
    take(position, answer(version=5))
    assert position.is_of_another_epoch(changed) == is_emptied
    assert take(position, changed)
    assert position.version == changed.version
    assert not take(position, changed)


def test_all_is_read_from_time_to_time_and_sooner_if_asked() -> None:
    position = Position()
    take(position, answer(), now=0.0)
    assert not take(position, answer(), now=299.0)
    assert take(position, answer(), now=300.0)
    position.expect_reread(now=310.0, after=20.0)
    assert not take(position, answer(), now=329.0)
    assert take(position, answer(), now=330.0)
