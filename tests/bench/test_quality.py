"""Real calls over a bad line, to our server and to the reference."""

import pytest
import trio

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
    heard: set[Contender] = set()
    with trio.fail_after(400):
        while heard != set(conditions.contenders):  # a stall may spoil speech, and makes none
            steps: list[None] = []
            measurement = await measure_quality(conditions, advance=lambda: steps.append(None))  # noqa: B023
            assert len(steps) == count_calls(conditions) == 2
            assert measurement.recoveries == []
            for contender in conditions.contenders:
                (call,) = measurement.of(contender, "loss5")
                if call.parts_found and call.opinion > 1.2 and call.delay is not None and call.bitrate > 5000:
                    heard.add(contender)


async def test_the_delay_is_followed_through_a_burst_of_jitter() -> None:
    burst = Impairment(jitter=0.15, begins=2.0, ends=3.0)
    conditions = QualityConditions(lines=(), contenders=(Contender.FAST,), speech=2.0, burst=burst)
    is_followed = False
    with trio.fail_after(400):
        while not is_followed:  # a stall may spoil what the delay is read from
            measurement = await measure_quality(conditions, advance=lambda: None)
            (recovery,) = measurement.recoveries
            after = [at for at, _ in recovery.delays if at > recovery.ended_at]
            is_followed = recovery.usual is not None and recovery.highest is not None and bool(after)


async def test_a_missing_reference_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicegate.bench.quality.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="aiortc is missing"):
        await measure_quality(QualityConditions(), advance=lambda: None)
