import random as chance
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from voicegate.steering import pick_relays


class Relay(NamedTuple):
    name: str
    region: str
    is_draining: bool = False


ORDER = ("a", "b", "c")
relays = st.lists(
    st.builds(
        Relay,
        name=st.text("xyz0123456789", min_size=1, max_size=4),
        region=st.sampled_from(["a", "b", "c", "", "unknown"]),
        is_draining=st.booleans(),
    ),
    unique_by=lambda relay: relay.name,
    max_size=12,
)
counts = st.integers(1, 6)
seeds = st.integers(0, 1000)


def bytes_of(seed: int) -> Callable[[int], bytes]:
    return chance.Random(seed).randbytes


def regions_of(picked: tuple[Relay, ...]) -> list[str]:
    return [relay.region for relay in picked]


def of(**numbers: int) -> list[Relay]:
    return [Relay(f"{region}{n}", region) for region, number in numbers.items() for n in range(number)]


def test_the_nearest_region_has_two_of_three_and_the_next_has_one() -> None:
    assert regions_of(pick_relays(ORDER, of(c=5, b=5, a=5), count=3, random=bytes_of(1))) == ["a", "a", "b"]
    assert regions_of(pick_relays(ORDER, of(a=9, b=9), count=1, random=bytes_of(1))) == ["a"]
    assert regions_of(pick_relays(ORDER, of(a=9, b=9, c=9), count=5, random=bytes_of(1))) == [*"aaabc"]


def test_places_that_a_region_cannot_fill_go_to_the_others() -> None:
    assert regions_of(pick_relays(ORDER, of(a=1, b=5, c=5), count=3, random=bytes_of(1))) == ["a", "b", "c"]
    assert regions_of(pick_relays(ORDER, of(a=5), count=3, random=bytes_of(1))) == ["a", "a", "a"]
    assert regions_of(pick_relays(ORDER, of(a=5, b=1), count=4, random=bytes_of(1))) == ["a", "a", "a", "b"]
    assert pick_relays(ORDER, [], count=3, random=bytes_of(1)) == ()


def test_relays_of_no_region_in_the_order_come_last() -> None:
    listed = [Relay("lost", "elsewhere"), Relay("bare", ""), *of(c=1)]
    assert regions_of(pick_relays(ORDER, listed, count=3, random=bytes_of(1)))[0] == "c"
    assert len(pick_relays((), listed, count=3, random=bytes_of(1))) == 3


def test_one_that_drains_is_named_when_there_is_no_other() -> None:
    leaving = Relay("a9", "a", is_draining=True)
    assert pick_relays(ORDER, [leaving], count=3, random=bytes_of(1)) == (leaving,)
    assert regions_of(pick_relays(ORDER, [leaving, *of(c=1)], count=3, random=bytes_of(1))) == ["c"]


def test_the_relays_of_a_region_share_the_load() -> None:
    random = bytes_of(7)
    first = Counter(pick_relays(ORDER, of(a=4), count=2, random=random)[0].name for _ in range(400))
    assert len(first) == 4
    assert min(first.values()) > 50


@given(listed=relays, count=counts, seed=seeds)
def test_as_many_as_wanted_are_picked_and_none_twice(listed: list[Relay], count: int, seed: int) -> None:
    picked = pick_relays(ORDER, listed, count=count, random=bytes_of(seed))
    live = [relay for relay in listed if not relay.is_draining]
    assert set(picked) <= set(live or listed)
    assert len(set(picked)) == len(picked) == min(count, len(live or listed))


@given(listed=relays, count=counts, seed=seeds)
def test_nearer_regions_go_first(listed: list[Relay], count: int, seed: int) -> None:
    ranks = [
        ORDER.index(region) if region in ORDER else len(ORDER)
        for region in regions_of(pick_relays(ORDER, listed, count=count, random=bytes_of(seed)))
    ]
    assert ranks == sorted(ranks)


@given(listed=relays, count=st.integers(2, 6), seed=seeds)
def test_two_regions_are_named_where_there_are_two(listed: list[Relay], count: int, seed: int) -> None:
    live = [relay for relay in listed if not relay.is_draining]
    groups = {relay.region if relay.region in ORDER else "" for relay in live or listed}
    picked = pick_relays(ORDER, listed, count=count, random=bytes_of(seed))
    assert len({region if region in ORDER else "" for region in regions_of(picked)}) >= min(2, len(groups))
