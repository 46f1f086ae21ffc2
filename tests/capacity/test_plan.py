from math import exp
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.capacity import Demand, Figures, Link, Loss, Plan, make_plan
from voicegate.errors import UsageError

WORLD = {"eu": 0.5, "us": 0.3, "ap": 0.2}


def plan(calls: int, figures: Figures | None = None, **demand: Any) -> Plan:
    return make_plan(Demand(**{"calls": calls, "shares": WORLD, **demand}), figures)


def test_a_call_takes_media_link_and_its_part_of_a_set_up() -> None:
    for link, cost in ((Link.NONE, 0), (Link.SHARED, 0.10), (Link.SINGLE, 1.3)):
        for is_transcoded, media in ((False, 0.19), (True, 0.60)):
            made = plan(1000, link=link, is_transcoded=is_transcoded, call_seconds=103)
            assert made.call_percent == pytest.approx(media + cost + 0.01)
            assert made.slots == int(76 / (media + cost + 0.01))


def test_without_links_and_for_calls_that_hardly_end_a_worker_has_what_the_bench_had() -> None:
    assert plan(1000, link=Link.NONE, call_seconds=1e9).slots in {399, 400}


def test_what_was_measured_elsewhere_replaces_what_was_measured_here() -> None:
    ours, theirs = plan(100_000), plan(100_000, Figures(call_percent=0.05, relay_in_us=1, relay_out_us=1))
    assert theirs.slots > 1.5 * ours.slots
    assert theirs.relay_slots > 4 * ours.relay_slots
    assert theirs.capacity >= 100_000 * 1.5


@given(
    calls=st.integers(1, 50_000_000),
    parts=st.lists(st.integers(1, 9), min_size=2, max_size=6),
    loss=st.sampled_from(Loss),
    workers=st.integers(1, 60),
)
def test_there_is_room_for_all_when_the_worst_has_happened(
    calls: int, parts: list[int], loss: Loss, workers: int
) -> None:
    shares = {f"r{n}": part / sum(parts) for n, part in enumerate(parts)}
    made = plan(calls, shares=shares, loss=loss, transceiver_workers=workers, batch=0.5)
    rooms = [region.capacity * made.demand.fill for region in made.regions]
    relays = [region.relay_workers * made.relay_slots * made.demand.fill for region in made.regions]
    for room in (rooms, relays):
        left = sum(room) - (max(room) if loss is Loss.REGION else 0)
        assert left >= calls * (1 - 1e-9)
        # A deploy takes half of each region at a time here.
        assert all(
            each / 2 >= calls * share * (1 - 1e-9) for each, share in zip(room, shares.values(), strict=True)
        )
    assert all(min(region.transceiver_machines, region.relay_machines) >= 2 for region in made.regions)
    assert made.capacity == sum(region.capacity for region in made.regions)


@given(calls=st.integers(1, 30_000_000), more=st.integers(1, 30_000_000))
def test_more_calls_never_take_less(calls: int, more: int) -> None:
    small, large = plan(calls), plan(calls + more)
    assert small.capacity <= large.capacity
    assert small.cluster.clusters <= large.cluster.clusters
    for before, after in zip(small.regions, large.regions, strict=True):
        assert before.relay_machines <= after.relay_machines
        assert before.public_gbit <= after.public_gbit


def test_bandwidth_is_packets_with_what_is_around_them() -> None:
    region = plan(100_000, Figures(header_bytes=48)).regions[0]
    packets = 50_000 * 50.8 * 8 / 1e9
    assert region.public_gbit == pytest.approx(packets * (116 + 48))
    assert region.hop_gbit == pytest.approx(packets * (116 + 48 + 24))
    assert region.link_gbit == pytest.approx(packets * 110)
    assert plan(100_000, link=Link.NONE).regions[0].link_gbit == 0


def test_one_redis_does_until_it_is_half_busy_and_clusters_share_what_is_more() -> None:
    one, many = plan(800_000).cluster, plan(10_000_000).cluster
    assert (one.clusters, many.clusters) == (1, 12)
    for cluster in (one, many):
        assert cluster.reached
        assert cluster.busy <= 0.5
    assert many.calls * many.clusters >= 10_000_000
    # With one cluster less it is too much.
    fewer = plan(10_000_000 * 11 // 12 + 900_000, Figures(redis_busy=0.6)).cluster
    assert fewer.clusters < 12


def test_leases_are_a_limit_where_redis_is_none() -> None:
    free = Figures(
        flow_write_us=1e-6, poll_us=1e-6, announce_us=1e-6, announce_row_us=1e-6, lease_read_us=1e-6
    )
    cluster = plan(20_000_000, free).cluster
    assert cluster.clusters > 1
    assert 65_536 / 2 < cluster.members <= 65_536


def test_what_no_number_of_clusters_can_do_is_said() -> None:
    cluster = plan(1_000_000, Figures(redis_busy=1e-9)).cluster
    assert (cluster.clusters, cluster.reached) == (4096, False)


def test_a_deploy_is_rounds_of_drains_and_starts() -> None:
    made = plan(100_000, batch=0.1, drain_seconds=60, start_seconds=30, call_seconds=60)
    machines = max(region.transceiver_machines for region in made.regions)
    assert made.deploy.rounds == -(-machines // max(1, machines // 10))
    assert made.deploy.seconds == made.deploy.rounds * 90
    assert made.deploy.cut_share == pytest.approx(exp(-1))
    assert exp(-made.deploy.seconds_for_one_percent / 60) == pytest.approx(0.01)


def test_a_lost_region_is_a_storm_for_the_others() -> None:
    storm = plan(100_000, storm_seconds=10, call_seconds=100).storm
    assert storm is not None
    assert storm.calls == 50_000
    assert storm.rate == pytest.approx(6000)
    assert 0 < storm.busy < 1
    assert plan(100_000, loss=Loss.ZONE).storm is None


def test_all_of_it_can_be_written_as_json() -> None:
    described = plan(1000).describe()
    assert described["demand"]["loss"] == "region"
    assert described["figures"][0]["basis"] == "derived"
    assert described["regions"][0]["name"] == "eu"
    assert described["cluster"]["clusters"] == 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"calls": 0}, "calls: from 1"),
        ({"calls": 10**10}, "calls: from 1"),
        ({"transceiver_workers": 0}, "one worker"),
        ({"relay_workers": 0}, "one worker"),
        ({"batch": 0.0}, "half of the machines"),
        ({"batch": 0.6}, "half of the machines"),
        ({"fill": 0.0}, "filled"),
        ({"fill": 1.1}, "filled"),
        ({"call_seconds": 0.0}, "take time"),
        ({"shares": {"eu": 1.0}}, "single region"),
    ],
)
def test_what_no_fleet_could_do_is_refused(change: dict[str, Any], fault: str) -> None:
    demand = Demand(calls=1, shares=WORLD)
    with pytest.raises(UsageError, match=fault):
        attrs.evolve(demand, **change)


@pytest.mark.parametrize("figures", [Figures(call_percent=80), Figures(relay_in_us=1e6)])
def test_a_call_that_is_too_much_for_a_worker_is_refused(figures: Figures) -> None:
    with pytest.raises(UsageError, match="more than a worker has"):
        plan(1000, figures)


def test_where_one_cluster_ends_is_where_the_document_has_it() -> None:
    # "0.8 million", "some 900 machines, for 1.4 million calls", "9 million", "150 million", "3 400 million".
    assert plan(800_000).cluster.clusters == 1
    assert plan(900_000).cluster.clusters == 2
    spread = Figures(flow_write_us=1e-9)
    assert plan(1_400_000, spread).cluster.clusters == 1
    assert plan(1_500_000, spread).cluster.clusters == 2
    machines = sum(
        region.transceiver_machines + region.relay_machines for region in plan(1_400_000, spread).regions
    )
    assert machines == pytest.approx(900, rel=0.05)
    endless = Figures(redis_busy=1000)
    assert plan(9_000_000, endless).cluster.clusters == 1
    assert plan(10_000_000, endless).cluster.clusters == 2
    workers = sum(region.transceiver_workers for region in plan(10_000_000).regions)
    assert (1 << 20) * 10_000_000 / workers == pytest.approx(150e6, rel=0.05)
    assert plan(830_000).cluster.clusters * 4096 * 830_000 == pytest.approx(3400e6, rel=0.01)
    # "250 machines keep Redis busy all the time"
    figures = Figures()
    assert 250 * figures.poll_us / 1e6 / figures.gather_seconds == pytest.approx(1, abs=0.06)
