import json
import math

import attrs
import pytest

from tests.bench.relay_measurement import BACK, RUN, THERE, make_relay_measurement, make_run
from voicegate.bench.traffic import (
    OURS,
    OURS_PLAIN,
    REFERENCE_C,
    REFERENCE_GO,
    SATURATION,
    Ceiling,
    FlowMemory,
    Point,
    RelayConditions,
    Run,
    Target,
)


def test_a_packets_cost_is_processor_time_by_packets_forwarded() -> None:
    run = attrs.evolve(RUN, received=5000, cpu=0.02, seconds=0.5)
    assert run.cost == pytest.approx(4e-6)
    assert run.rate == pytest.approx(10_000)


def test_nothing_forwarded_has_no_cost_and_is_all_lost() -> None:
    run = attrs.evolve(RUN, received=0)
    assert math.isnan(run.cost)
    assert run.loss == 1.0
    assert attrs.evolve(RUN, received=0, sent=0).loss == 0.0


@pytest.mark.parametrize(
    ("sent", "received", "undelivered", "is_loss_free"),
    [
        (100_000, 100_000, 0, True),
        (100_000, 99_991, 0, True),
        (100_000, 99_990, 0, False),
        (100_000, 99_000, 1_000, True),  # the generator's own fault
        (100_000, 99_900, 1_000, True),
    ],
)
def test_a_run_is_free_of_loss_below_one_in_ten_thousand(
    sent: int, received: int, undelivered: int, *, is_loss_free: bool
) -> None:
    run = attrs.evolve(RUN, sent=sent, received=received, undelivered=undelivered)
    assert run.is_loss_free == is_loss_free


def test_the_generators_answer_is_read() -> None:
    assert Run.from_json(attrs.asdict(RUN)) == RUN


def test_the_median_of_runs_counts_and_counts_add_up() -> None:
    runs = [make_run(cost=cost, p99=cost * 10, damaged=1) for cost in (3e-6, 1e-6, 8e-6)]
    point = Point(relay=OURS, load=THERE, runs=runs)
    assert point.cost == pytest.approx(3e-6)
    assert point.p99 == pytest.approx(3e-5)
    assert point.total("damaged") == 3


def test_a_relay_is_the_limit_when_it_was_busy_in_most_runs() -> None:
    busy, idle = (attrs.evolve(RUN, cpu=part * RUN.seconds) for part in (0.95, 0.5))
    assert Point(relay=OURS, load=THERE, runs=[busy, idle, busy]).is_busy
    assert not Point(relay=OURS, load=THERE, runs=[busy, idle]).is_busy


def test_ratios_are_of_the_same_load() -> None:
    measurement = make_relay_measurement()
    assert measurement.cost_ratio(OURS, REFERENCE_C, THERE) == pytest.approx(0.8)
    assert measurement.cost_ratio(OURS, REFERENCE_GO, BACK) == pytest.approx(0.4)
    assert measurement.cost_ratio(OURS, REFERENCE_GO, attrs.evolve(THERE, flows=7)) is None
    ratio = measurement.ceiling_ratio(OURS, REFERENCE_GO, THERE.direction, 1000)
    assert ratio == pytest.approx(2.5)


def test_a_relay_that_always_loses_has_no_ratio_to_it() -> None:
    measurement = make_relay_measurement()
    lost = [attrs.evolve(one, rate=0.0) for one in measurement.ceilings if one.relay == REFERENCE_GO]
    rest = [one for one in measurement.ceilings if one.relay != REFERENCE_GO]
    measurement = attrs.evolve(measurement, ceilings=[*rest, *lost])
    assert measurement.ceiling_ratio(OURS, REFERENCE_GO, THERE.direction, 1000) is None


def test_added_latency_is_without_the_direct_way() -> None:
    measurement = make_relay_measurement()
    paced = measurement.point(OURS, attrs.evolve(THERE, rate=20_000))
    saturated = measurement.point(OURS, THERE)
    assert paced is not None
    assert saturated is not None
    assert measurement.added(paced) == pytest.approx((0.00009, 0.00049))
    assert measurement.added(saturated) is None


def test_targets_are_of_what_was_measured() -> None:
    targets = {target.title: target for target in make_relay_measurement().targets}
    assert len(targets) == 8
    assert targets["saturated, cost / C"].value == pytest.approx(0.8)
    assert targets["saturated, plain hop, cost / C"].value == pytest.approx(1.2)
    assert not targets["saturated, plain hop, cost / C"].is_met
    assert targets["10 000 flows, cost / that of 100"].value == pytest.approx(1.0)
    assert targets["20 000 a second, added p99, ms"].value == pytest.approx(0.49)
    few = RelayConditions(flows=(1000,), rates=(SATURATION,), references=(REFERENCE_C,), has_search=False)
    assert [target.title for target in make_relay_measurement(few).targets] == [
        "saturated, cost / C",
        "saturated, plain hop, cost / C",
    ]


def test_a_target_is_a_most_or_a_least() -> None:
    assert Target(title="", value=1.0, bound=1.0).is_met
    assert not Target(title="", value=1.1, bound=1.0).is_met
    assert Target(title="", value=1.5, bound=1.5, is_least=True).is_met
    assert not Target(title="", value=1.4, bound=1.5, is_least=True).is_met


def test_a_flow_takes_its_share_of_memory() -> None:
    assert FlowMemory(flows=1000, bytes=120_000, seconds=1.0).bytes_per_flow == 120


@pytest.mark.parametrize(("flows", "main"), [((100, 1000, 10_000), 1000), ((10, 300), 300), ((5,), 5)])
def test_the_main_number_of_flows_is_the_one_nearest_to_a_thousand(flows: tuple[int, ...], main: int) -> None:
    assert RelayConditions(flows=flows).main_flows == main


def test_each_relay_is_given_each_load() -> None:
    conditions = RelayConditions()
    assert len(conditions.loads) == len(set(conditions.loads)) == 3 * 2 * 4
    assert conditions.relays == (OURS, REFERENCE_C, REFERENCE_GO, OURS_PLAIN)


def test_figures_are_told_as_json_without_anything_infinite() -> None:
    measurement = make_relay_measurement()
    nothing = Point(relay=OURS, load=attrs.evolve(THERE, flows=7), runs=[attrs.evolve(RUN, received=0)])
    ceiling = Ceiling(relay=OURS, direction=THERE.direction, flows=7, rate=0.0, is_generators=False)
    measurement = attrs.evolve(
        measurement,
        points=[nothing, *measurement.points],
        ceilings=[ceiling, *measurement.ceilings],
    )
    figures = json.loads(json.dumps(measurement.describe(), allow_nan=False))
    empty, first = figures["points"][:2]
    assert empty["cost_us"] is None
    assert first["relay"] == "voicegate"
    assert (first["direction"], first["flows"], first["rate"]) == ("to_transceiver", 100, None)
    assert (first["cost_us"], first["cost_ratio_c"], first["cost_ratio_go"]) == (4.0, 0.8, 0.4)
    assert first["added_p50_us"] is None
    assert first["runs"][0]["loss"] == 0.0
    assert figures["points"][5]["added_p50_us"] == 90.0
    assert figures["ceilings"][0]["per_second"] == 0
    assert figures["flow_memory"]["bytes_per_flow"] == 120.0
    assert figures["direct"][0] == {"rate": 1000, "p50_us": 10.0, "p99_us": 20.0}
    assert all(isinstance(target["is_met"], bool) for target in figures["targets"])
