"""One client on the line, as agent code sees it."""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, Literal, TypeAlias, Unpack

from voicegate.audio import TurnModel
from voicegate.audio.pcm import SAMPLE_BYTES
from voicegate.call.control import CallControl
from voicegate.call.event import CallEvent, Interrupted, Interruption
from voicegate.call.frame import AudioListener
from voicegate.call.input import AudioInput, EventInput
from voicegate.call.output import AudioOutput
from voicegate.call.response import Response, Said
from voicegate.channel import ChannelLink, ChannelOptions, DataChannel, MessageInput
from voicegate.errors import UsageError
from voicegate.realtime.agent_event import (
    AgentReport,
    ConversationTaken,
    InputTranscribed,
    ResponseCancelled,
    ServerEvent,
    SessionUpdated,
)
from voicegate.wire.json_value import JSONObject

__all__ = ["Agent", "Call"]


class Call:
    """One client on the line.

    Resources: belongs to the transceiver; when the agent returns, the call is over.
    """

    def __init__(
        self, call_id: str, *, control: CallControl, metadata: Mapping[str, Any], link: ChannelLink
    ) -> None:
        self.id: Final = call_id
        self.metadata: Final = metadata
        """The ``session`` object that the client sent with its offer; not to be trusted."""
        self.audio_out: Final = AudioOutput(control)
        self._audio_input = AudioInput(control)
        self.audio_in: Final = self._audio_input.channel
        """The client's voice: ``async for frame in call.audio_in``. Close it if you want none."""
        self.events: Final = EventInput()
        """What happens: ``async for event in call.events``."""
        self.messages: Final = MessageInput(link)
        """The client's messages, of all channels: ``async for message in call.messages``."""
        self._control = control
        self._link = link
        self._session: JSONObject = {}
        control.set_listener(self._audio_input)

    # Audio

    @property
    def sample_rate(self) -> int:
        """Samples per second of the PCM in both directions: the codec's own, unless `use_rate` changed it.

        48000 for Opus, 16000 for G.722, 8000 for G.711.
        """
        return self._control.sample_rate

    @property
    def frame_samples(self) -> int:
        """Samples in 20 ms."""
        return self.sample_rate // 50

    @property
    def codec(self) -> str:
        """What the client's packets are: ``opus``, ``g722``, ``pcmu`` or ``pcma``.

        On a WebSocket there are none: `EncodedFrame`s hold PCM, and this is ``pcm16``.
        """
        return self._control.codec

    @property
    def clock_rate(self) -> int:
        """Ticks per second of its RTP clock, in which packets are measured: 48000 for Opus, else 8000."""
        return self._control.clock_rate

    def use_rate(self, sample_rate: int) -> None:
        """Have PCM at another rate in both directions; to be called before any audio was sent.

        Errors: UsageError when it is none of 8000, 16000, 24000, 48000, or there was audio already.
        """
        # An agent to which the call was transferred may find it at the right rate, and audio behind it.
        if sample_rate != self.sample_rate:
            self._control.use_rate(sample_rate)

    def listen(self, listener: AudioListener | None) -> None:
        """Let a listener hear the client's voice instead of `audio_in`; None gives it back.

        A listener is called in the media loop, which wakes no task: for what takes microseconds per frame.
        What it raises ends the call, as if the agent had.
        """
        self._control.set_listener(self._audio_input if listener is None else listener)

    def loop_back(self) -> None:
        """Send the client's packets straight back, undecoded; until the next `listen`, nobody hears them."""
        self._control.loop_back()

    def detect_speech(
        self,
        *,
        silence_ms: int = 600,
        barge_in: bool = True,
        turn_model: TurnModel | None = None,
        detector: Literal["webrtc", "silero"] = "webrtc",
    ) -> None:
        """Have `SpeechStarted`, `SpeechStopped` and `TurnEnded` among the events from now on.

        Args:
            silence_ms: how long a silence ends the user's turn.
            barge_in: whether `SpeechStarted` interrupts our own speech at once, in the media loop; then
                `Interrupted` follows if there was any.
            turn_model: says for each pause how long it may become.
            detector: ``silero`` takes less for speech that is none, costs more, and is an extra.

        Errors: UsageError when silero is not installed.
        """
        self._control.detect_speech(
            silence_ms=silence_ms, barge_in=barge_in, turn_model=turn_model, detector=detector
        )

    def end_turn(self) -> None:
        """Do not wait for more silence: have `TurnEnded` now, if the user has fallen silent."""
        self._control.end_turn()

    def pre_roll(self, ms: int) -> bytes:
        """Return the last milliseconds heard, up to a second of them; none before `detect_speech`."""
        return self._control.pre_roll(ms)

    def interrupt(self) -> Interruption:
        """Stop speaking at once, as when the user talks over us."""
        return self.audio_out.interrupt()

    @property
    def audio_in_dropped(self) -> int:
        """Frames that the agent was too slow to take."""
        return self._audio_input.dropped

    def note_dropped(self) -> None:
        """Count a frame that a listener's agent, in a process of its own, was too slow to take."""
        self._audio_input.dropped += 1

    def hangup(self, after: Literal["now", "drain"] = "now") -> None:
        """End the call now, or when all that is queued has been played; the agent is cancelled then."""
        self._control.hang_up(after=after)

    # The conversation

    def converse(self, raw: bool = False) -> None:
        """Take part in the client's conversation: have its notices among the events from now on.

        `SessionUpdated` is the first of them. Whether and how speech is detected is then up to the session's
        ``turn_detection``, so do not call `detect_speech`. Answer `ResponseRequested` with `respond`.

        Args:
            raw: The agent speaks the events of the Realtime API itself: it gets the client's as `ClientEvent`
                and sends its own with `emit`.
        """
        self._control.report(ConversationTaken(is_raw=raw))

    @property
    def session(self) -> JSONObject:
        """How the client wants the session to be, as of now; empty before `converse`."""
        return self._session

    def respond(self, response_id: str | None = None) -> Response:
        """Begin to answer: ``with call.respond(request.response_id) as response:``.

        Without an id it is a response that nobody asked for, such as a greeting.
        """
        return Response(response_id, control=self._control, output=self.audio_out)

    def transcribe(self, text: str, *, item_id: str | None = None, is_final: bool = True) -> None:
        """Tell the client what the user says.

        Args:
            text: All of the turn; else, if it is not final, what is to be added.
            item_id: Of `InputCommitted`; None for the turn that is going on or was the last.
            is_final: Whether the turn's words are known for good.
        """
        self._control.report(InputTranscribed(item_id=item_id, text=text, is_final=is_final))

    def emit(self, event: JSONObject) -> None:
        """Send an event of the Realtime API to the client, from an agent that converses raw."""
        self._control.report(ServerEvent(event=event))

    async def say(
        self,
        audio: bytes | AsyncIterable[bytes],
        *,
        transcript: str = "",
        response_id: str | None = None,
    ) -> Said:
        """Say something as a whole response, and wait until it has been played or cut short.

        Args:
            audio: 16-bit mono samples; an iterable is read as fast as they are played.
            transcript: Its words, for the client.
            response_id: Of `ResponseRequested`; None for what nobody asked for.

        Errors: UsageError when the last sample is incomplete.
        Cancellation: a checkpoint always; when cancelled, it falls silent.
        """
        response = self.respond(response_id)
        try:
            async with AsyncExitStack() as stack:
                with response:
                    if transcript:
                        response.transcript(transcript)
                    if isinstance(audio, bytes):
                        # A second at a time: more than a minute at once would not be kept.
                        for start in range(0, len(audio), size := SAMPLE_BYTES * self.sample_rate):
                            await response.send(audio[start : start + size])
                    else:
                        if isinstance(audio, AsyncGenerator):
                            stack.push_async_callback(audio.aclose)
                        async for pcm in audio:
                            await response.send(pcm)
            return await response.wait_played()
        except BaseException:
            self.audio_out.cancel_response(response.id)
            raise

    @property
    def heard_ms(self) -> int:
        """How much of the present speech the client has received."""
        return self.audio_out.heard_ms

    def transfer(self, agent: "Agent | str") -> None:
        """Give the call to another agent, which gets a `Call` of its own; this one is cancelled.

        What is queued is still played.

        Args:
            agent: A function, or the name of an agent that the operator has configured. From an agent in a
                process of its own, only a name.

        Errors: UsageError for what cannot be found, as far as that is known here.
        """
        self._control.transfer(agent)

    # Data channels

    @property
    def has_channels(self) -> bool:
        """Whether the client can have data channels at all."""
        return self._link.is_offered

    @property
    def channels(self) -> Mapping[int, DataChannel]:
        """The data channels that are open or being opened now, by id."""
        return dict(self._link.channels)

    def open_channel(self, label: str, **options: Unpack[ChannelOptions]) -> DataChannel:
        """Open a data channel to the client; it can be sent on at once (RFC 8831 §6).

        Errors: UsageError when the client offered none, or for options that exclude each other.
        """
        return self._link.open_channel(label, **options)

    async def send(self, data: str | bytes) -> None:
        """Send a message on the call's first data channel; wait for the client to open one if there is none.

        Errors: UsageError when the client offered no data channels; else as `DataChannel.send`.
        Cancellation: a checkpoint always; when cancelled, the message may or may not be on its way.
        """
        if not self._link.is_offered:
            raise UsageError("this client offered no data channels")
        while not self._link.channels:
            await self._link.wait_progress()
        await next(iter(self._link.channels.values())).send(data)

    def report(self, event: AgentReport) -> None:
        """Say something to the client's conversation, as the value that the methods above make of it."""
        self._control.report(event)

    # The transceiver's side

    def push_event(self, event: CallEvent) -> None:
        """Hand an event to the agent."""
        match event:
            case Interrupted(interruption=interruption, response_id=response_id):
                self.audio_out.handle_interrupted(response_id, interruption)
            case ResponseCancelled(response_id=response_id):
                self.audio_out.handle_cancelled(response_id)
            case SessionUpdated(session=session):
                self._session = session
            case _:
                pass
        self.events.push(event)

    def close(self) -> None:
        """Hear and tell nothing more."""
        self._audio_input.close()
        self.events.close()


Agent: TypeAlias = Callable[[Call], Awaitable[None]]
