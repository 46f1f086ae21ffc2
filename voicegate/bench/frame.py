"""What came back of calls: every packet that arrived, and which calls kept their schedule."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import attrs
import numpy as np
from numpy.typing import NDArray

from voicegate.bench.server import BenchError
from voicegate.bench.voice import SILENT_BYTES

__all__ = ["FRAME_TICKS", "RECORD", "Recording", "Verdict", "judge"]

RECORD: Final = np.dtype(
    [
        ("call", "<u4"),
        ("timestamp", "<u4"),
        ("sequence", "<u2"),
        ("size", "<u2"),
        ("payload", "<i4"),
        ("at", "<f8"),
    ]
)
"""``struct record`` of ``reference/calls.c``."""

FRAME_TICKS: Final = 960
FRAME_SECONDS: Final = 0.02
CLOCK_RATE: Final = 48_000

_EARLIEST: Final = 0.01
"""The share of a call's packets by which its schedule is set: so many are taken for those that nothing
delayed, since the very first alone may be an accident."""

_CLOCK_STEP: Final = 0.001
"""Seconds by which the machine's clock may be set while packets are stamped with it."""

MOST_MISSING: Final = 0.001
"""The share of frames that may be late or silent in a call that counts; one may, however short the run."""

_Records = NDArray[Any]


@attrs.frozen(kw_only=True)
class Recording:
    """A run, as the program in C tells it; in seconds."""

    calls: Sequence[int]
    """Numbers of all that there were."""
    records: _Records
    begin: float
    end: float
    sent: int
    refused: int
    damaged: int
    answers: int
    undelivered: int
    late_p99: float
    """Its own lateness in sending."""
    late_max: float
    own_cpu: float
    cpu: Sequence[float]
    """Processor seconds of the processes asked for."""

    @classmethod
    def read(cls, answer: Mapping[str, Any], path: Path, calls: Sequence[int]) -> Self:
        """Read the program's answer, and the file that goes with it.

        Errors: BenchError when something else than the servers was wrong.
        """
        if abs(answer["clock_step"]) > _CLOCK_STEP:
            raise BenchError(f"the clock was set by {answer['clock_step']} s during a run")
        if answer["unrecorded"]:
            raise BenchError(f"{answer['unrecorded']} packets too many came")
        known = {field.name for field in attrs.fields(cls)} - {"calls", "records"}
        figures = {name: answer[name] for name in known}
        return cls(calls=calls, records=np.fromfile(path, RECORD), **figures)

    @property
    def seconds(self) -> float:
        """How long it counted."""
        return self.end - self.begin


@attrs.frozen(kw_only=True)
class Verdict:
    """What a run came to."""

    calls: int
    kept: int
    """Calls that count: nothing lost, next to all frames on time."""
    frames: int
    """That were due."""
    lost: int
    """That never came, or what a client said and was never said back."""
    silent: int
    """That came without a voice."""
    late: int
    """Later than the limit."""
    verbatim: int
    """That were, byte for byte, what a client had said."""
    lateness: NDArray[np.float64]
    """Of all that came, sorted."""
    unheard: Sequence[int]
    """Calls of which nothing came."""

    def percentile(self, share: float) -> float:
        """Return a percentile of lateness; NaN when nothing came."""
        if not len(self.lateness):
            return float("nan")
        return float(self.lateness[min(len(self.lateness) - 1, int(share * len(self.lateness)))])

    @property
    def is_held(self) -> bool:
        """Whether all calls count."""
        return self.kept == self.calls


def judge(recording: Recording, *, limit: float, payloads: int, is_verbatim: bool) -> Verdict:
    """Hold all calls of a run to their schedules.

    The schedule of a call is the line of its RTP timestamps, through its earliest packets.

    Args:
        recording: The run.
        limit: Seconds from which on a frame is late.
        payloads: How many each client says before it begins anew.
        is_verbatim: Whether the server says the very same back.
    """
    by_call = np.sort(recording.records, order="call", kind="stable")
    verdicts = []
    for number in recording.calls:
        first, last = np.searchsorted(by_call["call"], [number, number + 1])
        verdicts.append(_judge_call(by_call[first:last], recording, limit, payloads if is_verbatim else 0))
    lateness = [verdict.lateness for verdict in verdicts]
    return Verdict(
        calls=len(verdicts),
        kept=sum(verdict.is_kept for verdict in verdicts),
        frames=sum(verdict.frames for verdict in verdicts),
        lost=sum(verdict.lost for verdict in verdicts),
        silent=sum(verdict.silent for verdict in verdicts),
        late=sum(verdict.late for verdict in verdicts),
        verbatim=sum(verdict.verbatim for verdict in verdicts),
        lateness=np.sort(np.concatenate(lateness)) if lateness else np.empty(0),
        unheard=[
            number
            for number, verdict in zip(recording.calls, verdicts, strict=True)
            if not len(verdict.lateness)
        ],
    )


@attrs.frozen(kw_only=True)
class _CallVerdict:
    frames: int
    lost: int
    silent: int
    late: int
    verbatim: int
    lateness: NDArray[np.float64]

    @property
    def is_kept(self) -> bool:
        return not self.lost and self.late + self.silent <= max(1, int(MOST_MISSING * self.frames))


def _judge_call(records: _Records, recording: Recording, limit: float, payloads: int) -> _CallVerdict:
    """Judge the packets of one call, in order of arrival; ``payloads`` is 0 where others may come back."""
    if not len(records):
        frames = int(recording.seconds / FRAME_SECONDS)
        return _CallVerdict(frames=frames, lost=frames, silent=0, late=0, verbatim=0, lateness=np.empty(0))
    _, places = np.unique(_unwrap(records["sequence"], np.int16), return_index=True)
    packets = records[places]
    seconds = _unwrap(packets["timestamp"], np.int32) / CLOCK_RATE
    due = seconds + np.quantile(packets["at"] - seconds, _EARLIEST, method="lower")
    counts = (recording.begin <= due) & (due < recording.end)
    lateness = np.maximum(packets["at"] - due, 0.0)[counts]
    slots = np.ceil((np.array([recording.begin, recording.end]) - due[0]) / FRAME_SECONDS)
    frames = int(slots[1] - slots[0])
    lost = max(0, frames - len(np.unique(due[counts])))
    if payloads:
        lost += _count_skipped(packets["payload"][counts], payloads)
    return _CallVerdict(
        frames=frames,
        lost=lost,
        silent=int(np.count_nonzero(packets["size"][counts] < SILENT_BYTES)),
        late=int(np.count_nonzero(lateness > limit)),
        verbatim=int(np.count_nonzero(packets["payload"][counts] >= 0)),
        lateness=lateness,
    )


def _unwrap(numbers: NDArray[Any], signed: type[np.signedinteger[Any]]) -> NDArray[np.int64]:
    """Undo the wrapping of numbers of which each is near the one before; the first is 0."""
    steps = np.diff(numbers).view(signed).astype(np.int64)
    return np.concatenate(([0], np.cumsum(steps)))


def _count_skipped(said: NDArray[Any], payloads: int) -> int:
    """Count what a client said between two things that were said back."""
    steps = np.diff(said[said >= 0]) % payloads
    # More than half a round is a step back: something said twice, or too late.
    return int(np.sum(steps[(steps > 1) & (steps <= payloads // 2)] - 1))
