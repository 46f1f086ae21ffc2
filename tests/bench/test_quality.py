"""Real calls over a bad line, to our server and to the reference."""

import pytest

from voicegate.bench.quality import count_calls, measure_quality
from voicegate.bench.quality_figure import Contender, QualityConditions, choose_lines
from voicegate.bench.quality_line import Impairment
from voicegate.errors import UsageError

pytestmark = pytest.mark.slow


async def test_speech_comes_back_over_a_bad_line() -> None:
    conditions = QualityConditions(
        lines=choose_lines(["loss5"]),
        contenders=(Contender.ACCURATE, Contender.AIORTC),
        runs=1,
        speech=3.6,
        warm_up=0.5,
        has_recovery=False,
    )
    steps: list[None] = []
    measurement = await measure_quality(conditions, advance=lambda: steps.append(None))
    assert len(steps) == count_calls(conditions) == 2
    for contender in conditions.contenders:
        (call,) = measurement.of(contender, "loss5")
        assert call.parts_found > 0
        assert call.opinion > 1.2
        assert call.delay is not None
        assert call.bitrate > 5000
    assert measurement.recoveries == []


async def test_the_delay_is_followed_through_a_burst_of_jitter() -> None:
    burst = Impairment(jitter=0.15, begins=2.0, ends=3.0)
    conditions = QualityConditions(lines=(), contenders=(Contender.FAST,), speech=2.0, burst=burst)
    measurement = await measure_quality(conditions, advance=lambda: None)
    (recovery,) = measurement.recoveries
    assert recovery.usual is not None
    assert recovery.highest is not None
    assert any(at > recovery.ended_at for at, _ in recovery.delays)


async def test_a_missing_reference_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicegate.bench.quality.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="aiortc is missing"):
        await measure_quality(QualityConditions(), advance=lambda: None)
