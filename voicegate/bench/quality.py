"""Speaks to servers over bad lines and listens to what they say back: ours, in both modes, and the reference.

All decode what they hear and encode it again. They get the same packets with the same faults at the same
time; the way back is good, so what is heard is what the server's receiving side made of it.
"""

import datetime
import os
import platform
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec
from statistics import median
from typing import Final

import httpx2
import trio

from voicegate.audio.opus import OpusEncoder
from voicegate.audio.opus_packet import CLOCK_RATE
from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES
from voicegate.bench.program import open_program
from voicegate.bench.quality_caller import Conversation, make_call
from voicegate.bench.quality_figure import (
    BadLine,
    Contender,
    QualityCall,
    QualityConditions,
    QualityMeasurement,
    Recovery,
)
from voicegate.bench.quality_line import Impairment
from voicegate.bench.quality_score import Heard, Part, find_parts, read_speech, require_zimtohrli, score
from voicegate.dtls import Certificate
from voicegate.errors import UsageError
from voicegate.testing.sound import Sound, silence

__all__ = ["count_calls", "measure_quality"]

_FRAME_SAMPLES: Final = CLOCK_RATE // FRAMES_PER_SECOND

_BEFORE_SECONDS: Final = 0.5
_AFTER_SECONDS: Final = 0.4

_PRIORITY: Final = -20

_COMPLEXITY: Final = 9
"""What browsers encode with."""

_RECOVERY_SPEECHES: Final = 3
"""How often the speech is said around the burst of jitter."""
_RECOVERY_PART_SECONDS: Final = 0.6
"""Short enough to see the delay change, long enough to be found."""


async def measure_quality(
    conditions: QualityConditions, *, advance: Callable[[], None]
) -> QualityMeasurement:
    """Make all calls.

    Args:
        conditions: Which.
        advance: Called after each of `count_calls`.

    Errors: BenchError, UsageError: something is missing or went wrong.
    """
    require_zimtohrli()
    if Contender.AIORTC in conditions.contenders and find_spec("aiortc") is None:
        raise UsageError("aiortc is missing: pip install 'voicegate-server[bench]', or --no-reference")
    with _prioritised():
        async with (
            _open_servers(conditions.contenders) as servers,
            httpx2.AsyncClient(trust_env=False) as http,
        ):
            bench = _Bench(conditions, servers, http, advance)
            await bench.run()
            if conditions.has_recovery:
                await bench.recover()
    return QualityMeasurement(
        conditions=conditions,
        machine=f"{platform.system()} {platform.release()}, {len(os.sched_getaffinity(0))} processors",
        calls=bench.calls,
        recoveries=bench.recoveries,
    )


def count_calls(conditions: QualityConditions) -> int:
    """Return how many calls a measurement has."""
    rounds = len(conditions.lines) * conditions.runs + conditions.has_recovery
    return rounds * len(conditions.contenders)


@contextmanager
def _prioritised() -> Iterator[None]:
    """Let servers and callers go before whatever else runs here, if we may: a stall sounds like a fault."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


@asynccontextmanager
async def _open_servers(contenders: Sequence[Contender]) -> AsyncIterator[Mapping[Contender, str]]:
    """Run all servers, on one processor; yields their addresses."""
    processor = max(os.sched_getaffinity(0))
    async with AsyncExitStack() as stack:
        servers: dict[Contender, str] = {}
        for contender in contenders:
            name, *arguments = (
                ["aiortc_server", "127.0.0.1", "echo"]
                if contender is Contender.AIORTC
                else ["quality_server", contender.value]
            )
            command = [sys.executable, "-m", f"voicegate.bench.{name}", *arguments]
            opened = open_program(contender.title, command, processor=processor)
            _, said = await stack.enter_async_context(opened)
            servers[contender] = f"http://127.0.0.1:{said['port']}"
        yield servers


class _Script:
    """What a caller says, and which of it is to be looked for when."""

    def __init__(self, speech: Sound, parts: Sequence[Part], *, before: Sound, loss: float) -> None:
        self.speech: Final = speech
        self.parts: Final = parts
        self._offset = len(before.samples)
        self.payloads: Final = _encode(before + speech + silence(_AFTER_SECONDS), loss)

    def said_at(self, conversation: Conversation) -> list[float]:
        """Return when each part was said."""
        times: list[float] = []
        for part in self.parts:
            frame, rest = divmod(self._offset + part.start, _FRAME_SAMPLES)
            # The packet leaves when its last sample was said.
            times.append(conversation.said_at[frame] - (_FRAME_SAMPLES - rest) / CLOCK_RATE)
        return times


class _Bench:
    """All calls, some at a time; they are scored while none is under way, which would disturb it."""

    def __init__(
        self,
        conditions: QualityConditions,
        servers: Mapping[Contender, str],
        http: httpx2.AsyncClient,
        advance: Callable[[], None],
    ) -> None:
        self.calls: list[QualityCall] = []
        self.recoveries: list[Recovery] = []
        self._conditions = conditions
        self._servers = servers
        self._http = http
        self._advance = advance
        made_at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        self._certificate = Certificate.generate(not_before=made_at)
        speech = read_speech()
        self._speech = speech.cut(0.0, min(speech.seconds, conditions.speech))

    async def run(self) -> None:
        """Speak over each line."""
        rounds = [(line, run) for run in range(self._conditions.runs) for line in self._conditions.lines]
        end = self._speech.seconds
        warm_up = self._speech.cut(end - min(end, self._conditions.warm_up), end)
        before, parts = silence(_BEFORE_SECONDS) + warm_up, find_parts(self._speech)
        scripts = {
            loss: _Script(self._speech, parts, before=before, loss=loss)
            for loss in {line.impairment.loss for line in self._conditions.lines}
        }
        for start in range(0, len(rounds), self._conditions.at_once):
            batch = [
                (contender, line, run)
                for line, run in rounds[start : start + self._conditions.at_once]
                for contender in self._conditions.contenders
            ]
            made = await self._call_all(
                [
                    (contender, scripts[line.impairment.loss], line.impairment, run)
                    for contender, line, run in batch
                ]
            )
            for (contender, line, run), conversation in zip(batch, made, strict=True):
                script = scripts[line.impairment.loss]
                self.calls.append(_judge(script, contender, line, run, conversation))

    async def recover(self) -> None:
        """See what a burst of jitter does to the delay."""
        speech = self._speech
        for _ in range(_RECOVERY_SPEECHES - 1):
            speech = speech + self._speech
        parts = find_parts(speech, longest=_RECOVERY_PART_SECONDS)
        script = _Script(speech, parts, before=silence(_BEFORE_SECONDS), loss=0.0)
        contenders, burst = self._conditions.contenders, self._conditions.burst
        made = await self._call_all([(contender, script, burst, 0) for contender in contenders])
        for contender, conversation in zip(contenders, made, strict=True):
            heard, said_at = Heard(conversation.arrivals), script.said_at(conversation)
            found = zip(said_at, heard.delays(speech, parts, said_at), strict=True)
            began_at = conversation.said_at[0]
            self.recoveries.append(
                Recovery(
                    contender=contender,
                    began_at=burst.begins,
                    ended_at=burst.ends,
                    delays=[(at - began_at, delay) for at, delay in found if delay is not None],
                )
            )

    async def _call_all(
        self, calls: Sequence[tuple[Contender, _Script, Impairment, int]]
    ) -> list[Conversation]:
        """Make calls at the same time; the number is the seed of the line."""
        made: dict[int, Conversation] = {}

        async def call(index: int) -> None:
            contender, script, impairment, seed = calls[index]
            made[index] = await make_call(
                self._http,
                self._servers[contender],
                script.payloads,
                impairment,
                certificate=self._certificate,
                seed=seed,
            )
            self._advance()

        async with trio.open_nursery() as nursery:
            for index in range(len(calls)):
                nursery.start_soon(call, index)
        return [made[index] for index in range(len(calls))]


def _judge(
    script: _Script, contender: Contender, line: BadLine, seed: int, conversation: Conversation
) -> QualityCall:
    heard = Heard(conversation.arrivals)
    result = score(script.speech, script.parts, script.said_at(conversation), heard)
    delays = [delay for delay in result.delays if delay is not None]
    bits = 8 * sum(len(arrival.payload) for arrival in conversation.arrivals)
    return QualityCall(
        contender=contender,
        line=line.name,
        seed=seed,
        opinion=result.opinion,
        delay=median(delays) if delays else None,
        lateness=heard.lateness,
        stall=conversation.stall,
        bitrate=bits / heard.sound.seconds if heard.sound.seconds else 0.0,
        parts_found=len(delays),
        parts=len(script.parts),
    )


def _encode(sound: Sound, loss: float) -> list[bytes]:
    """Encode as a browser does that has been told of so much loss."""
    # Browsers code speech as speech even where they expect no loss.
    expected = max(1, round(loss * 100))
    encoder = OpusEncoder(complexity=_COMPLEXITY, inband_fec=True, expected_loss_percent=expected)
    pcm, size = sound.pcm, _FRAME_SAMPLES * SAMPLE_BYTES
    return [encoder.encode(pcm[at : at + size]) for at in range(0, len(pcm) - size + 1, size)]
