import json
import math
from functools import partial

import pytest
import trio

from voicegate.bench.link import LinkConditions, LinkMeasurement, LinkRun, count_link_runs, measure_links
from voicegate.bench.link_agent import answer_frames
from voicegate.bench.link_table import render_links
from voicegate.link import Frame, FrameKind, read_frames


def run_of(way: str, calls: int, cpu: float) -> LinkRun:
    return LinkRun(
        way=way,  # type: ignore[arg-type]
        calls=calls,
        seconds=2.0,
        cpu=cpu,
        heard=calls * 100,
        answered=calls * 50,
        slots_missed=0,
    )


def test_a_link_costs_what_a_call_costs_beyond_one_without() -> None:
    runs = [run_of("none", 400, 0.1), run_of("calls", 400, 0.5), run_of("calls", 50, 9.0)]
    measurement = LinkMeasurement(conditions=LinkConditions(calls=(400,)), machine="here", runs=runs[:2])
    assert math.isclose(measurement.link_cost(runs[1]), 0.4 / 2 / 400)
    (target,) = measurement.targets
    assert target.is_met
    assert math.isclose(target.value, 0.05)
    described = measurement.describe()
    assert described["runs"][1]["answered_share"] == 0.5
    assert json.dumps(described)
    assert len(list(render_links(measurement))) == 5


def test_the_agent_says_back_sound_and_nothing_else() -> None:
    heard = Frame(3, FrameKind.PACKET, b"ab", 4711, 2, 20, 0, 960)
    progress = Frame(3, FrameKind.PROGRESS, bytes(20))
    said = answer_frames(heard.encode() + progress.encode())
    assert list(read_frames(said)) == [heard._replace(position=-1)]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["opus", "pcm16"])
async def test_each_way_is_measured(form: str) -> None:
    conditions = LinkConditions(calls=(2,), seconds=0.5, format=form)  # type: ignore[arg-type]
    are_answered = False
    with trio.fail_after(240):
        while not are_answered:  # a stall may leave nothing of half a second
            steps: list[None] = []
            measurement = await measure_links(conditions, advance=partial(steps.append, None))
            assert len(steps) == count_link_runs(conditions) == 3
            assert all(run.cpu > 0 for run in measurement.runs)
            are_answered = all(run.answered for run in measurement.runs)
