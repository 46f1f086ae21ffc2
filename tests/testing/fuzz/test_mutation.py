from random import Random

from hypothesis import given
from hypothesis import strategies as st

from voicegate.testing.fuzz.mutation import mutate_bytes, mutate_script
from voicegate.testing.script import DELAYS, MAX_STEPS, join_script, split_script, write_script

randoms = st.integers(0, 10_000).map(Random)
scripts = st.lists(st.tuples(st.integers(0, 15), st.sampled_from(DELAYS), st.binary(max_size=40)), max_size=8)


@given(st.binary(), st.integers(1, 300), randoms)
def test_changed_bytes_are_not_too_long(data: bytes, max_length: int, random: Random) -> None:
    assert len(mutate_bytes(data, max_length, random)) <= max_length


def test_there_is_no_input_that_does_not_change() -> None:
    for data in (b"", b"a", bytes(100)):
        changed = {mutate_bytes(data, 1000, Random(seed)) for seed in range(100)}
        assert len(changed) > 5


@given(st.binary() | scripts.map(write_script), st.integers(1, 500), randoms)
def test_a_changed_script_is_not_too_long(script: bytes, max_length: int, random: Random) -> None:
    changed = mutate_script(
        script, max_length, random, lambda data, length: mutate_bytes(data, length, random)
    )
    assert len(changed) <= max_length
    assert len(split_script(changed)) <= MAX_STEPS


def test_steps_after_a_change_stay_as_they_were() -> None:
    steps = [(number, bytes((number,)) * number) for number in range(16)]
    kept = 0
    for seed in range(200):
        changed = split_script(
            mutate_script(join_script(steps), 4096, Random(seed), lambda data, _length: b"changed")
        )
        kept += changed[:4] == steps[:4] or changed[-4:] == steps[-4:]
    # All but those where the framing itself was changed.
    assert kept > 150


def test_steps_come_and_go_and_move_in_time() -> None:
    steps = [(0x10, b"a"), (0x21, b"b")]
    changed = [
        split_script(mutate_script(join_script(steps), 4096, Random(seed), lambda _data, _length: b"changed"))
        for seed in range(200)
    ]
    assert {len(after) for after in changed} >= {1, 2, 3}
    assert any(len(after) == 2 and after[0] not in steps and after[0][1] == b"a" for after in changed)
    assert any(after[0] == (0x10, b"changed") for after in changed)


def test_a_full_script_gets_no_more_steps() -> None:
    full = join_script([(0, b"a")] * MAX_STEPS)
    for seed in range(100):
        changed = mutate_script(full, 4096, Random(seed), lambda data, _length: data)
        assert len(changed) <= len(full)
