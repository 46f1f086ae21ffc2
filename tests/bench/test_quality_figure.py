import json

import attrs
import pytest

from tests.bench.quality_measurement import CALL, make_quality_measurement, make_recovery
from voicegate.bench.quality_figure import (
    LINES,
    Contender,
    QualityConditions,
    QualityMeasurement,
    choose_lines,
)
from voicegate.errors import UsageError

ONE_LINE = QualityConditions(lines=choose_lines(["loss10"]), has_recovery=False)


def measurement_of(*opinions: float) -> QualityMeasurement:
    calls = [attrs.evolve(CALL, line="loss10", opinion=opinion) for opinion in opinions]
    return attrs.evolve(make_quality_measurement(ONE_LINE), calls=calls)


def test_lines_are_chosen_by_name_in_their_usual_order() -> None:
    assert [line.name for line in choose_lines(["loss20", "clean"])] == ["clean", "loss20"]
    assert choose_lines([]) == LINES
    with pytest.raises(UsageError, match="loss99"):
        choose_lines(["loss99"])


def test_the_median_counts() -> None:
    measurement = measurement_of(1.0, 4.0, 4.2)
    assert measurement.opinion(Contender.ACCURATE, "loss10") == 4.0
    assert measurement.delay(Contender.ACCURATE, "loss10") == 0.08
    assert measurement.lateness(Contender.ACCURATE, "loss10") == 0.01
    assert measurement.bitrate(Contender.ACCURATE) == 30_000
    assert measurement.stall == 0.004


def test_what_was_not_measured_is_none() -> None:
    measurement = measurement_of()
    for figure in (measurement.opinion, measurement.delay, measurement.lateness):
        assert figure(Contender.FAST, "loss10") is None
    assert measurement.bitrate(Contender.FAST) is None
    assert measurement.recovery(Contender.FAST) is None
    assert measurement.stall == 0.0
    assert measurement.targets == []


@pytest.mark.parametrize(("back_at", "expected"), [(8.0, 0.0), (11.5, 0.5), (13.0, 2.0), (99.0, None)])
def test_a_recovery_is_over_when_the_delay_is_usual_again(back_at: float, expected: float | None) -> None:
    recovery = make_recovery(Contender.ACCURATE, back_at=back_at)
    assert recovery.seconds == expected
    assert recovery.usual == pytest.approx(0.085, abs=0.006)
    assert recovery.highest == pytest.approx(0.28 if back_at > 8 else 0.09)


def test_a_stall_long_after_the_burst_is_another_matter() -> None:
    recovery = make_recovery(Contender.ACCURATE, back_at=12.0)
    delays = [(at, delay + (at == 20.0)) for at, delay in recovery.delays]
    assert attrs.evolve(recovery, delays=delays).seconds == 1.0


def test_a_recovery_without_anything_heard_never_is() -> None:
    recovery = attrs.evolve(make_recovery(Contender.FAST, back_at=9.0), delays=[])
    assert (recovery.usual, recovery.highest, recovery.seconds) == (None, None, None)


def test_targets_compare_lossy_lines_with_the_reference() -> None:
    measurement = make_quality_measurement()
    targets = {target.title: target for target in measurement.targets}
    assert len(targets) == 6 + 2
    better = targets["opinion above aiortc's: 10 % lost"]
    assert (better.value, better.is_met) == (2.0, True)
    assert targets["voicegate accurate: seconds until the delay is back"].is_met
    late = attrs.evolve(measurement, recoveries=[make_recovery(Contender.ACCURATE, back_at=99.0)], calls=[])
    (target,) = late.targets
    assert not target.is_met


def test_all_figures_can_be_written_as_json() -> None:
    described = json.loads(json.dumps(make_quality_measurement().describe()))
    assert len(described["calls"]) == len(LINES) * 3 * 3
    assert described["calls"][0]["contender"] == "accurate"
    assert described["recoveries"][0]["seconds"] == 1.0
    assert described["lines"]["loss10"]["loss"] == 0.1
    assert all(target["is_met"] for target in described["targets"])
