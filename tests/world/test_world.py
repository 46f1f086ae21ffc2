"""What is promised of many machines, in a world of them: three regions, twelve machines, and 200 calls, or as
many as the one computer that is all of them can carry.

The scenarios follow each other in one world, as they would in life, and each leaves it whole. Their figures
go to standard error, and into a file (`stage`).
"""

import signal
from collections import Counter, defaultdict
from itertools import count
from math import inf
from time import perf_counter
from typing import Any

import pytest
import trio

from tests.world.stage import DRAIN_SECONDS, Attempt, Stage, lost, milliseconds
from voicegate.testing.world import REGIONS, CallerState, World

pytestmark = pytest.mark.slow

ICE_SECONDS = 3.0
"""The promise for a relay that is gone."""
DIRECTORY_SECONDS = 0.3
"""The promise for one that is back at the same address."""
MOVE_SECONDS = 1.0
"""The promise for a transceiver with another hop address."""
OUTAGE_SECONDS = 60.0
PARTITION_SECONDS = 8.0
"""Shorter than the 30 s that consent lasts, longer than any client's patience with a path."""


def test_media_enters_by_a_relay_of_the_callers_region(stage: Stage) -> None:
    stage.run(entries)


async def entries(stage: Stage) -> dict[str, Any]:
    """See where media enters; whom a busy machine has sent astray changes with a later check."""
    world = stage.world
    for _ in range(16):
        states = await world.read()
        entered = Counter((each.region, world.name_of(each.entry)) for each in states)
        abroad = {way for way in entered if not way[1].startswith(f"relay-{way[0]}-")}
        if not abroad:
            break
        await trio.sleep(2.5)
    assert len(states) == stage.size
    assert not abroad, entered
    return {
        "calls by relay": {relay: count for (_region, relay), count in sorted(entered.items())},
        "round trips, ms": round_trips(world, states),
    }


def round_trips(world: World, states: list[CallerState]) -> dict[str, dict[str, float]]:
    """Sum the round trips of checks up, by the caller's region and the relay's."""
    found: dict[str, list[float]] = defaultdict(list)
    for each in states:
        for address, seconds in each.round_trips.items():
            if seconds is not None:
                relay = world.name_of(address).split("-")[1]
                found[f"{each.region} by {relay}"].append(seconds)
    return {way: milliseconds(seconds) for way, seconds in sorted(found.items())}


def test_a_caller_far_from_its_transceiver_takes_the_fastest_of_the_listed_relays(stage: Stage) -> None:
    stage.run(two_tiers)


async def two_tiers(stage: Stage) -> dict[str, Any]:
    """Leave only the far region with room, and see which way callers go to it."""
    world = stage.world
    full = [name for name in world.transceivers if "-east-" not in name]
    await drain(world, full, method="POST")
    before = {each.call_id for each in await world.read()}
    made, refusals = await world.call("central", 12)
    await drain(world, full, method="DELETE")
    assert made == 12, refusals
    new = {each.call_id for each in await world.read()} - before
    far = {call for n in (1, 2) for call in await world.calls_of(f"transceiver-east-{n}")}
    assert new <= far
    for _ in range(16):
        await trio.sleep(2.5)  # each path is checked, and once more if a busy machine has led astray
        states = [each for each in await world.read() if each.call_id in new]
        slower = [each for each in states if not takes_fastest(each)]
        if not slower:
            break
    assert not slower
    taken = Counter(world.name_of(each.entry).split("-")[1] for each in states)
    await world.hang_up(states)
    return {
        "entered by": dict(taken),
        "round trips to the far transceiver, ms": round_trips(world, states),
    }


def takes_fastest(caller: CallerState) -> bool:
    """Whether no way is faster by more than makes anybody change, and what a busy machine adds."""
    measured = [seconds for seconds in caller.round_trips.values() if seconds is not None]
    return (caller.round_trips[caller.entry] or inf) <= min(measured, default=0.0) + 0.03


async def drain(world: World, names: list[str], *, method: str) -> None:
    for name in names:
        host = world.host(name)
        url = f"http://{host.address}:8080/v1/drain"
        status, text = await world.fetch(url, region=host.region, method=method)
        assert status == 200, text


def test_when_a_relay_dies_media_is_back_in_three_seconds_by_ice(stage: Stage) -> None:
    stage.run(dead_relay)


async def dead_relay(stage: Stage) -> dict[str, Any]:
    world = stage.world

    async def kill_one() -> Attempt:
        entries = Counter(each.entry for each in await world.read() if each.region == region)
        address, _count = entries.most_common(1)[0]
        name = world.name_of(address)
        await world.listen_anew()
        struck = {each.call_id for each in await world.read() if each.entry == address}
        await world.kill(name)
        await trio.sleep(ICE_SECONDS + 1.0)
        states = await world.read()
        assert not lost(states)
        silences = [each.silence for each in states if each.call_id in struck]
        others = [each.silence for each in states if each.call_id not in struck]
        await world.restart(name)
        figures = {
            "relay": name,
            "silences of its calls, ms": milliseconds(silences),
            "silences of other calls, ms": milliseconds(others),
        }
        return Attempt(seconds=silences, bound=ICE_SECONDS, others=others, figures=figures)

    figures: dict[str, Any] = {}
    for region in ("west", "central"):
        figures[region] = await stage.in_time(kill_one)
    return figures


def test_when_a_relay_is_back_so_is_its_media_in_300_ms_by_the_directory(stage: Stage) -> None:
    stage.run(relay_that_is_back)


async def relay_that_is_back(stage: Stage) -> dict[str, Any]:
    """Kill the relay of callers who know no other, so that nothing but its return helps them."""
    world = stage.world
    before = {each.call_id for each in await world.read()}
    made, refusals = await world.call("east", 20, max_paths=1)
    assert made == 20, refusals
    new = {each.call_id for each in await world.read()} - before

    async def kill_theirs() -> Attempt:
        await trio.sleep(1.0)  # flows are in the directory
        faithful = await stage.wait_heard(new)
        address, _count = Counter(each.entry for each in faithful).most_common(1)[0]
        name = world.name_of(address)
        struck = {each.call_id for each in faithful if each.entry == address}
        await world.listen_anew()
        killed_at = perf_counter()
        await world.kill(name)
        await world.start(name)
        back_at = await world.wait_reading(name)
        await world.wait_ready(name)
        await trio.sleep(3.0)
        states = await stage.wait_heard(struck)
        resumed = [each.resumed_at - back_at for each in states if each.resumed_at is not None]
        others = [each.silence for each in await world.read() if each.entry != address]
        figures = {
            "seconds from its death to its return": round(back_at - killed_at, 2),
            "from its return to media, ms": milliseconds(resumed),
            "silences, ms": milliseconds([each.silence for each in states]),
        }
        assert len(resumed) == len(struck), figures
        # A return that was seen long after media was back says as little as media that is late.
        seconds = [abs(each) for each in resumed]
        return Attempt(seconds=seconds, bound=DIRECTORY_SECONDS, others=others, figures=figures)

    figures = await stage.in_time(kill_theirs)
    await world.hang_up([each for each in await world.read() if each.call_id in new])
    return figures


def test_no_call_is_lost_while_redis_is_away_and_new_ones_are_accepted(stage: Stage) -> None:
    stage.run(redis_outage)


async def redis_outage(stage: Stage) -> dict[str, Any]:
    """Redis hangs, then is gone, then is back without anything that it knew."""
    world = stage.world
    await world.listen_anew()
    stage.watch.anew()
    began_at = trio.current_time()
    accepted = 0
    world.signal("redis", signal.SIGSTOP)
    for half in (1, 2):
        for _ in range(2):
            await trio.sleep(OUTAGE_SECONDS / 6)
            accepted += await accept_some(world)
        if half == 1:
            await trio.sleep_until(began_at + OUTAGE_SECONDS / 2)
            await world.kill("redis")
    await trio.sleep_until(began_at + OUTAGE_SECONDS)
    await world.start("redis")
    await trio.sleep(8.0)
    accepted += await accept_some(world)
    states = await world.read()
    figures = {
        "calls": len(states),
        "lost": len(lost(states)),
        "accepted meanwhile": accepted,
        "silences, ms": milliseconds([each.silence for each in states]),
        "machine late, ms": round(1000 * stage.watch.lateness),
    }
    assert not lost(states), figures
    assert max(each.silence for each in states) <= ICE_SECONDS + stage.watch.lateness, figures
    return figures


async def accept_some(world: World) -> int:
    """Make two calls in each region, all of which are to come about; others hang up in their place."""
    callers = await world.read()
    await world.hang_up([each for region in REGIONS for each in callers if each.region == region][:2])
    for region in REGIONS:
        made, refusals = await world.call(region, 2)
        assert made == 2, refusals
    return 2 * len(REGIONS)


def test_no_call_is_cut_before_the_deadline_while_all_transceivers_are_restarted(stage: Stage) -> None:
    stage.run(rolling_restart)


async def rolling_restart(stage: Stage) -> dict[str, Any]:
    world = stage.world
    figures: dict[str, Any] = {"calls cut before the deadline": 0}
    going: list[CallerState]
    for number in (1, 2):
        await stage.top_up()
        names = [name for name in world.transceivers if name.endswith(f"-{number}")]
        theirs = set().union(*[await world.calls_of(name) for name in names])
        await world.listen_anew()
        began_at = trio.current_time()
        deadline = began_at + DRAIN_SECONDS
        for name in names:
            world.signal(name, signal.SIGTERM)
        accepted, going = 0, []
        while True:
            states = await world.read()
            if trio.current_time() >= deadline:
                break
            assert not lost(states)
            going = [each for each in states if each.call_id in theirs]
            # A busy machine takes its time for new calls, and the deadline is not to pass meanwhile.
            if trio.current_time() < deadline - 4.0:
                accepted += await accept_some(world)
            await trio.sleep(0.5)
        for name in names:
            assert await world.wait_ended(name) == 0
            ended_after = trio.current_time() - began_at
            await world.start(name)
        states = await world.read()
        assert set(lost(states)) <= theirs
        for name in names:
            await world.wait_ready(name)
        figures[f"round {number}"] = {
            "calls that went on until the deadline": len(going),
            "their silences, ms": milliseconds([each.silence for each in going]),
            "new calls accepted": accepted,
            "last transceiver gone after, s": round(ended_after, 1),
        }
    await stage.top_up()
    return figures


def test_relays_follow_a_transceiver_whose_address_changes(stage: Stage) -> None:
    stage.run(moved_transceiver)


async def moved_transceiver(stage: Stage) -> dict[str, Any]:
    world = stage.world
    name = "transceiver-west-1"
    theirs = await world.calls_of(name)
    numbers = count(9)

    async def move() -> Attempt:
        await stage.wait_heard(theirs)
        await world.listen_anew()
        moved_at = perf_counter()
        await world.backbone.move(name, f"10.2.2.{next(numbers)}")
        await trio.sleep(6.0)
        callers = await world.read()
        states = [each for each in callers if each.call_id in theirs]
        others = [each.silence for each in callers if each.call_id not in theirs]
        assert not lost(states)
        resumed = [each.resumed_at - moved_at for each in states if each.resumed_at is not None]
        silences = [each.silence for each in states]
        figures = {
            "from the change to media, ms": milliseconds(resumed),
            "silences, ms": milliseconds(silences),
        }
        return Attempt(seconds=silences, bound=MOVE_SECONDS, others=others, figures=figures)

    return await stage.in_time(move)


def test_a_partition_shorter_than_consent_heals_without_a_lost_call(stage: Stage) -> None:
    stage.run(partition)


async def partition(stage: Stage) -> dict[str, Any]:
    """Cut a transceiver off from the relays of its region; some of the callers know no other relay."""
    world = stage.world
    made, refusals = await world.call("central", 20, max_paths=1)
    assert made == 20, refusals
    name = "transceiver-central-1"
    theirs = await world.calls_of(name)
    await world.listen_anew()
    relays = [relay for relay in world.relays if "-central-" in relay]
    for relay in relays:
        await world.backbone.cut(relay, name)
    await trio.sleep(PARTITION_SECONDS)
    for relay in relays:
        await world.backbone.heal(relay, name)
    healed_at = perf_counter()
    await trio.sleep(4.0)
    states = await stage.wait_heard(theirs)
    faithful = [each for each in states if len([s for s in each.round_trips.values() if s is not None]) == 1]
    resumed = [each.resumed_at - healed_at for each in faithful if each.resumed_at is not None]
    return {
        "calls": len(states),
        "lost": len(lost(states)),
        "silences with other relays, ms": milliseconds(
            [each.silence for each in states if each not in faithful]
        ),
        "silences without, ms": milliseconds([each.silence for each in faithful]),
        "from the healing to media without, ms": milliseconds(resumed),
    }
