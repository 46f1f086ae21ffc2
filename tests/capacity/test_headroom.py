import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.capacity import Loss, surviving_shares
from voicegate.errors import UsageError

shares = st.lists(st.integers(1, 1000), min_size=2, max_size=8).map(
    lambda parts: {f"r{n}": part / sum(parts) for n, part in enumerate(parts)}
)


@given(shares)
def test_whichever_region_goes_the_others_have_room_for_all_and_nothing_is_to_spare(
    wanted: dict[str, float],
) -> None:
    spare = surviving_shares(wanted, Loss.REGION)
    total = sum(spare.values())
    assert all(spare[name] >= wanted[name] - 1e-9 for name in wanted)
    assert total - max(spare.values()) == pytest.approx(1)
    # Nobody does with less: the region that most is in goes, or one of equals.
    assert total == pytest.approx(1 + max(*wanted.values(), 1 / (len(wanted) - 1)))


def test_the_worked_example() -> None:
    spare = surviving_shares({"eu": 0.5, "us": 0.3, "ap": 0.2}, Loss.REGION)
    assert spare == pytest.approx({"eu": 0.5, "us": 0.5, "ap": 0.5})
    assert surviving_shares({"a": 0.5, "b": 0.5}, Loss.REGION) == {"a": 1, "b": 1}


def test_a_zone_less_is_a_part_less_in_each_region() -> None:
    wanted = {"eu": 0.6, "us": 0.4}
    assert surviving_shares(wanted, Loss.ZONE, zones=3) == pytest.approx({"eu": 0.9, "us": 0.6})
    assert surviving_shares(wanted, Loss.NOTHING) == wanted


@pytest.mark.parametrize(
    ("wanted", "loss", "zones", "fault"),
    [
        ({}, Loss.NOTHING, 3, "come to 1"),
        ({"eu": 0.9}, Loss.NOTHING, 3, "come to 1"),
        ({"eu": 1.5, "us": -0.5}, Loss.NOTHING, 3, "come to 1"),
        ({"eu": float("nan")}, Loss.NOTHING, 3, "come to 1"),
        ({"eu": 1.0}, Loss.REGION, 3, "single region"),
        ({"eu": 1.0}, Loss.ZONE, 1, "one zone"),
    ],
)
def test_what_leaves_nothing_is_refused(wanted: dict[str, float], loss: Loss, zones: int, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        surviving_shares(wanted, loss, zones=zones)
