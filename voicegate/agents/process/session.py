"""A call whose agent is in another process: what it hears goes there, and what it wants is done here."""

import json
from contextlib import suppress
from typing import Final
from weakref import WeakKeyDictionary

import structlog
import trio

from voicegate.agents.process.message import (
    UNCOUNTED,
    AgentFailed,
    AgentReturned,
    CallClosed,
    CallOpened,
    ChannelAdmitted,
    ChannelAnnounced,
    ChannelAsked,
    ChannelDismissed,
    ChannelMessage,
    ChannelProgressed,
    DetectionAsked,
    HangUpAsked,
    MessagesTaken,
    Order,
    OutputCleared,
    OutputCut,
    OutputFilled,
    OutputReported,
    RateChosen,
    ResponseDropped,
    SpeechMarked,
    SpeechPushed,
    TransferAsked,
    WantsChosen,
    message_size,
)
from voicegate.agents.process.sender import Sender
from voicegate.call import (
    AgentReport,
    AudioFrame,
    Call,
    ChannelClosed,
    ChannelOpened,
    EncodedFrame,
    GoingAway,
    Interrupted,
)
from voicegate.channel import DataChannel
from voicegate.errors import UsageError, VoicegateError, WireError

__all__ = ["AgentProcessError", "Session", "speech_ticks"]

MESSAGE_WINDOW: Final = 1_048_576
"""Bytes of the client's messages that the agent may have unread in its process; the others hold the client
back, as they would without the link."""

_REPORTS_IN_VAIN: Final = 50
"""Looks at an output that has not changed until it is taken for silent: a second, in which the client's
report on the last of it can still come."""

_FULL_MS: Final = 40_000
"""Waiting to be played: the agent is told to send no more, as the queue keeps but a minute."""

_ROOM_MS: Final = 20_000
"""Waiting at which it may go on."""

FIRST_NUMBER: Final = 65_536
"""Of channels that agents open, as their streams are only chosen here; above all ids of streams."""

TICKS_PER_SECOND: Final = 48_000
"""Sound is counted in these, of which every sample rate and every RTP clock of ours is a part."""


_log = structlog.get_logger(__name__)


class AgentProcessError(VoicegateError):
    """An agent in its own process raised, asked for what can't be, or died with its process.

    What it said is in the notes.
    """


class Session:
    """One call, as the media process has it.

    Args:
        number: What the link calls it.
        call: Its owner's.
        link: To the process of the agent.
        wants_packets: Whether the client's voice goes to the agent as it came.
        error: What is raised for a fault of the agent's.
    """

    def __init__(
        self,
        number: int,
        call: Call,
        link: Sender,
        *,
        wants_packets: bool = False,
        error: "type[AgentProcessError] | None" = None,
    ) -> None:
        self.number: Final = number
        self._call = call
        self._link = link
        self._ended = trio.Event()
        self._error_type = error or AgentProcessError
        self._error: AgentProcessError | None = None
        self._wants_packets = wants_packets
        # What the agent's end has to know of the output
        self._received = 0
        self._clears = 0
        self._interruptions = 0
        self._reported: OutputReported | None = None
        self._in_vain = 0
        self._is_full = False
        self._leaves_at: float | None = None
        # Channels by their numbers on the link, and how much the agent has sent on each
        self._channels: dict[int, DataChannel] = {}
        self._numbers: WeakKeyDictionary[DataChannel, int] = WeakKeyDictionary()
        self._sent: dict[int, int] = {}
        self._acknowledged: dict[int, int] = {}
        self._unread = 0
        self._read = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Let the agent have the call until it has finished with it.

        Errors: AgentProcessError.
        """
        self._introduce(is_restart=False)
        self._hear_earlier()
        self._call.listen(_Ear(self, is_encoded=self._wants_packets))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._forward_events)
                nursery.start_soon(self._forward_messages)
                await self._ended.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.post(CallClosed())
            if dropped := self._call.audio_in_dropped:
                _log.warning("agent process was behind", call=self._call.id, frames_dropped=dropped)
        if self._error is not None:
            raise self._error

    def _hear_earlier(self) -> None:
        """Pass on what was said while the call waited for an agent."""
        with suppress(trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
            while not self._wants_packets:
                frame = self._call.audio_in.receive_nowait()
                if frame.sample_rate == self._call.sample_rate:
                    self.hear(frame)

    def restart(self) -> None:
        """Let an agent have the call that knows nothing of it, as the one before is lost."""
        self._link.outbox.discard_audio(self.number)
        self._received = self._clears = self._interruptions = self._unread = 0
        self._reported, self._is_full = None, False
        self._channels.clear()
        self._numbers.clear()
        self._sent.clear()
        self._acknowledged.clear()
        self._introduce(is_restart=True)
        if self._leaves_at is not None:
            self.post(GoingAway(round(max(0.0, self._leaves_at - trio.current_time()), 3)))
        self._call.listen(_Ear(self, is_encoded=self._wants_packets))
        self._read.unpark_all()

    def end(self, error: str | None = None, note: str = "") -> None:
        """The agent has finished, or failed."""
        if error is not None:
            self._error = self._error_type(error)
            if note:
                self._error.add_note(note)
        self._ended.set()

    def refuse(self, fault: str) -> None:
        """The agent asks for what can't be, as its own code could not."""
        self.end(fault)

    # To the agent

    @property
    def sample_rate(self) -> int:
        """Of PCM, both ways."""
        return self._call.sample_rate

    def _introduce(self, *, is_restart: bool) -> None:
        self.post(
            CallOpened(
                call_id=self._call.id,
                sample_rate=self._call.sample_rate,
                codec=self._call.codec,
                clock_rate=self._call.clock_rate,
                metadata=json.dumps(dict(self._call.metadata)),
                has_channels=self._call.has_channels,
                is_restart=is_restart,
            )
        )
        for channel in self._call.channels.values():
            self._admit(channel)

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        """Pass a frame on; what the agent's process is too far behind to read is dropped, oldest first."""
        if not self._link.post_audio(self.number, frame):
            self._call.note_dropped()

    def report(self) -> bool:
        """Tell how the output and the channels do, if they do; return whether to ask again in a moment."""
        output = self._call.audio_out
        report = OutputReported(self._received, self._clears, output.queued_ms, output.heard_ms)
        self._in_vain += 1
        if report != self._reported:
            self._reported = report
            self._in_vain = 0
            self.post(report)
            if (report.queued_ms > (_ROOM_MS if self._is_full else _FULL_MS)) != self._is_full:
                self._is_full = not self._is_full
                self.post(OutputFilled(is_full=self._is_full, queued_ms=report.queued_ms))
        for number, sent in self._sent.items():
            acknowledged = sent - self._channels[number].buffered_bytes
            if acknowledged != self._acknowledged.get(number):
                self._acknowledged[number] = acknowledged
                self._in_vain = 0
                self.post(ChannelProgressed(number=number, acknowledged=acknowledged))
        return self._in_vain < _REPORTS_IN_VAIN and not self._ended.is_set()

    async def _forward_events(self) -> None:
        async for event in self._call.events:
            match event:
                case ChannelOpened(channel=channel):
                    self.post(ChannelAnnounced(number=self._admit(channel)))
                case ChannelClosed(channel=channel):
                    self._dismiss(channel)
                case _:
                    if isinstance(event, Interrupted):
                        self._interruptions += 1
                    elif isinstance(event, GoingAway):
                        self._leaves_at = trio.current_time() + event.seconds
                    self.post(event)
            # While the agent's process is behind, events wait in the call, where there is a limit to them.
            await self._link.wait_room()

    async def _forward_messages(self) -> None:
        with suppress(trio.EndOfChannel):
            while True:
                channel, data = await self._call.messages.receive()
                size = message_size(data)
                self._unread += size
                self.post(ChannelMessage(number=self._admit(channel), data=data))
                while self._unread > MESSAGE_WINDOW:
                    await self._read.park()
                await self._link.wait_room()

    def post(self, message: object) -> None:
        """Send the agent something about this call."""
        self._link.post(self.number, message)

    # From the agent

    def handle(self, message: object) -> None:
        """Do what the agent wants.

        Errors: WireError for what no agent can want.
        """
        if self._ended.is_set():
            return
        self._in_vain = 0
        try:
            self._handle(message)
        except UsageError as error:
            self.refuse(str(error))
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            return  # The client closed it meanwhile.

    def _handle(self, message: object) -> None:
        call, output = self._call, self._call.audio_out
        match message:
            case SpeechPushed():
                self._play(message)
            case SpeechMarked(interruptions=interruptions, name=name):
                if interruptions in (self._interruptions, UNCOUNTED):
                    output.mark(name)
            case OutputCleared():
                self._clear()
            case ResponseDropped(response_id=response_id):
                output.cancel_response(response_id)
            case Order(kind="pause"):
                output.pause()
            case Order(kind="resume"):
                output.resume()
            case Order(kind="loop_back"):
                call.loop_back()
            case Order(kind="end_turn"):
                call.end_turn()
            case WantsChosen(wants=wants):
                # What nobody wants need not be decoded.
                call.listen(_Ear(self, is_encoded=wants != "pcm", is_deaf=wants == "nothing"))
            case RateChosen(sample_rate=sample_rate):
                call.use_rate(sample_rate)
            case DetectionAsked():
                call.detect_speech(
                    silence_ms=message.silence_ms, barge_in=message.barge_in, detector=message.detector
                )
            case HangUpAsked(after=after):
                call.hangup(after)
            case TransferAsked(agent=agent):
                call.transfer(agent)
            case _ if isinstance(message, AgentReport):
                call.report(message)
            case AgentReturned():
                self.end()
            case AgentFailed(error=error, traceback=traceback):
                self.end(error, traceback)
            case _:
                self._handle_channel(message)

    def _play(self, speech: SpeechPushed) -> None:
        interruptions, ticks, response_id, data = speech
        output = self._call.audio_out
        self._received += speech_ticks(
            speech, sample_rate=self._call.sample_rate, clock_rate=self._call.clock_rate
        )
        if interruptions not in (self._interruptions, UNCOUNTED):
            return  # It crossed with an interruption, which it would have been dropped by.
        if ticks:
            output.send_packet_nowait(data, ticks, response_id=response_id)
        else:
            output.send_nowait(data, response_id=response_id)

    def _clear(self) -> None:
        heard_ms, dropped_ms = self._call.interrupt()
        self._clears += 1
        self._received = 0
        self.post(OutputCut(heard_ms=heard_ms, dropped_ms=dropped_ms))

    # Channels

    def _handle_channel(self, message: object) -> None:
        match message:
            case ChannelAsked(channel=asked):
                if asked.id < FIRST_NUMBER and not asked.is_negotiated:
                    raise UsageError(f"an agent's channels have numbers from {FIRST_NUMBER} on")
                channel = self._call.open_channel(
                    asked.label,
                    protocol=asked.protocol,
                    is_ordered=asked.is_ordered,
                    max_retransmits=asked.max_retransmits,
                    lifetime_ms=asked.lifetime_ms,
                    priority=asked.priority,
                    negotiated_id=asked.id if asked.is_negotiated else None,
                )
                self._channels[asked.id] = channel
                self._numbers[channel] = asked.id
            case ChannelDismissed(number=number) if number in self._channels:
                self._channels[number].close()
            case ChannelMessage(number=number, data=data) if number in self._channels:
                self._sent[number] = self._sent.get(number, 0) + message_size(data)
                self._channels[number].send_nowait(data)
            case ChannelDismissed() | ChannelMessage():
                return
            case MessagesTaken(size=size):
                self._unread -= size
                self._read.unpark_all()
            case _:
                raise WireError(f"{type(message).__name__} for a call")

    def _admit(self, channel: DataChannel) -> int:
        """Return the number of a channel, of which the agent's end is told if it is new."""
        number = self._numbers.get(channel)
        if number is None:
            number = self._numbers[channel] = channel.id
            self._channels[number] = channel
            self.post(ChannelAdmitted(channel=channel.parameters))
        return number

    def _dismiss(self, channel: DataChannel) -> None:
        number = self._admit(channel)
        self.post(ChannelDismissed(number=number))
        if self._channels.get(number) is channel:
            del self._channels[number]
            self._sent.pop(number, None)
            self._acknowledged.pop(number, None)


class _Ear:
    """Takes the client's voice for a session."""

    def __init__(self, session: Session, *, is_encoded: bool, is_deaf: bool = False) -> None:
        self.is_encoded = is_encoded
        self.hear = (lambda _frame: None) if is_deaf else session.hear


def speech_ticks(speech: SpeechPushed, *, sample_rate: int, clock_rate: int) -> int:
    """Return how long it plays, in ticks of 48 kHz."""
    if speech.ticks:
        return speech.ticks * (TICKS_PER_SECOND // clock_rate)
    return len(speech.data) // 2 * (TICKS_PER_SECOND // sample_rate)
