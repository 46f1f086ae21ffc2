"""Test an agent as if somebody called it: by voice, by events, without a network, and in no time.

    async def test_it_greets(autojump_clock):
        async with open_call(agent) as caller:
            assert await caller.hear()

The agent gets a real `voicegate.call.Call`: turns are found by the real detectors, speech is played out 20 ms
at a time, barge-in drops what was not heard, and the client's session is that of the Realtime API. Only
packets, codecs and the network are left out.

With Trio's ``MockClock(autojump_threshold=0)``, which pytest-trio has as fixture ``autojump_clock``, a minute
of conversation takes about a second. That clock jumps as soon as every task waits, so stub what an agent asks
other servers for.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from voicegate.audio.pcm import SAMPLE_BYTES, audioop
from voicegate.audio.resample import Resampler
from voicegate.call import Agent, EndCause
from voicegate.channel import Message
from voicegate.testing.memory_call import MemoryCall
from voicegate.testing.sound import Sound
from voicegate.wire.json_value import JSON, JSONObject

__all__ = ["Caller", "open_call"]

CALL_SECONDS: Final = 300.0
"""No test waits for ever: in jumping time that would be a busy loop."""

_QUIET_SECONDS: Final = 0.5
"""A pause that is longer ends what `Caller.hear` returns."""

_QUIET_LEVEL: Final = 8
"""Samples up to this are silence: a resampler leaves some noise in it."""

_WAV_MAGIC: Final = b"RIFF"


class _Socket:
    """A `voicegate.event_socket.EventSocket` to the client that a test plays."""

    def __init__(self, events: list[dict[str, JSON]]) -> None:
        self.to_session, self._from_client = trio.open_memory_channel[str](float("inf"))
        self.arrivals: Final = trio.lowlevel.ParkingLot()
        self._events = events

    async def receive(self) -> str | None:
        return await self._from_client.receive()

    async def send(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        self._events.append(json.loads(text))
        self.arrivals.unpark_all()

    async def close(self, code: int, reason: str) -> None:  # noqa: ARG002 - nobody is there to read it
        await trio.lowlevel.checkpoint()
        self.arrivals.unpark_all()


class Caller:
    """Who is on the line with the agent under test; waiting ends with EndOfChannel when the call does."""

    def __init__(self, call: MemoryCall, *, rate: int) -> None:
        self.rate: Final = rate
        """Samples per second of what is heard."""
        self.events: Final[list[dict[str, JSON]]] = []
        """All events of the Realtime API that have come so far."""
        self._call = call
        self._socket = _Socket(self.events)
        self._seen = 0

    # Voice

    async def speak(self, sound: Sound | bytes, *, rate: int | None = None) -> None:
        """Say something, and wait until it is said.

        Args:
            sound: A sound, the content of a WAV file, or 16-bit mono samples.
            rate: Samples per second of the latter, if not `Caller.rate`.

        Errors: WireError for a WAV file that is none.
        """
        self._check()
        if isinstance(sound, bytes) and sound.startswith(_WAV_MAGIC):
            sound = Sound.decode(sound)
        if isinstance(sound, Sound):
            pcm, rate = sound.pcm, sound.rate
        else:
            pcm, rate = sound, rate or self.rate
        resampler = Resampler(rate, self.rate)
        self._call.microphone.push(resampler.process(pcm) + resampler.flush())
        await self._call.microphone.wait_spoken()
        self._check()

    @property
    def heard(self) -> bytes:
        """All that was heard since the call began, silence and all: 16-bit mono samples at `Caller.rate`."""
        return bytes(self._call.heard)

    async def listen(self, seconds: float) -> bytes:
        """Return what is heard in the next seconds."""
        start = len(self._call.heard)
        end = start + round(seconds * self.rate) * SAMPLE_BYTES
        while len(self._call.heard) < end:
            await self._wait_slot()
        return bytes(self._call.heard[start:end])

    async def hear(self) -> bytes:
        """Wait until the agent has spoken and fallen silent; return that, without the silence around it.

        What it has said before is in `heard`.
        """
        quiet_bytes = round(_QUIET_SECONDS * self.rate) * SAMPLE_BYTES
        heard = self._call.heard
        start = end = seen = len(heard)
        while end == start or len(heard) - end < quiet_bytes:
            if end != start and self._call.ended.is_set():
                break
            await self._wait_slot()
            if audioop.max(heard[seen:], SAMPLE_BYTES) > _QUIET_LEVEL:
                start = seen if end == start else start
                end = len(heard)
            seen = len(heard)
        return bytes(heard[start:end])

    def press(self, digit: str, *, duration_ms: int = 100) -> None:
        """Press a key of the telephone: ``0`` to ``9``, ``*``, ``#``, ``A`` to ``D``."""
        self._check()
        self._call.press(digit, duration_ms)

    # Events

    def send_event(self, event: JSONObject) -> None:
        """Send an event of the Realtime API."""
        self._check()
        self._socket.to_session.send_nowait(json.dumps(event))

    async def wait_event(self, kind: str) -> dict[str, JSON]:
        """Return the next event of a type, such as ``response.done``; those before it are passed over."""
        while True:
            while self._seen < len(self.events):
                event = self.events[self._seen]
                self._seen += 1
                if event["type"] == kind:
                    return event
            self._check()
            await self._socket.arrivals.park()

    # Data channels

    def send(self, data: str | bytes, *, label: str = "test") -> None:
        """Send a message on a data channel, which is opened if there is none of that label."""
        self._check()
        self._call.channels.send(data, label=label)

    async def receive(self) -> Message:
        """Return the agent's next message, of whatever channel."""
        return await self._call.channels.messages.receive()

    # The end

    def drain(self, *, seconds: float = 60.0) -> None:
        """Have the server go away: the agent gets `voicegate.GoingAway`, and the call may last so long."""
        self._check()
        self._call.leave(seconds)

    @property
    def cause(self) -> EndCause | None:
        """Why the call ended; None as long as it goes on."""
        return self._call.cause

    def hang_up(self) -> None:
        """End the call."""
        self._call.end(EndCause.CLIENT_HANGUP, "the caller hung up")

    async def wait_ended(self) -> EndCause:
        """Wait until the call is over; return why."""
        await self._call.ended.wait()
        return self._call.cause or EndCause.INTERNAL_ERROR

    async def run(self) -> None:
        """Be on the line until the call ends; `open_call` does it."""
        await self._call.run(self._socket)
        self._socket.arrivals.unpark_all()

    # Internals

    def _check(self) -> None:
        if self._call.ended.is_set():
            raise trio.EndOfChannel(f"the call is over: {self._call.detail}")

    async def _wait_slot(self) -> None:
        self._check()
        await self._call.played.park()


@asynccontextmanager
async def open_call(
    agent: Agent,
    *,
    metadata: Mapping[str, Any] | None = None,
    session: JSONObject | None = None,
    agents: Mapping[str, Agent] | None = None,
    rate: int = 48_000,
    has_channels: bool = True,
    max_seconds: float = CALL_SECONDS,
) -> AsyncIterator[Caller]:
    """Call an agent; leaving the block hangs up.

    Args:
        agent: Answers the call.
        metadata: What the client sends with its offer, `Call.metadata`.
        session: How the client wants its session to be: instructions, tools, turn detection.
        agents: Those to which the call can be transferred by name.
        rate: Samples per second on the line: 48000 as with Opus, 16000 as with G.722, 8000 as with G.711.
        has_channels: Whether the client offers data channels.
        max_seconds: How long the call may last.

    Errors: whatever the agent raises comes out of the block.
    """
    call = MemoryCall(
        agent,
        agents=agents or {},
        metadata=metadata or {},
        session=session,
        rate=rate,
        has_channels=has_channels,
        max_seconds=max_seconds,
    )
    caller = Caller(call, rate=rate)
    raised: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller.run)
        try:
            yield caller
        except BaseException as error:  # to be raised bare, outside of the nursery
            raised = error
        caller.hang_up()
    if call.failure is not None:
        raise call.failure from raised
    if raised is not None:
        raise raised
