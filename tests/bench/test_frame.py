from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.bench.frame import FRAME_TICKS, RECORD, Recording, Verdict, judge
from voicegate.bench.server import BenchError

PAYLOADS = 100
BEGIN, FRAMES = 1000.0, 500
CALLS = (3, 7)
EXCHANGE = 0.004
"""Seconds that a packet is under way, which nobody is late for."""


def make_records(number: int, *, first_sequence: int = 0, first_timestamp: int = 0) -> Any:
    """Make what comes back of a call that keeps its schedule, before the window and after it, too."""
    count = np.arange(FRAMES + 100)
    records = np.zeros(len(count), RECORD)
    records["call"] = number
    records["timestamp"] = (first_timestamp + count * FRAME_TICKS) % 2**32
    records["sequence"] = (first_sequence + count) % 2**16
    records["size"] = 80
    records["payload"] = (count + 7 * number) % PAYLOADS
    records["at"] = BEGIN - 1 + 0.003 * number + count * 0.02 + EXCHANGE
    return records


def make_recording(*records: Any) -> Recording:
    return Recording(
        calls=CALLS,
        records=np.concatenate(records),
        begin=BEGIN,
        end=BEGIN + FRAMES * 0.02,
        sent=FRAMES * len(CALLS),
        refused=0,
        damaged=0,
        answers=0,
        undelivered=0,
        late_p99=0.0,
        late_max=0.0,
        own_cpu=0.1,
        cpu=[0.2],
    )


def judged(change: Callable[[Any], Any] = lambda records: records, **begin: int) -> Verdict:
    recording = make_recording(change(make_records(3, **begin)), make_records(7))
    return judge(recording, limit=0.005, payloads=PAYLOADS, is_verbatim=True)


def test_calls_that_keep_their_schedule_all_count() -> None:
    verdict = judged()
    assert (verdict.calls, verdict.kept, verdict.frames) == (2, 2, 2 * FRAMES)
    assert (verdict.lost, verdict.silent, verdict.late, verdict.unheard) == (0, 0, 0, [])
    assert verdict.verbatim == 2 * FRAMES
    assert verdict.is_held
    assert verdict.percentile(1.0) == pytest.approx(0, abs=1e-6)


@given(
    sequence=st.integers(0, 2**16 - 1),
    timestamp=st.integers(0, 2**32 - 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_neither_where_numbers_begin_nor_who_is_noted_first_matters(
    sequence: int, timestamp: int, seed: int
) -> None:
    records = [make_records(3, first_sequence=sequence, first_timestamp=timestamp), make_records(7)]
    merged = np.concatenate(records)
    # Calls take turns as they like; each call's own packets stay in order.
    turns = np.argsort(merged["at"] + np.random.default_rng(seed).uniform(0, 0.01, len(merged)))
    recording = attrs.evolve(make_recording(merged), records=merged[turns])
    verdict = judge(recording, limit=0.005, payloads=PAYLOADS, is_verbatim=True)
    assert (verdict.kept, verdict.frames, verdict.lost) == (2, 2 * FRAMES, 0)


def late(records: Any, places: list[int], seconds: float) -> Any:
    records["at"][places] += seconds
    return records


def test_a_frame_is_late_by_its_own_schedule() -> None:
    verdict = judged(lambda records: late(records, [200], 0.0061))
    assert verdict.late == 1
    assert verdict.percentile(1.0) == pytest.approx(0.0061)
    assert verdict.kept == 2
    assert judged(lambda records: late(records, [200, 300], 0.0061)).kept == 1
    assert judged(lambda records: late(records, [200, 300], 0.0049)).late == 0


def test_what_is_late_outside_of_the_window_does_not_count() -> None:
    assert judged(lambda records: late(records, [10, len(records) - 5], 0.2)).is_held


def test_a_call_that_is_late_from_some_time_on_stays_late() -> None:
    verdict = judged(lambda records: late(records, list(range(300, len(records))), 0.02))
    assert verdict.late > FRAMES // 3
    assert verdict.lost == 0


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_missing_is_lost(count: int) -> None:
    verdict = judged(lambda records: np.delete(records, range(200, 200 + count)))
    # Nobody said it back, either.
    assert verdict.lost == 2 * count
    assert verdict.kept == 1


def test_a_frame_that_was_left_out_is_lost_although_the_numbers_go_on() -> None:
    def leave_out(records: Any) -> Any:
        records["timestamp"][200:] += FRAME_TICKS
        records["at"][200:] += 0.02
        return records[:-1]

    assert judged(leave_out).lost == 1


def test_a_server_that_falls_silent_has_lost_the_rest() -> None:
    verdict = judged(lambda records: records[:300])
    assert verdict.lost == FRAMES - (300 - 50)
    assert verdict.kept == 1


def test_a_call_of_which_nothing_came_is_named() -> None:
    verdict = judged(lambda records: records[:0])
    assert verdict.unheard == [3]
    assert verdict.lost == FRAMES
    assert verdict.kept == 1


def test_nothing_at_all_has_no_lateness() -> None:
    verdict = judge(make_recording(np.zeros(0, RECORD)), limit=0.005, payloads=PAYLOADS, is_verbatim=True)
    assert verdict.percentile(0.5) != verdict.percentile(0.5)
    assert verdict.kept == 0


def test_silence_in_the_place_of_a_voice_is_not_on_time() -> None:
    def silence(records: Any) -> Any:
        records["size"][[200, 201]] = 3
        # What was to be said comes later, as all that follows.
        records["payload"][202:] = records["payload"][200:-2].copy()
        records["payload"][[200, 201]] = -1
        return records

    verdict = judged(silence)
    assert (verdict.silent, verdict.lost, verdict.kept) == (2, 0, 1)


def test_what_was_never_said_back_is_lost() -> None:
    def drop(records: Any) -> Any:
        records["payload"][200:] = (records["payload"][200:] + 4) % PAYLOADS
        return records

    assert judged(drop).lost == 4
    recording = make_recording(drop(make_records(3)), make_records(7))
    assert judge(recording, limit=0.005, payloads=PAYLOADS, is_verbatim=False).lost == 0


def test_what_comes_twice_or_in_another_order_is_no_loss() -> None:
    def confuse(records: Any) -> Any:
        records[[200, 201]] = records[[201, 200]]
        records["at"][[200, 201]] = records["at"][[201, 200]]
        return np.insert(records, 300, records[290])

    verdict = judged(confuse)
    assert (verdict.lost, verdict.frames) == (0, 2 * FRAMES)


ANSWER = {
    "calls": 1,
    "begin": 1.0,
    "end": 2.0,
    "sent": 50,
    "refused": 0,
    "received": 50,
    "damaged": 0,
    "answers": 1,
    "unrecorded": 0,
    "undelivered": 0,
    "clock_step": 0.0,
    "late_p99": 0.001,
    "late_max": 0.002,
    "own_cpu": 0.1,
    "cpu": [0.1, 0.2],
}


def test_a_recording_is_read_from_file_and_answer(tmp_path: Path) -> None:
    path = tmp_path / "records"
    path.write_bytes(make_records(3).tobytes())
    recording = Recording.read(ANSWER, path, [3])
    assert len(recording.records) == FRAMES + 100
    assert (recording.seconds, recording.cpu, recording.calls) == (1.0, [0.1, 0.2], [3])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [({"clock_step": -0.5}, "the clock was set by -0.5 s"), ({"unrecorded": 3}, "3 packets too many")],
)
def test_a_run_that_tells_nothing_of_the_server_is_refused(
    tmp_path: Path, changes: dict[str, float], fault: str
) -> None:
    with pytest.raises(BenchError, match=fault):
        Recording.read({**ANSWER, **changes}, tmp_path / "records", [3])
