"""What a call's link to its agent costs the gateway: processor time, beyond that of the call without one.

The calls have no network. Each hears a frame every 20 ms, spread over 5 ms slots as in the transceiver, and
plays what its agent says; their agent is in this process, or in another behind a link of either shape, and
says back what it hears.
"""

import os
import platform
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from math import nan
from typing import Any, Final, Literal

import attrs
import trio

from voicegate.agents.link import LinkOptions, run_link_agent
from voicegate.bench.link_media import LinkMedia, new_call
from voicegate.bench.program import open_program
from voicegate.bench.traffic import Target
from voicegate.call import Agent, AudioFrame, Call, EncodedFrame

__all__ = ["LinkConditions", "LinkMeasurement", "LinkRun", "Way", "count_link_runs", "measure_links"]

Way = Literal["none", "calls", "call"]
"""No link, one socket for all calls, one socket for each."""

WAYS: Final[Sequence[Way]] = ("none", "calls", "call")

_FRAMES_A_SECOND: Final = 50
_SLOT: Final = 0.005
_SLOTS: Final = 4
_WARM_UP: Final = 0.5
_PATIENCE: Final = 30.0
"""Seconds until all calls are to have been answered once."""

_FORMATS: Final = {"opus": "opus", "pcm16": "pcm16/24000"}

_OF_A_CORE: Final = 0.001
"""What a call's link may cost in the many-calls shape, at the most calls."""


@attrs.frozen(kw_only=True)
class LinkConditions:
    """What is measured, and for how long."""

    calls: Sequence[int] = (1, 50, 400)
    format: Literal["opus", "pcm16"] = "opus"
    seconds: float = 5.0


@attrs.frozen(kw_only=True)
class LinkRun:
    """So many calls, one way."""

    way: Way
    calls: int
    seconds: float
    cpu: float
    """Seconds of processor time."""
    heard: int
    """Frames that callers said."""
    answered: int
    """Frames that came back from the agent."""
    slots_missed: int
    """Slots of 5 ms that passed while the one before was still at work: the core had no more to give."""

    @property
    def cost(self) -> float:
        """The share of a core that a call takes while its caller speaks: in missed slots nobody does."""
        return self.cpu * _FRAMES_A_SECOND / self.heard if self.heard else nan

    @property
    def answered_share(self) -> float:
        """The share of frames that the agent has answered."""
        return self.answered / self.heard if self.heard else 0.0


@attrs.frozen(kw_only=True)
class LinkMeasurement:
    """All runs."""

    conditions: LinkConditions
    machine: str
    runs: Sequence[LinkRun]

    def link_cost(self, run: LinkRun) -> float:
        """Return what a call's link takes of a core, beyond what the call takes without one."""
        bare = next(each for each in self.runs if each.way == "none" and each.calls == run.calls)
        return run.cost - bare.cost

    @property
    def targets(self) -> list[Target]:
        """What the link is held to."""
        most = max(self.conditions.calls)
        return [
            Target(
                title=f"cost of a link at {most} calls in one socket, % of a core",
                value=100 * self.link_cost(run),
                bound=100 * _OF_A_CORE,
            )
            for run in self.runs
            if run.way == "calls" and run.calls == most
        ]

    def describe(self) -> Mapping[str, Any]:
        """Return all of it in the way of JSON."""
        return {
            "machine": self.machine,
            "conditions": attrs.asdict(self.conditions),
            "runs": [
                {
                    **attrs.asdict(run),
                    "cost": run.cost,
                    "link_cost": self.link_cost(run),
                    "answered_share": run.answered_share,
                }
                for run in self.runs
            ],
            "targets": [{**attrs.asdict(target), "is_met": target.is_met} for target in self.targets],
        }


def count_link_runs(conditions: LinkConditions) -> int:
    """Return how many runs a measurement has."""
    return len(WAYS) * len(conditions.calls)


async def measure_links(conditions: LinkConditions, *, advance: Callable[[], None]) -> LinkMeasurement:
    """Measure each way with each number of calls; this process stays on one processor, the agent on another.

    Errors: BenchError when the agent does not start.
    """
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {processors[0]})
    runs = []
    try:
        for calls in conditions.calls:
            for way in WAYS:
                runs.append(await _measure(way, calls, conditions, processors[-1]))
                advance()
    finally:
        os.sched_setaffinity(0, processors)
    return LinkMeasurement(
        conditions=conditions,
        machine=f"{platform.system()} {platform.release()}, {len(processors)} processors",
        runs=runs,
    )


async def _measure(way: Way, count: int, conditions: LinkConditions, processor: int) -> LinkRun:
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        agent: Agent = _say_back
        if way != "none":
            command = [sys.executable, "-m", "voicegate.bench.link_agent", _FORMATS[conditions.format]]
            _, said = await stack.enter_async_context(open_program("the agent", command, processor=processor))
            url = f"ws://127.0.0.1:{said['port']}/"
            agent = await nursery.start(run_link_agent, url, LinkOptions(shape=way))
        calls = [new_call(number, form=conditions.format) for number in range(count)]
        for call, _ in calls:
            nursery.start_soon(_answer, agent, call)
        media = [media for _, media in calls]
        with trio.move_on_after(_PATIENCE):
            while not all(each.answered for each in media):
                await _play(media, _WARM_UP)
        before, heard, answered = _processor_time(), _count(media, "heard"), _count(media, "answered")
        seconds, missed = await _play(media, conditions.seconds)
        run = LinkRun(
            way=way,
            calls=count,
            seconds=seconds,
            cpu=_processor_time() - before,
            heard=_count(media, "heard") - heard,
            answered=_count(media, "answered") - answered,
            slots_missed=missed,
        )
        nursery.cancel_scope.cancel()
    return run


async def _answer(agent: Agent, call: Call) -> None:
    try:
        await agent(call)
    finally:
        call.close()


async def _say_back(call: Call) -> None:
    """Echo, in this process."""
    if call.metadata["format"] == "pcm16":
        call.use_rate(24_000)
    call.listen(_Echo(call, is_encoded=call.metadata["format"] == "opus"))
    await trio.sleep_forever()


class _Echo:
    """Says back what it hears."""

    def __init__(self, call: Call, *, is_encoded: bool) -> None:
        self.is_encoded = is_encoded
        self._output = call.audio_out

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        if isinstance(frame, EncodedFrame):
            self._output.send_packet_nowait(frame.payload, frame.ticks)
        else:
            self._output.send_nowait(frame.pcm)


async def _play(media: Sequence[LinkMedia], seconds: float) -> tuple[float, int]:
    """Let time pass in all calls; return how much, and the slots that were missed, in which nobody spoke."""
    slots = [media[number::_SLOTS] for number in range(_SLOTS)]
    began_at = trio.current_time()
    slot = missed = 0
    while slot * _SLOT < seconds:
        await trio.sleep_until(began_at + slot * _SLOT)
        for each in slots[slot % _SLOTS]:
            each.pass_frame()
        following = max(int((trio.current_time() - began_at) / _SLOT), slot + 1)
        missed += following - slot - 1
        slot = following
    return trio.current_time() - began_at, missed


def _count(media: Sequence[LinkMedia], name: Literal["heard", "answered"]) -> int:
    return sum(each.heard if name == "heard" else each.answered for each in media)


def _processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
