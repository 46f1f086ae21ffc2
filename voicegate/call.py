"""A call, as agent code sees it: audio and messages in and out, events; no packet, no peer connection.

An agent is ``async def agent(call: Call) -> None``. It runs in the call's own task: returning hangs up,
and being cancelled means that the call is over.

Layer: shell (Trio).
"""

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, Unpack

import attrs
import trio

from voicegate.audio import SpeechStarted, SpeechStopped, TurnEnded, TurnModel
from voicegate.channel import ChannelLink, ChannelOptions, DataChannel, MessageInput
from voicegate.errors import UsageError

__all__ = [
    "Agent",
    "AudioFrame",
    "AudioListener",
    "AudioOutput",
    "Call",
    "CallControl",
    "CallEvent",
    "ChannelClosed",
    "ChannelOpened",
    "Connected",
    "EncodedFrame",
    "EndCause",
    "Interrupted",
    "Interruption",
    "MarkPlayed",
    "OutputState",
    "SpeechStarted",
    "SpeechStopped",
    "TurnAnswered",
    "TurnEnded",
    "TurnModel",
    "Wants",
]

AUDIO_IN_FRAMES: Final = 250
"""Frames (20 ms each) that wait for a slow agent; then the oldest is dropped: old speech helps nobody."""

EVENT_LIMIT: Final = 64
"""Events that wait for a slow agent; then new ones are dropped: reading none must cost no memory."""

_FRAME_SECONDS: Final = 0.02
"""How often playout takes from the queue; to look more often would be a busy wait."""

_AHEAD_MS: Final = 2000
"""`AudioOutput.send` lets this much audio queue up before it waits: it rides out a stall of the agent."""


class EndCause(Enum):
    """Why a call ended; the values are what the API and the metrics show."""

    CLIENT_HANGUP = "client_hangup"
    """The client hung up over HTTP."""
    CLIENT_CLOSED = "client_closed"
    """The client said goodbye on the media path (DTLS close_notify)."""
    AGENT_FINISHED = "agent_finished"
    AGENT_FAILED = "agent_failed"
    """The agent raised; the traceback is in the log."""
    SERVER_STOPPED = "server_stopped"
    NO_STUN = "no_stun_seen"
    """No connectivity check arrived: UDP is blocked, or the advertised address is wrong."""
    BAD_INTEGRITY = "bad_integrity"
    """Checks named this call but carried a wrong password: the client did not apply this answer."""
    NO_CLIENT_HELLO = "ice_up_no_client_hello"
    """ICE worked, but the client never started DTLS."""
    DTLS_TIMEOUT = "dtls_timeout"
    """DTLS started and never finished: large datagrams are lost, or the client vanished."""
    DTLS_FAILED = "dtls_failed"
    FINGERPRINT_MISMATCH = "fingerprint_mismatch"
    """The client's certificate is not the one its offer promised."""
    CONSENT_EXPIRED = "consent_expired"
    """The client vanished: no check for 30 s (RFC 7675 §5.1)."""
    MAX_DURATION = "max_duration"
    INTERNAL_ERROR = "internal_error"
    """A fault of voicegate's own; the traceback is in the log."""


class AudioFrame(NamedTuple):
    """20 ms of the client's voice."""

    pcm: bytes
    """16-bit signed little-endian mono samples."""
    sample_rate: int
    position: int
    """Samples of this call before this frame, on the client's RTP clock: gaps count."""
    is_concealed: bool = False
    """True when the packet was lost and these samples are the codec's guess."""
    concealed_ms: int = 0
    """How many of its milliseconds are made up."""
    level: int | None = None
    """Loudness as the client says it (RFC 6464 §3): 0 is the loudest, 127 silence, in -dBov."""
    is_voice: bool | None = None
    """Whether the client takes it for speech (RFC 6464 §3)."""


class EncodedFrame(NamedTuple):
    """A packet of the client's voice that nobody has decoded."""

    payload: bytes
    """Of one packet; empty for what was lost: its ``ticks`` were missed."""
    ticks: int
    """Its length on the RTP clock."""
    timestamp: int
    """Of RTP, 32 bits."""
    level: int | None = None
    is_voice: bool | None = None


class AudioListener(Protocol):
    """Who takes the client's voice instead of `Call.audio_in`."""

    @property
    def is_encoded(self) -> bool:
        """True for `EncodedFrame`s, of which nothing is decoded; False for `AudioFrame`s."""

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        """Take a frame; called in the media loop of all calls, so it must neither block nor raise."""


Wants: TypeAlias = Literal["nothing", "pcm", "encoded"]
"""What an agent takes of the client's voice."""


class Interruption(NamedTuple):
    """What an `AudioOutput.interrupt` cut short."""

    heard_ms: int
    """Milliseconds of the speech that the client has received: as of its reports, if it sends any."""
    dropped_ms: int
    """Milliseconds that were still queued and will never be heard."""


@attrs.frozen
class Connected:
    """Media can flow both ways; everything sent before was kept."""

    setup_ms: float
    """From the client's offer to here."""


@attrs.frozen
class ChannelOpened:
    """The client has opened a data channel, or confirmed one of ours."""

    channel: DataChannel


@attrs.frozen
class ChannelClosed:
    """A data channel was closed, by whichever end; its last messages can still be received."""

    channel: DataChannel


@attrs.frozen
class Interrupted:
    """The user began to speak while we did, and what was still to be said is dropped."""

    interruption: Interruption
    response_id: str | None
    """Of the response that was cut short."""


@attrs.frozen
class MarkPlayed:
    """All that was sent before a mark has left for the client."""

    name: str
    position_ms: int
    """How much of the present speech had been played out there."""


@attrs.frozen
class TurnAnswered:
    """How long the user waited for an answer; counted from the end of the last voiced frame."""

    first_audio_ms: int
    """Until the agent sent its first audio."""
    first_packet_ms: int
    """Until that left for the client."""


CallEvent: TypeAlias = (
    Connected
    | ChannelOpened
    | ChannelClosed
    | SpeechStarted
    | SpeechStopped
    | TurnEnded
    | Interrupted
    | MarkPlayed
    | TurnAnswered
)


class OutputState(NamedTuple):
    """What becomes of the agent's speech."""

    queued_ms: int
    """Audio not sent yet, rounded up, and with all that this process has pushed: behind a link, too."""
    heard_ms: int
    """How much of the present speech the client has received."""
    response_id: str | None
    """Of the response that the present speech belongs to."""
    is_paused: bool


class CallControl(Protocol):
    """All that a `Call` asks of its media, which may be in this process or behind a link.

    Every method returns at once and none fails for what the client does. What comes back goes the other way:
    frames to the listener, events to `Call.push_event`.
    """

    @property
    def sample_rate(self) -> int:
        """Samples per second of the PCM, both ways."""

    def use_rate(self, sample_rate: int) -> None:
        """Resample both ways, from and to 8000, 16000, 24000 or 48000; called before any audio was sent."""

    # In

    def set_listener(self, listener: AudioListener | None) -> None:
        """Hand each frame to a listener from now on, as it wants it; None: nobody wants any."""

    def loop_back(self) -> None:
        """Send the client's packets straight back, and nothing to any listener."""

    def detect_speech(
        self,
        *,
        silence_ms: int,
        barge_in: bool,
        turn_model: TurnModel | None,
        detector: Literal["webrtc", "silero"],
    ) -> None:
        """Begin to emit `SpeechStarted`, `SpeechStopped` and `TurnEnded`, and `Interrupted` with barge-in."""

    def end_turn(self) -> None:
        """Emit `TurnEnded` now if the user has fallen silent, without waiting for more silence."""

    def pre_roll(self, ms: int) -> bytes:
        """Return the last samples heard, up to at least a second of them once speech is detected."""

    # Out

    def push_pcm(self, pcm: bytes, *, response_id: str | None) -> None:
        """Queue samples of any length."""

    def push_packet(self, payload: bytes, ticks: int, *, response_id: str | None) -> None:
        """Queue a packet that needs no encoding, so long on the RTP clock."""

    def clear(self) -> Interruption:
        """Drop all that is queued, and what still comes of the responses it belongs to."""

    def pause(self) -> None:
        """Fall silent, and keep what is queued."""

    def resume(self) -> None:
        """Go on where `pause` stopped."""

    def mark(self, name: str) -> None:
        """Emit `MarkPlayed` when all that was pushed before has been played; never if that is dropped."""

    def cancel_response(self, response_id: str) -> None:
        """Drop what is queued of a response, and what still comes of it."""

    def output_state(self) -> OutputState:
        """Return how things stand; behind a link, as they stood a moment ago."""

    # The end

    def hang_up(self, *, after: Literal["now", "drain"]) -> None:
        """End the call, now or when all that is queued has been played."""


class AudioOutput:
    """The one output queue of a call: bursts go in, the transceiver plays them out in real time.

    What is sent belongs to a speech: to the response that ``response_id`` names, or else to all that is sent
    until the queue runs empty. Once a response was cancelled or interrupted, what still comes of it is
    discarded.
    """

    def __init__(self, control: CallControl) -> None:
        self._control = control
        self._dropped = trio.Event()

    @property
    def queued_ms(self) -> int:
        """Audio not sent yet."""
        return self._control.output_state().queued_ms

    @property
    def heard_ms(self) -> int:
        """How much of the present speech the client has received."""
        return self._control.output_state().heard_ms

    def send_nowait(self, pcm: bytes, *, response_id: str | None = None) -> None:
        """Queue 16-bit mono samples of any length; past a minute the oldest are dropped and counted.

        Errors: UsageError when the last sample is incomplete.
        """
        self._control.push_pcm(pcm, response_id=response_id)

    def send_packet_nowait(self, payload: bytes, ticks: int, *, response_id: str | None = None) -> None:
        """Queue a packet of the call's codec as it is; ``ticks`` is its length on the RTP clock.

        Errors: UsageError unless it takes some time, up to a second.
        """
        self._control.push_packet(payload, ticks, response_id=response_id)

    async def send(self, pcm: bytes, *, response_id: str | None = None) -> None:
        """Queue samples, then wait until no more than two seconds are ahead of the client's ear.

        Errors: UsageError when the last sample is incomplete.
        Cancellation: a checkpoint always; when cancelled, the samples are already queued.
        """
        self.send_nowait(pcm, response_id=response_id)
        await self._wait_until_queued(_AHEAD_MS)

    async def drain(self) -> None:
        """Wait until all that is queued has been sent, or dropped.

        Cancellation: a checkpoint always.
        """
        await self._wait_until_queued(0)

    def mark(self, name: str) -> None:
        """Have `MarkPlayed` among the events when all that was sent before has been played.

        It never comes when that is interrupted.
        """
        self._control.mark(name)

    def pause(self) -> None:
        """Fall silent, and keep what is queued, as when the user may be about to interrupt."""
        self._control.pause()

    def resume(self) -> None:
        """Go on with the very sample at which `pause` stopped."""
        self._control.resume()

    def interrupt(self) -> Interruption:
        """Fall silent now: drop all that is queued, and what still comes of the responses it belongs to."""
        interruption = self._control.clear()
        self.wake()
        return interruption

    def cancel_response(self, response_id: str) -> None:
        """Drop what is queued of a response, and what still comes of it; others are played on."""
        self._control.cancel_response(response_id)
        self.wake()

    def wake(self) -> None:
        """Let those who wait look again: something was dropped (the transceiver's side)."""
        self._dropped.set()
        self._dropped = trio.Event()

    async def _wait_until_queued(self, limit_ms: int) -> None:
        await trio.lowlevel.checkpoint()
        # Playout runs in real time, so how long to wait is known, and nothing has to wake us per frame.
        while (ahead_ms := self.queued_ms - limit_ms) > 0:
            with trio.move_on_after(max(ahead_ms / 1000, _FRAME_SECONDS)):
                await self._dropped.wait()


class _AudioInput:
    """The listener behind `Call.audio_in`."""

    is_encoded: Final = False

    def __init__(self, control: CallControl) -> None:
        self._control = control
        self.frames, self.channel = trio.open_memory_channel[AudioFrame](AUDIO_IN_FRAMES)
        self.dropped = 0

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        if not isinstance(frame, AudioFrame):
            return
        try:
            self.frames.send_nowait(frame)
        except trio.WouldBlock:
            self.dropped += 1
            self.channel.receive_nowait()
            self.frames.send_nowait(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.dropped += 1
            self._control.set_listener(None)


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
        self._audio_input = _AudioInput(control)
        self.audio_in: Final = self._audio_input.channel
        """The client's voice: ``async for frame in call.audio_in``. Close it if you want none."""
        self._events, self.events = trio.open_memory_channel[CallEvent](EVENT_LIMIT)
        self.messages: Final = MessageInput(link)
        """The client's messages, of all channels: ``async for message in call.messages``."""
        self._control = control
        self._link = link
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

    def use_rate(self, sample_rate: int) -> None:
        """Have PCM at another rate in both directions; to be called before any audio was sent.

        Errors: UsageError when it is none of 8000, 16000, 24000, 48000, or there was audio already.
        """
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

    def hangup(self, after: Literal["now", "drain"] = "now") -> None:
        """End the call now, or when all that is queued has been played; the agent is cancelled then."""
        self._control.hang_up(after=after)

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

    # The transceiver's side

    def push_event(self, event: CallEvent) -> None:
        """Hand an event to the agent."""
        if isinstance(event, Interrupted):
            self.audio_out.wake()
        try:
            self._events.send_nowait(event)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            return  # The agent reads none, or is gone.

    def close(self) -> None:
        """End both channels."""
        for channel in (self._audio_input.frames, self._events, self.audio_in, self.events):
            channel.close()


Agent: TypeAlias = Callable[[Call], Awaitable[None]]
