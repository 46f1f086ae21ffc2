"""What docs/capacity.md says of placement, deploys, lost regions and a silent directory, in virtual time."""

import random
from typing import Any

import attrs
import pytest

from voicegate.capacity import Deploy, Outcome, RegionLoss, Scenario, Stall, simulate
from voicegate.errors import UsageError

EVEN = {"eu": 1 / 3, "us": 1 / 3, "ap": 1 / 3}
WORLD = {"eu": 0.5, "us": 0.3, "ap": 0.2}
SLOTS = 100


def scenario(load: float, **settings: Any) -> Scenario:
    """Eighteen machines of a hundred slots in three regions, so full on average."""
    machines = settings.pop("machines", {"eu": 6, "us": 6, "ap": 6})
    room = SLOTS * sum(machines.values())
    fleet = {"shares": EVEN, "machines": machines, "slots": SLOTS, "calls": load * room, "seconds": 300.0}
    return Scenario(**{**fleet, **settings})


def run(load: float, *, seed: int = 1, **settings: Any) -> Outcome:
    return simulate(scenario(load, **settings), random=random.Random(seed).randbytes)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_up_to_80_percent_nobody_is_refused_and_all_calls_are_near(seed: int) -> None:
    for load in (0.3, 0.8):
        outcome = run(load, seed=seed)
        assert (outcome.refusals, outcome.given_up) == (0, 0)
        assert outcome.placed == outcome.callers > 800
        assert outcome.near > 0.999 * outcome.placed
        assert outcome.asked < 1.05 * outcome.placed


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_up_to_95_percent_all_have_a_call_and_few_try_twice(seed: int) -> None:
    for load, tries in ((0.9, 0.005), (0.95, 0.03)):
        outcome = run(load, seed=seed)
        assert outcome.given_up == 0
        assert outcome.refusals < tries * outcome.callers
        assert outcome.near > 0.9 * outcome.placed


@pytest.mark.slow
def test_what_a_region_has_no_room_for_goes_to_the_others() -> None:
    # 80 % of all slots, of which half the callers are nearest to a third.
    outcome = run(0.8, shares=WORLD)
    assert outcome.given_up == 0
    assert outcome.refusals < 0.02 * outcome.callers
    assert 0.85 < outcome.near / outcome.placed < 0.95
    # A machine asks 1.4 on average, itself included.
    assert outcome.asked < 1.7 * outcome.placed


@pytest.mark.slow
def test_a_fleet_that_is_full_refuses_no_more_than_it_has_no_room_for() -> None:
    outcome = run(1.3, seconds=400.0)
    assert outcome.fullest > 0.99
    # Who stays away is the part that does not fit.
    assert 0.15 < outcome.given_up / outcome.callers < 0.3 / 1.3


@pytest.mark.slow
def test_machines_of_a_region_are_as_far_apart_as_chance_has_them() -> None:
    # Each call goes to the machine its caller reached: no balance but by chance, until they are nearly full.
    few, many = (
        run(0.5, slots=slots, calls=0.5 * 18 * slots, call_seconds=30.0, seconds=200.0) for slots in (40, 160)
    )
    # The standard deviation of half of the slots, and a few times that between the ends of six.
    for outcome, slots in ((few, 40), (many, 160)):
        assert 3 < outcome.spread / ((0.5 * slots) ** 0.5 / slots) < 8
    assert many.spread < 0.8 * few.spread


ROLLING = Deploy(at=5.0, batch=0.1, drain_seconds=100.0, start_seconds=30.0)


@pytest.mark.slow
def test_a_rolling_deploy_refuses_nobody_takes_as_long_as_is_said_and_cuts_what_outlasts_it() -> None:
    outcome = run(
        0.5,
        machines={"eu": 8, "us": 6, "ap": 6},
        slots=40,
        calls=0.5 * 20 * 40,
        call_seconds=30.0,
        seconds=1200.0,
        deploy=ROLLING,
    )
    assert (outcome.refusals, outcome.given_up) == (0, 0)
    assert outcome.deploy_seconds is not None
    # Eight rounds of a drain and a start, and the ticks between; less, when the last call ends sooner.
    assert 0.8 * 8 * 130 <= outcome.deploy_seconds <= 8 * 134
    # exp(-100 / 30) of the twenty calls on each of twenty machines.
    assert outcome.cut == pytest.approx(20 * 20 * 0.0357, abs=12)
    assert outcome.callers == outcome.placed


@pytest.mark.slow
def test_a_deploy_in_which_all_calls_end_in_time_is_sooner_over() -> None:
    outcome = run(
        0.05, call_seconds=5.0, seconds=300.0, deploy=attrs.evolve(ROLLING, batch=0.5, drain_seconds=500)
    )
    assert outcome.cut == 0
    assert outcome.deploy_seconds is not None
    assert 2 * 30 < outcome.deploy_seconds < 250


def test_a_deploy_that_is_not_over_has_no_length_yet() -> None:
    assert run(0.2, seconds=50.0, deploy=ROLLING).deploy_seconds is None


LOSS = RegionLoss(at=100.0, region="eu")
LARGE = {"eu": 10, "us": 10, "ap": 10}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_with_the_planned_headroom_a_lost_regions_callers_are_back_in_a_minute(seed: int) -> None:
    # Two thirds of the machines are left, and are 90 % full with all calls.
    outcome = run(0.6, seed=seed, shares=WORLD, machines=LARGE, loss=LOSS)
    assert 700 < outcome.lost < 1000
    assert len(outcome.reconnected) >= 0.99 * outcome.lost
    in_time = sum(seconds <= 31 for seconds in outcome.reconnected)
    assert in_time >= 0.95 * outcome.lost
    assert max(outcome.reconnected) < 60
    assert outcome.given_up == 0


@pytest.mark.slow
def test_without_headroom_what_does_not_fit_is_refused_and_with_less_more_of_it() -> None:
    given_up = [
        run(1.9 / total, shares=WORLD, machines=machines, loss=LOSS, calls=1900.0, seconds=220.0).given_up
        for total, machines in (
            (3, LARGE),
            (2.4, {"eu": 10, "us": 8, "ap": 6}),
            (2, {"eu": 10, "us": 6, "ap": 4}),
        )
    ]
    assert given_up[0] < 30
    assert given_up[0] < given_up[1] < given_up[2]
    # A thousand slots for nineteen hundred calls: nearly half of those who call afterwards get none.
    assert given_up[2] > 500


@pytest.mark.slow
def test_a_deploy_goes_on_where_a_region_is_lost() -> None:
    outcome = run(
        0.1,
        call_seconds=20.0,
        seconds=900.0,
        deploy=attrs.evolve(ROLLING, drain_seconds=60.0),
        loss=RegionLoss(at=150.0, region="us"),
    )
    assert outcome.deploy_seconds is not None
    assert outcome.lost > 0


@pytest.mark.slow
def test_with_the_directory_away_calls_are_placed_as_before() -> None:
    stalled, usual = (run(0.8, stall=stall) for stall in (Stall(at=10.0, seconds=280.0), None))
    assert stalled.load_news < usual.load_news
    for outcome in (stalled, usual):
        assert (outcome.refusals, outcome.placed) == (0, outcome.callers)
    # Not even a fleet that is nearly full turns many away.
    stalled = run(0.95, stall=Stall(at=10.0, seconds=280.0))
    assert stalled.given_up == 0
    assert stalled.refusals < 0.1 * stalled.callers


@pytest.mark.slow
def test_the_load_of_a_worker_is_seldom_news_until_it_is_nearly_full() -> None:
    calm, full = (
        run(load, slots=256, calls=load * 18 * 256, seconds=180.0).load_news / 18 for load in (0.65, 0.97)
    )
    assert calm < 0.2
    assert full > 1


def test_the_same_randomness_gives_the_same_outcome() -> None:
    assert run(0.5, seconds=20.0) == run(0.5, seconds=20.0)
    assert run(0.5, seconds=20.0) != run(0.5, seconds=20.0, seed=2)


def test_set_ups_at_the_same_time_are_limited() -> None:
    storm = scenario(0.5, seconds=20.0, call_seconds=10.0, pending=2, attempts=1)
    outcome = simulate(storm, random=random.Random(1).randbytes)
    assert outcome.given_up == outcome.refusals > 0


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"machines": {"eu": 1}}, "machines"),
        ({"machines": {"eu": 1, "us": 1, "ap": 0}}, "machines"),
        ({"loss": RegionLoss(at=1.0, region="mars")}, "mars"),
        ({"slots": 0}, "positive"),
        ({"calls": 0.0}, "positive"),
        ({"shares": {"eu": 1.0}}, "machines"),
    ],
)
def test_a_fleet_that_is_none_is_refused(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        attrs.evolve(scenario(0.5), **change)


def test_the_room_of_a_fleet_is_that_of_its_machines() -> None:
    assert scenario(0.5).capacity == 1800


def test_where_nobody_is_left_everybody_is_refused() -> None:
    outcome = run(
        0.5, shares={"eu": 1.0}, machines={"eu": 2}, seconds=60.0, loss=RegionLoss(at=5.0, region="eu")
    )
    assert outcome.lost > 50
    assert outcome.reconnected == []
    assert outcome.refusals > outcome.given_up > 0
