"""The rule that the simulation places calls by is the one that machines follow."""

import random

from hypothesis import given
from hypothesis import strategies as st

from voicegate.capacity.placement import LOAD_STEPS, MAX_OTHERS, Listed, order_places
from voicegate.fleet import choice

REGIONS = ["eu", "us", "ap", ""]

machines = st.lists(
    st.tuples(st.sampled_from(REGIONS), st.sampled_from([0.0, 0.02, 0.3, 0.5, 0.96, 1.0, 1.1])), max_size=10
)


@given(
    machines=machines,
    own_region=st.sampled_from(REGIONS),
    regions=st.lists(st.sampled_from(REGIONS), unique=True),
    seed=st.integers(),
)
def test_both_ask_the_same_machines_in_the_same_order(
    machines: list[tuple[str, float]], own_region: str, regions: list[str], seed: int
) -> None:
    real = [choice.Machine((f"10.0.0.{n}", 1), region, load) for n, (region, load) in enumerate(machines)]
    simulated = [Listed(n, region, load) for n, (region, load) in enumerate(machines)]
    asked = choice.order_machines(
        real, own_region=own_region, regions=regions, random=random.Random(seed).randbytes
    )
    order = order_places(
        simulated, own_region=own_region, regions=regions, random=random.Random(seed).randbytes
    )
    assert [None if number is None else real[number].peer for number in order] == list(asked)


def test_both_have_the_same_limits() -> None:
    assert (MAX_OTHERS, LOAD_STEPS) == (choice.MAX_OTHERS, choice.LOAD_STEPS)
