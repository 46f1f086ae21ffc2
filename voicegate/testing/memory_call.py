"""A call from the codec up, without a network: what the transceiver is to an agent, slot after slot."""

from collections import deque
from collections.abc import Mapping
from itertools import count
from math import inf
from typing import Any, Final

import trio

from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES
from voicegate.call import (
    Agent,
    AgentNotice,
    AgentReport,
    AudioFrame,
    Call,
    CallEvent,
    ChannelOpened,
    Connected,
    EncodedFrame,
    EndCause,
    GoingAway,
    Wants,
)
from voicegate.errors import UsageError
from voicegate.event_socket import EventSocket
from voicegate.realtime import ClientSession
from voicegate.realtime.notice import InputDtmf
from voicegate.realtime.session import RealtimeSession
from voicegate.sdp import AudioParameters
from voicegate.testing.memory_channel import MemoryChannels
from voicegate.testing.plain_codec import PlainCodec
from voicegate.transceiver.control import MediaControl
from voicegate.transceiver.conversation import Conversation
from voicegate.transceiver.downlink import Downlink
from voicegate.wire.json_value import JSONObject

__all__ = ["MemoryCall", "Microphone"]

_SLOT_SECONDS: Final = 1 / FRAMES_PER_SECOND
_PAYLOAD_TYPE: Final = 96
_CALL_ID: Final = "rtc_test"


class Microphone:
    """The client's voice, 20 ms in each slot; silence when there is nothing to say."""

    def __init__(self, codec: PlainCodec) -> None:
        self.wants: Wants = "pcm"
        """As the uplink has it."""
        self._codec = codec
        self._frames: deque[bytes] = deque()
        self._ticks = 0
        self._spoken = trio.Event()

    def push(self, pcm: bytes) -> None:
        """Have samples at the codec's own rate said behind what is still to be said."""
        size = len(self._codec.silence)
        self._frames.extend(
            pcm[start : start + size].ljust(size, b"\0") for start in range(0, len(pcm), size)
        )

    async def wait_spoken(self) -> None:
        """Wait until all has been said, or nothing more can be."""
        await trio.lowlevel.checkpoint()
        while self._frames:
            await self._spoken.wait()

    def close(self) -> None:
        """Say nothing more."""
        self._frames.clear()
        self._spoken.set()

    def pull(self) -> AudioFrame | EncodedFrame | None:
        """Take what is said in this slot, as the agent wants it."""
        payload = self._frames.popleft() if self._frames else self._codec.silence
        if not self._frames:
            self._spoken.set()
            self._spoken = trio.Event()
        ticks, self._ticks = self._ticks, self._ticks + len(payload) // SAMPLE_BYTES
        if self.wants == "nothing":
            return None
        if self.wants == "encoded":
            return EncodedFrame(payload, len(payload) // SAMPLE_BYTES, ticks & 0xFFFFFFFF)
        rate = self._codec.sample_rate
        return AudioFrame(self._codec.decode(payload), rate, ticks * rate // self._codec.clock_rate)


class MemoryCall:
    """One call, its agent, and its client's session.

    Args:
        agent: Answers the call.
        agents: To which it can be given, by name.
        metadata: What the client sent with its offer.
        session: What the client wants of its session.
        rate: Samples per second on the way.
        has_channels: Whether the client offers data channels.
        max_seconds: How long the call may last.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        agents: Mapping[str, Agent],
        metadata: Mapping[str, Any],
        session: JSONObject | None,
        rate: int,
        has_channels: bool,
        max_seconds: float,
    ) -> None:
        self.heard: Final = bytearray()
        """All that the client has heard, silence and all."""
        self.cause: EndCause | None = None
        self.detail = ""
        self.failure: BaseException | None = None
        """What the agent raised."""
        self.ended: Final = trio.Event()
        self.played: Final = trio.lowlevel.ParkingLot()
        """Whoever waits here is woken after each slot."""
        self._agent = agent
        self._agents = agents
        self._next_agent: Agent | None = None
        self._metadata = metadata
        self._wanted_session = session
        self._max_seconds = max_seconds
        self._numbers = count(1)  # Not random: what a test has seen once, it sees again.
        self._is_attached = trio.Event()
        self._scope = trio.CancelScope()
        self._stay_scope = trio.CancelScope()
        self._agent_scope = trio.CancelScope()
        codec = PlainCodec(rate)
        self.microphone: Final = Microphone(codec)
        self._downlink = Downlink(_parameters(codec), codec)
        self._sequence_number = 0
        self._control = MediaControl(
            self._downlink,
            self.microphone,
            codec,
            clock=trio.current_time,
            end=self.end,
            report=self._report,
            expect=self._expect,
            transfer=self._transfer,
        )
        self.channels: Final = MemoryChannels(is_offered=has_channels, tell=self._push_event)
        self._conversation = Conversation(
            self._control, None, open_session=self._open_session, surroundings=self
        )
        self._call = self._open_call()
        self._call.push_event(Connected(0.0))

    # The life

    async def run(self, socket: EventSocket) -> None:
        """Let the agent answer, until the call ends; the client's events come and go on the socket."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._conversation.attach, socket)
            await self._is_attached.wait()
            try:
                with self._scope:
                    nursery.start_soon(self._play)
                    with trio.move_on_after(self._max_seconds), self._stay_scope:
                        await self._run_agents()
                    if self._stay_scope.cancelled_caught:
                        self.end(EndCause.SERVER_DRAINED, "the server goes away")
                    self.end(EndCause.MAX_DURATION, f"{self._max_seconds:.0f} s are over")
            finally:
                self.end(EndCause.SERVER_STOPPED, "the test is over")
                self._call.close()
                self.channels.close()
                self._conversation.close()
                self.microphone.close()
                self.ended.set()
                self.played.unpark_all()

    async def _run_agents(self) -> None:
        agent: Agent | None = self._agent
        while agent is not None:
            with trio.CancelScope() as self._agent_scope:
                try:
                    await agent(self._call)
                except* Exception as failures:
                    self.failure = failures.exceptions[0] if len(failures.exceptions) == 1 else failures
                    self.end(EndCause.AGENT_FAILED, ", ".join(map(repr, failures.exceptions)))
            agent, self._next_agent = self._next_agent, None
            if agent is not None:
                self._control.resume()
                await self._call.audio_out.drain()
                self._call.close()
                self._conversation.release_agent(now=trio.current_time())
                self._call = self._open_call()
                self._announce()
        if self._control.is_hanging_up:
            await trio.sleep_forever()  # until all that it said has been played
        self.end(EndCause.AGENT_FINISHED, "the agent returned")

    async def _play(self) -> None:
        start, slots = trio.current_time(), 0
        while self.cause is None:
            slots += 1
            await trio.sleep_until(start + slots * _SLOT_SECONDS)
            self._play_slot(trio.current_time())

    def _play_slot(self, now: float) -> None:
        frame = self.microphone.pull()
        if frame is not None:
            self._control.handle_frame(frame, now=now)
        is_first = True
        while is_first or not self._downlink.is_slot_over:
            is_first = False
            payload, ticks, _ = self._downlink.next_payload()
            size = ticks * SAMPLE_BYTES
            # Nothing is sent for so long, or something that is no samples: an agent's own packet.
            self.heard.extend(payload if len(payload) == size else bytes(size))
            if payload:
                self._downlink.note_sent(self._sequence_number, now=now)
                self._sequence_number = (self._sequence_number + 1) & 0xFFFF
        self.follow()
        self._conversation.handle_timeout(now=now)
        self.played.unpark_all()

    def press(self, digit: str, duration_ms: int) -> None:
        """Have a key of the client's telephone pressed."""
        self._conversation.handle_notice(InputDtmf(digit, duration_ms), now=trio.current_time())

    def leave(self, seconds: float) -> None:
        """Have the server go away."""
        now = trio.current_time()
        self._stay_scope.deadline = now + seconds
        self._push_event(GoingAway(seconds))
        self._conversation.leave(seconds=seconds, now=now)

    # What surrounds the conversation

    def tell(self, notice: AgentNotice) -> None:
        """Let the agent know."""
        self._push_event(notice)

    def follow(self) -> None:
        """Hand on what the media have to tell."""
        now = trio.current_time()
        while (event := self._control.poll_event()) is not None:
            self._push_event(event)
            self._conversation.handle_event(event, now=now)
        while (notice := self._control.poll_notice()) is not None:
            self._conversation.handle_notice(notice, now=now)

    def let_out(self, now: float) -> None:
        """Do nothing: all is out at once."""

    def end(self, cause: EndCause, detail: str) -> None:
        """End the call; the first cause given is the one that counts."""
        if self.cause is None:
            self.cause, self.detail = cause, detail
        self._scope.cancel()

    # Internals

    def _open_call(self) -> Call:
        return Call(_CALL_ID, control=self._control, metadata=self._metadata, link=self.channels)

    def _announce(self) -> None:
        self._call.push_event(Connected(0.0))
        for channel in self.channels.channels.values():
            self._call.push_event(ChannelOpened(channel))
        if self._stay_scope.deadline < inf:
            seconds = self._stay_scope.deadline - trio.current_time()
            self._call.push_event(GoingAway(round(max(0.0, seconds), 3)))

    def _open_session(self, now: float) -> ClientSession:
        self._is_attached.set()  # This is what an attached client brings about.
        return RealtimeSession(
            session_id="sess_test",
            transport="webrtc",
            model="test",
            session=self._wanted_session,
            random=lambda size: next(self._numbers).to_bytes(size),
            now=now,
        )

    def _push_event(self, event: CallEvent) -> None:
        self._call.push_event(event)

    def _report(self, report: AgentReport) -> None:
        self._conversation.handle_report(report, now=trio.current_time())

    def _expect(self, response_id: str | None) -> None:
        self._conversation.expect_output(response_id, now=trio.current_time())

    def _transfer(self, agent: Agent | str) -> None:
        if isinstance(agent, str):
            if agent not in self._agents:
                raise UsageError(f"no agent is called {agent!r}")
            agent = self._agents[agent]
        self._next_agent = agent
        self._agent_scope.cancel()


def _parameters(codec: PlainCodec) -> AudioParameters:
    return AudioParameters(
        mid="0",
        codec=codec.name,
        payload_type=_PAYLOAD_TYPE,
        clock_rate=codec.clock_rate,
        channels=1,
        fmtp={},
        direction="sendrecv",
        remote_ssrcs=(),
        extensions=(),
        has_rtcp_reduced_size=False,
        packet_time_ms=None,
    )
