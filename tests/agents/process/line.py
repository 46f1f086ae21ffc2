"""A call without a network, whose media a test plays by hand, and its agent at the other end of a link."""

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, Unpack

import trio

from voicegate.agents.process.host import run_host
from voicegate.agents.process.outbox import Outbox
from voicegate.agents.process.proxy import Conversation
from voicegate.call import (
    Agent,
    AgentReport,
    AudioFrame,
    AudioListener,
    Call,
    EncodedFrame,
    Interruption,
    OutputState,
    TurnModel,
)
from voicegate.channel import ChannelOptions, DataChannel, Message
from voicegate.datachannel import Channel
from voicegate.errors import UsageError

RATE = 48_000
SECOND = bytes(2 * RATE)
MODULE = "tests.agents.process.naughty"


class FakeMedia:
    """A `CallControl` that notes what it is told, and plays when it is told to."""

    def __init__(self) -> None:
        self.sample_rate = self.clock_rate = RATE
        self.codec = "opus"
        self.listener: AudioListener | None = None
        self.told: list[object] = []
        self.queue = bytearray()
        self.packets: list[tuple[bytes, int, str | None]] = []
        self.played = bytearray()
        self.speech_start = 0

    def use_rate(self, sample_rate: int) -> None:
        if self.queue:
            raise UsageError("there was audio already")
        self.told.append(("use_rate", sample_rate))
        self.sample_rate = sample_rate

    def set_listener(self, listener: AudioListener | None) -> None:
        self.listener = listener

    def loop_back(self) -> None:
        self.told.append("loop_back")

    def detect_speech(
        self,
        *,
        silence_ms: int,
        barge_in: bool,
        turn_model: TurnModel | None,
        detector: Literal["webrtc", "silero"],
    ) -> None:
        self.told.append(("detect_speech", silence_ms, barge_in, turn_model, detector))

    def end_turn(self) -> None:
        self.told.append("end_turn")

    def pre_roll(self, ms: int) -> bytes:
        raise NotImplementedError

    def push_pcm(self, pcm: bytes, *, response_id: str | None) -> None:
        if not self.queue:
            self.speech_start = len(self.played)
        self.queue += pcm

    def push_packet(self, payload: bytes, ticks: int, *, response_id: str | None) -> None:
        self.packets.append((payload, ticks, response_id))

    def clear(self) -> Interruption:
        state = self.output_state()
        self.told.append("clear")
        self.queue.clear()
        return Interruption(state.heard_ms, state.queued_ms)

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def mark(self, name: str) -> None:
        self.told.append(("mark", name, len(self.queue)))

    def cancel_response(self, response_id: str) -> None:
        self.told.append(("cancel_response", response_id))

    def output_state(self) -> OutputState:
        per_ms = self.sample_rate // 500
        heard = len(self.played) - self.speech_start
        return OutputState(-(-len(self.queue) // per_ms), heard // per_ms, None, False)

    def report(self, event: AgentReport) -> None:
        self.told.append(event)

    def transfer(self, agent: Agent | str) -> None:
        self.told.append(("transfer", agent))

    def hang_up(self, *, after: Literal["now", "drain"]) -> None:
        self.told.append(("hang_up", after, len(self.queue)))

    # What a test does

    def play(self, ms: int) -> None:
        size = ms * self.sample_rate // 500
        self.played += self.queue[:size]
        del self.queue[:size]

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        assert self.listener is not None
        self.listener.hear(frame)


class FakeLink:
    """Keeps what is posted, by lane."""

    def __init__(self) -> None:
        self.outbox = Outbox(audio_limit=100_000, control_limit=0)
        self.posted: list[object] = []
        self.spoken: list[object] = []
        self.is_full = False

    def post(self, _call: int, message: object) -> None:
        self.posted.append(message)

    def post_audio(self, _call: int, message: object, *, is_kept: bool = False) -> bool:
        if not self.is_full:
            self.spoken.append(message)
        return not self.is_full

    async def wait_room(self) -> None:
        await trio.lowlevel.checkpoint()


class FakeChannels:
    """A `ChannelLink` whose client does what a test says."""

    def __init__(self) -> None:
        self.channels: dict[int, DataChannel] = {}
        self.is_closed = False
        self.is_offered = True
        self.sent: list[tuple[int, str | bytes]] = []
        self.unacknowledged: dict[int, int] = {}
        self.incoming: list[Message] = []
        self.taken = 0
        self.waiting = trio.lowlevel.ParkingLot()

    def open_channel(self, label: str, **options: Unpack[ChannelOptions]) -> DataChannel:
        negotiated_id = options.get("negotiated_id")
        number = 2 * len(self.channels) + 1 if negotiated_id is None else negotiated_id
        return self.admit(Channel(id=number, label=label, protocol=options.get("protocol", "")))

    def admit(self, channel: Channel) -> DataChannel:
        known = self.channels[channel.id] = DataChannel(self, channel)
        self.unacknowledged[channel.id] = 0
        return known

    def close_channel(self, channel_id: int) -> None:
        del self.channels[channel_id]

    def send_message(self, channel_id: int, data: str | bytes) -> None:
        if data == "too long":
            raise UsageError("a message of 8 bytes, and the peer takes 7")
        self.sent.append((channel_id, data))
        self.unacknowledged[channel_id] += len(data)

    def buffered(self, channel_id: int) -> int:
        return self.unacknowledged[channel_id]

    def take_message(self) -> Message | None:
        if not self.incoming:
            return None
        self.taken += 1
        return self.incoming.pop(0)

    async def wait_progress(self) -> None:
        await self.waiting.park()

    def say(self, *messages: Message) -> None:
        self.incoming += messages
        self.waiting.unpark_all()


class Line:
    """One call, and what came of its agent."""

    def __init__(self, **metadata: Any) -> None:
        self.media = FakeMedia()
        self.channels = FakeChannels()
        self.call = Call("rtc_u0_x", control=self.media, metadata=metadata, link=self.channels)
        self.ended = trio.Event()
        self.error: Exception | None = None
        self.scope = trio.CancelScope()

    async def run(self, agent: Agent) -> None:
        """Be the call's owner."""
        try:
            with self.scope:
                await agent(self.call)
        except Exception as error:
            self.error = error
        finally:
            self.ended.set()
            self.call.close()

    def report(self) -> list[object]:
        """What the agent has marked: naughty agents tell this way what they saw."""
        return [told[1] for told in self.media.told if isinstance(told, tuple) and told[0] == "mark"]


async def wait_until(is_so: Callable[[], object]) -> None:
    """Wait until something is so; it is up to the test's own deadline to give up."""
    while not is_so():
        await trio.sleep(0.002)


@asynccontextmanager
async def open_agent(function: str) -> AsyncIterator[Agent]:
    """Have an agent at the other end of a link, but in this process."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        conversation = Conversation(f"{MODULE}:{function}", trio.socket.from_stdlib_socket(ours))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_host, trio.socket.from_stdlib_socket(theirs))
            nursery.start_soon(conversation.run)
            await conversation.ready.wait()
            yield conversation.answer
            nursery.cancel_scope.cancel()


def open_line(nursery: trio.Nursery, agent: Agent, metadata: Mapping[str, Any] | None = None) -> Line:
    line = Line(**(metadata or {}))
    nursery.start_soon(line.run, agent)
    return line
