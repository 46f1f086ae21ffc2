"""A call, as agent code sees it: audio and messages in and out, events; no packet, no peer connection.

An agent is ``async def agent(call: Call) -> None``. It runs in the call's own task: returning hangs up,
and being cancelled means that the call is over.

Layer: shell (Trio).
"""

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias, Unpack

import attrs
import trio

from voicegate.audio import PlayoutQueue
from voicegate.channel import ChannelLink, ChannelOptions, DataChannel, MessageInput
from voicegate.errors import UsageError

__all__ = [
    "Agent",
    "AudioFrame",
    "AudioOutput",
    "Call",
    "CallEvent",
    "ChannelClosed",
    "ChannelOpened",
    "Connected",
    "EndCause",
    "Interruption",
]

AUDIO_IN_FRAMES: Final = 250
"""Frames (20 ms each) that wait for a slow agent; then the oldest is dropped: old speech helps nobody."""

EVENT_LIMIT: Final = 64
"""Events that wait for a slow agent; then new ones are dropped: reading none must cost no memory."""

_FRAME_SECONDS: Final = 0.02
"""How often playout takes from the queue; to look more often would be a busy wait."""

_AHEAD_SECONDS: Final = 2.0
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
    """Samples of this call before this frame."""
    is_concealed: bool = False
    """True when the packet was lost and these samples are the codec's guess."""


class Interruption(NamedTuple):
    """What an `AudioOutput.interrupt` cut short."""

    heard_ms: int
    """Milliseconds of the speech that really left for the client."""
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


CallEvent: TypeAlias = Connected | ChannelOpened | ChannelClosed


class AudioOutput:
    """The one output queue of a call: bursts go in, the transceiver plays them out in real time."""

    def __init__(self, playout: PlayoutQueue, *, sample_rate: int) -> None:
        self._playout = playout
        self._sample_rate = sample_rate
        self._speech_start = 0
        self._interrupted = trio.Event()

    @property
    def queued_ms(self) -> int:
        """Audio not sent yet."""
        return self._playout.queued_samples * 1000 // self._sample_rate

    @property
    def heard_ms(self) -> int:
        """Audio of the present speech (since the queue was last empty) that has left for the client."""
        return (self._playout.played_samples - self._speech_start) * 1000 // self._sample_rate

    def send_nowait(self, pcm: bytes) -> None:
        """Queue 16-bit mono samples of any length; past the capacity the oldest are dropped and counted."""
        if not self._playout.queued_samples:
            self._speech_start = self._playout.played_samples
        self._playout.push(pcm)

    async def send(self, pcm: bytes) -> None:
        """Queue samples, then wait until no more than two seconds are ahead of the client's ear.

        Cancellation: a checkpoint always; when cancelled, the samples are already queued.
        """
        self.send_nowait(pcm)
        await trio.lowlevel.checkpoint()
        # Playout runs in real time, so how long to wait is known, and nothing has to wake us per frame.
        while (ahead := self._playout.queued_samples / self._sample_rate - _AHEAD_SECONDS) > 0:
            with trio.move_on_after(max(ahead, _FRAME_SECONDS)):
                await self._interrupted.wait()

    async def drain(self) -> None:
        """Wait until all that is queued has been sent (or dropped by `interrupt`).

        Cancellation: a checkpoint always.
        """
        await trio.lowlevel.checkpoint()
        while queued := self._playout.queued_samples:
            with trio.move_on_after(max(queued / self._sample_rate, _FRAME_SECONDS)):
                await self._interrupted.wait()

    def interrupt(self) -> Interruption:
        """Fall silent now: drop all that is queued."""
        heard_ms = self.heard_ms
        dropped = self._playout.clear()
        self._interrupted.set()
        self._interrupted = trio.Event()
        return Interruption(heard_ms, dropped * 1000 // self._sample_rate)


class Call:
    """One client on the line.

    Resources: belongs to the transceiver; when the agent returns, the call is over.
    """

    def __init__(
        self,
        call_id: str,
        *,
        playout: PlayoutQueue,
        sample_rate: int,
        metadata: Mapping[str, Any],
        link: ChannelLink,
    ) -> None:
        self.id: Final = call_id
        self.sample_rate: Final = sample_rate
        """Samples per second of the PCM in both directions: 48000 for Opus, 8000 for G.711."""
        self.frame_samples: Final = sample_rate // 50
        self.metadata: Final = metadata
        """The ``session`` object that the client sent with its offer; not to be trusted."""
        self.audio_out: Final = AudioOutput(playout, sample_rate=sample_rate)
        self._audio_in, self.audio_in = trio.open_memory_channel[AudioFrame](AUDIO_IN_FRAMES)
        self._events, self.events = trio.open_memory_channel[CallEvent](EVENT_LIMIT)
        self.messages: Final = MessageInput(link)
        """The client's messages, of all channels: ``async for message in call.messages``."""
        self.audio_in_dropped = 0
        """Frames that the agent was too slow to take."""
        self._link = link

    def interrupt(self) -> Interruption:
        """Stop speaking at once, as when the user talks over us."""
        return self.audio_out.interrupt()

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

    def push_audio(self, frame: AudioFrame) -> None:
        """Hand a frame to the agent (the transceiver's side)."""
        try:
            self._audio_in.send_nowait(frame)
        except trio.WouldBlock:
            self.audio_in_dropped += 1
            self.audio_in.receive_nowait()
            self._audio_in.send_nowait(frame)
        except trio.BrokenResourceError:
            self.audio_in_dropped += 1

    def push_event(self, event: CallEvent) -> None:
        """Hand an event to the agent (the transceiver's side)."""
        try:
            self._events.send_nowait(event)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            return  # The agent reads none, or is gone.

    def close(self) -> None:
        """End both channels (the transceiver's side)."""
        for channel in (self._audio_in, self._events, self.audio_in, self.events):
            channel.close()


Agent: TypeAlias = Callable[[Call], Awaitable[None]]
