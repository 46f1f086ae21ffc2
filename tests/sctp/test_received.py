import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.sctp.received import ReceivedTsns


def blocks(numbers: set[int], cumulative: int) -> tuple[tuple[int, int], ...]:
    """Return the blocks behind the cumulative point, as a SACK has them."""
    found: list[list[int]] = []
    for number in sorted(number - cumulative for number in numbers if number > cumulative):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return tuple((first, last) for first, last in found)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=60))
def test_what_has_arrived_is_known_whatever_its_order(steps: list[tuple[int, bool]]) -> None:
    received, model, cumulative = ReceivedTsns(0), {0}, 0
    for number, is_skipped in steps:
        if is_skipped and number > cumulative and number % 5 == 0:
            received.forward(number)
            model |= set(range(number + 1))
        elif number not in model:
            assert not received.has(number)
            received.add(number)
            model.add(number)
        while cumulative + 1 in model:
            cumulative += 1
        assert received.cumulative_tsn == cumulative
        assert received.gaps(100) == blocks(model, cumulative)
        assert received.has_holes == bool(blocks(model, cumulative))
        assert all(received.has(known) == (known in model) for known in range(42))


def test_only_so_many_blocks_and_duplicates_are_told() -> None:
    received = ReceivedTsns(0)
    for number in range(2, 40, 2):
        received.add(number)
        received.note_duplicate(number)
    assert received.gaps(3) == ((2, 2), (4, 4), (6, 6))
    assert received.take_duplicates() == tuple(range(2, 18, 2))
    assert received.take_duplicates() == ()
