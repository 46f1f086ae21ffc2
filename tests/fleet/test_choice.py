"""Whom to ask for a call, in which order."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.directory import Address, TransceiverLease
from voicegate.fleet.choice import Machine, list_machines, order_machines
from voicegate.steering.placement import MAX_OTHERS

REGIONS = ("asia", "eu", "us", "")
PEERS = st.integers(1, 8).map(lambda n: (f"10.0.0.{n}", 7000))
LEASES = st.builds(
    TransceiverLease,
    hop=st.just(("10.0.0.1", 1)),
    peer=st.none() | PEERS,
    region=st.sampled_from(REGIONS),
    calls=st.integers(0, 20),
    max_calls=st.integers(0, 20),
    is_draining=st.booleans(),
)
CLUSTERS = st.dictionaries(st.integers(0, 20), LEASES, max_size=12)
CLIENTS: st.SearchStrategy[list[str]] = st.permutations(REGIONS[:3]) | st.just([])


def counter() -> Callable[[int], bytes]:
    """Return randomness that rises."""
    numbers = iter(range(1 << 16))
    return lambda length: next(numbers).to_bytes(length, "big")


def machine(n: int, region: str = "", load: float = 0.0) -> Machine:
    return Machine((f"10.0.0.{n}", 7000), region, load)


def order(
    machines: Sequence[Machine], *, regions: Sequence[str] = (), own_region: str = ""
) -> list[int | None]:
    """Return the order by the last part of each address."""
    asked = order_machines(machines, own_region=own_region, regions=regions, random=counter())
    return [None if peer is None else int(peer[0].rpartition(".")[2]) for peer in asked]


def lease(n: int | None, **rest: object) -> TransceiverLease:
    peer = None if n is None else (f"10.0.0.{n}", 7000)
    return TransceiverLease(hop=("10.0.0.1", 1), peer=peer, **rest)  # type: ignore[arg-type]


def test_alone_there_is_only_this_machine() -> None:
    assert order([]) == [None]
    assert order([], regions=["eu"], own_region="us") == [None]


def test_this_machine_comes_first_then_the_emptiest() -> None:
    assert order([machine(1, load=0.9), machine(2, load=0.1), machine(3, load=0.5)]) == [None, 2, 3, 1]


def test_the_clients_nearest_region_comes_before_this_machine() -> None:
    machines = [machine(1, "us"), machine(2, "eu", 0.5), machine(3, "asia")]
    assert order(machines, regions=["eu", "us", "asia"], own_region="us") == [2, None, 1, 3]


def test_a_client_of_no_known_place_is_near_to_us() -> None:
    assert order([machine(1, "eu"), machine(2, "us", 0.9)], own_region="us") == [None, 2, 1]


def test_who_said_it_is_full_is_asked_last_wherever_it_is() -> None:
    machines = [machine(1, "eu", 1.0), machine(2, "us", 0.9)]
    assert order(machines, regions=["eu", "us"], own_region="us") == [None, 2, 1]
    full = [machine(n, "eu", 1.0) for n in range(1, 6)]
    assert order([*full, machine(7, "us")], regions=["eu", "us"], own_region="asia")[0] == 7


def test_about_the_same_load_is_the_same_load() -> None:
    machines = [machine(1, load=0.52), machine(2, load=0.50)]
    assert order(machines) == [None, 1, 2]


def test_workers_of_one_machine_are_one() -> None:
    transceivers = {
        1: lease(1, calls=1, max_calls=10),
        2: lease(2, calls=3, max_calls=10),
        3: lease(2, calls=9, max_calls=10),
        4: lease(2, calls=10, max_calls=10, is_draining=True),
        5: lease(None, max_calls=10),
        6: lease(1, max_calls=10),
        7: lease(3, region="eu"),
    }
    assert list_machines(transceivers, own=[1]) == [
        Machine(("10.0.0.2", 7000), "", 0.6),
        Machine(("10.0.0.3", 7000), "eu", 1.0),
    ]


@pytest.mark.slow
@given(CLUSTERS, st.sets(st.integers(0, 20)), CLIENTS, st.sampled_from(REGIONS))
def test_each_is_asked_once_at_most_and_this_machine_always(
    transceivers: dict[int, TransceiverLease], own: set[int], regions: list[str], own_region: str
) -> None:
    machines = list_machines(transceivers, own=own)
    asked = order_machines(machines, own_region=own_region, regions=regions, random=counter())
    assert asked.count(None) == 1
    assert len(set(asked)) == len(asked) == 1 + min(MAX_OTHERS, len(machines))
    by_peer = {each.peer: each for each in machines}
    assert len(by_peer) == len(machines)
    ours = {transceivers[id_].peer for id_ in own if id_ in transceivers}
    for peer in asked:
        if peer is not None:
            assert peer not in ours
            assert any(each.peer == peer and not each.is_draining for each in transceivers.values())


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from(REGIONS), st.floats(0, 2)), max_size=8), CLIENTS)
def test_nobody_farther_or_fuller_is_asked_before_who_is_left_out(
    drawn: list[tuple[str, float]], regions: list[str]
) -> None:
    machines = [machine(n, region, load) for n, (region, load) in enumerate(drawn)]
    asked = order_machines(machines, own_region="us", regions=regions, random=counter())

    def rank(peer: Address | None) -> tuple[bool, int]:
        places = list(dict.fromkeys((*regions, "us")))
        found = next((each for each in machines if each.peer == peer), Machine(("", 0), "us", 0.0))
        return found.load >= 1, places.index(found.region) if found.region in places else len(places)

    ranks = [rank(peer) for peer in asked]
    assert ranks == sorted(ranks)
    left_out = [rank(each.peer) for each in machines if each.peer not in asked]
    assert all(rank(peer) <= each for peer in asked if peer is not None for each in left_out)
