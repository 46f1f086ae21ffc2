"""The media of one call, as its `voicegate.call.Call` commands it when both are in one process.

What the client says comes in by `MediaControl.handle_frame`; what becomes of the agent's speech is with the
downlink. Both make events, which `MediaControl.poll_event` hands on.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Literal, Protocol

import attrs
import structlog

from voicegate.audio import Codec, SpeechModel, SpeechStarted, SpeechStopped, TurnDetector, VoiceDetector
from voicegate.audio.pcm import SAMPLE_BYTES
from voicegate.audio.silero import SileroModel
from voicegate.audio.turn import LevelGate, TurnEvent, TurnModel
from voicegate.call import (
    AudioFrame,
    AudioListener,
    CallEvent,
    EncodedFrame,
    EndCause,
    Interrupted,
    Interruption,
    OutputState,
    TurnAnswered,
    Wants,
)
from voicegate.errors import WireError
from voicegate.transceiver.downlink import Downlink

__all__ = ["MediaControl", "MediaInput"]

_log = structlog.get_logger()

TURNS_KEPT: Final = 32
"""Latencies of the last turns, for whoever looks at the call."""

_SILENT_SECONDS: Final = 0.2
"""A client that sends nothing for so long is silent (DTX, a muted microphone); jitter is mostly less."""

_EVENT_LIMIT: Final = 64
"""Events until they are polled; some per frame at most come up."""


class MediaInput(Protocol):
    """What the control tells the uplink."""

    wants: Wants


class MediaControl:
    """A `voicegate.call.CallControl` over the two ways of a call's media.

    Args:
        clock: the time of the media loop; commands come from the agent's task, which has none.
        end: ends the call.
    """

    def __init__(
        self,
        downlink: Downlink,
        uplink: MediaInput,
        codec: Codec,
        *,
        clock: Callable[[], float],
        end: Callable[[EndCause, str], None],
    ) -> None:
        self.turns: Final[deque[TurnAnswered]] = deque(maxlen=TURNS_KEPT)
        """How quickly the agent answered lately."""
        self.is_hanging_up = False
        """Whether the call ends by itself, at the latest when all has been played."""
        self._is_draining = False
        self._downlink = downlink
        self._uplink = uplink
        self._codec = codec
        self._clock = clock
        self._end = end
        self._listener: AudioListener | None = None
        self._ear: _Ear | None = None
        self._barges_in = False
        self._waiting: _Waiting | None = None
        self._events: deque[CallEvent] = deque(maxlen=_EVENT_LIMIT)

    # The media's side

    def handle_frame(self, frame: AudioFrame | EncodedFrame, *, now: float) -> None:
        """Take what the uplink has: events come of it first, then the listener hears it."""
        try:
            if self._ear is not None:
                self._detect(self._ear, frame, now)
            if self._listener is not None:
                self._listener.hear(frame)
        except Exception as fault:
            self._contain(fault)

    def poll_event(self) -> CallEvent | None:
        """Return the next event for the agent; to be polled to None after each frame and each slot."""
        if self._ear is not None and self._ear.turns.is_in_turn:
            self._notice_silence(self._ear, self._clock())
        mark = self._downlink.poll_mark()
        if mark is not None:
            self._events.append(mark)
        if self._waiting is not None and self._downlink.answered_at is not None:
            self._note_answer(self._waiting, self._downlink.answered_at)
        if self._is_draining and self._downlink.playout.is_idle:
            self._finish()
        return self._events.popleft() if self._events else None

    # The agent's side

    @property
    def sample_rate(self) -> int:
        """Samples per second of the PCM, both ways."""
        return self._codec.sample_rate

    def use_rate(self, sample_rate: int) -> None:
        """Resample both ways.

        Errors: UsageError when it is none of 8000, 16000, 24000, 48000, or when there was audio already.
        """
        self._downlink.use_rate(sample_rate)
        if self._ear is not None:
            self._ear.use_codec(self._codec)

    def set_listener(self, listener: AudioListener | None) -> None:
        """Hand each frame to a listener from now on, as it wants it; None: nobody wants any."""
        self._listener = listener
        if listener is not None and listener.is_encoded:
            self._uplink.wants = "encoded"
        else:
            self._uplink.wants = "pcm" if listener is not None or self._ear is not None else "nothing"

    def loop_back(self) -> None:
        """Send the client's packets straight back, and nothing to any listener."""
        self.set_listener(_LoopBack(self._downlink))

    def detect_speech(
        self,
        *,
        silence_ms: int,
        barge_in: bool,
        turn_model: TurnModel | None,
        detector: Literal["webrtc", "silero"],
    ) -> None:
        """Begin to emit `SpeechStarted`, `SpeechStopped` and `TurnEnded`, and `Interrupted` with barge-in.

        Errors: UsageError when silero is not installed.
        """
        self._barges_in = barge_in
        self._ear = _Ear(self._codec, silence_ms=silence_ms, turn_model=turn_model, detector=detector)
        self.set_listener(self._listener)

    def end_turn(self) -> None:
        """Emit `TurnEnded` now if the user has fallen silent, without waiting for more silence."""
        if self._ear is not None:
            self._ear.turns.end_turn()
            self._follow_turns(self._ear, self._clock())

    def pre_roll(self, ms: int) -> bytes:
        """Return the last samples heard; none before speech is detected."""
        return self._ear.turns.pre_roll(ms) if self._ear is not None else b""

    def push_pcm(self, pcm: bytes, *, response_id: str | None) -> None:
        """Queue samples of any length.

        Errors: UsageError when the last sample is incomplete.
        """
        self._note_first_audio()
        self._downlink.push_pcm(pcm, response_id=response_id)

    def push_packet(self, payload: bytes, ticks: int, *, response_id: str | None) -> None:
        """Queue a packet that needs no encoding.

        Errors: UsageError unless it takes some time, up to a second.
        """
        self._note_first_audio()
        self._downlink.push_packet(payload, ticks, response_id=response_id)

    def clear(self) -> Interruption:
        """Drop all that is queued, and what still comes of the responses it belongs to."""
        return self._downlink.clear(now=self._clock())

    def pause(self) -> None:
        """Fall silent, and keep what is queued."""
        self._downlink.pause()

    def resume(self) -> None:
        """Go on where `pause` stopped."""
        self._downlink.resume()

    def mark(self, name: str) -> None:
        """Emit `MarkPlayed` when all that was pushed before has been played."""
        self._downlink.mark(name)

    def cancel_response(self, response_id: str) -> None:
        """Drop what is queued of a response, and what still comes of it."""
        self._downlink.cancel_response(response_id)

    def output_state(self) -> OutputState:
        """Return how things stand."""
        return self._downlink.output_state(now=self._clock())

    def hang_up(self, *, after: Literal["now", "drain"]) -> None:
        """End the call, now or when all that is queued has been played."""
        self.is_hanging_up = True
        self._is_draining = after == "drain"
        self._downlink.resume()
        if after == "now" or self._downlink.playout.is_idle:
            self._finish()

    # Internals

    def _detect(self, ear: "_Ear", frame: AudioFrame | EncodedFrame, now: float) -> None:
        ear.hear(frame, now)
        self._follow_turns(ear, now)

    def _notice_silence(self, ear: "_Ear", now: float) -> None:
        try:
            if ear.handle_timeout(now):
                self._follow_turns(ear, now)
        except Exception as fault:
            self._contain(fault)

    def _contain(self, fault: Exception) -> None:
        """End the call, and no other, for what a listener or a turn model of the agent's raised."""
        _log.exception("agent failed in the media loop")
        self._listener = self._ear = None
        self._end(EndCause.AGENT_FAILED, repr(fault))

    def _follow_turns(self, ear: "_Ear", now: float) -> None:
        while (event := ear.turns.poll_event()) is not None:
            self._events.append(event)
            self._time_turn(event, ear.position_ms, now)
            if isinstance(event, SpeechStarted) and self._barges_in:
                self._barge_in(now)

    def _barge_in(self, now: float) -> None:
        state = self._downlink.output_state(now=now)
        interruption = self._downlink.clear(now=now)
        if state.queued_ms:
            self._events.append(Interrupted(interruption, state.response_id))

    def _time_turn(self, event: TurnEvent, position_ms: int, now: float) -> None:
        """Note when the user's speech ended; what the agent says next is the answer."""
        if isinstance(event, SpeechStarted):
            self._waiting = None
        elif isinstance(event, SpeechStopped):
            self._waiting = _Waiting(now - (position_ms - event.position_ms) / 1000)

    def _note_first_audio(self) -> None:
        if self._waiting is not None and self._waiting.first_audio_at is None:
            self._waiting.first_audio_at = self._clock()
            self._downlink.answered_at = None

    def _note_answer(self, waiting: "_Waiting", answered_at: float) -> None:
        if waiting.first_audio_at is not None:
            answer = TurnAnswered(
                round((waiting.first_audio_at - waiting.since) * 1000),
                round((answered_at - waiting.since) * 1000),
            )
            self.turns.append(answer)
            self._events.append(answer)
            self._waiting = None

    def _finish(self) -> None:
        self._is_draining = False
        self._end(EndCause.AGENT_FINISHED, "the agent hung up")


@attrs.define
class _Waiting:
    """The user has fallen silent, and waits for an answer."""

    since: float
    first_audio_at: float | None = None


class _LoopBack:
    """Sends a client's packets back to it."""

    is_encoded: Final = True

    def __init__(self, downlink: Downlink) -> None:
        self._push = downlink.push_live

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        if isinstance(frame, EncodedFrame):
            self._push(frame.payload, frame.ticks)


class _Ear:
    """Finds turns in whatever the uplink has, decoding no more than it must."""

    def __init__(
        self,
        codec: Codec,
        *,
        silence_ms: int,
        turn_model: TurnModel | None,
        detector: Literal["webrtc", "silero"],
    ) -> None:
        self.position_ms = 0
        """The end of what was heard, on the client's RTP clock."""
        self._silence_ms = silence_ms
        self._turn_model = turn_model
        self._detector = detector
        self._gate = LevelGate()
        self._first_timestamp: int | None = None
        self._position = 0
        self._heard_at = 0.0
        self.use_codec(codec)

    def use_codec(self, codec: Codec) -> None:
        """Begin anew, at the rate that the codec has now."""
        self._codec = codec
        rate = codec.sample_rate
        is_silero = self._detector == "silero"
        model: SpeechModel = SileroModel(sample_rate=rate) if is_silero else VoiceDetector(sample_rate=rate)
        self.turns = TurnDetector(
            model, sample_rate=rate, silence_ms=self._silence_ms, turn_model=self._turn_model
        )

    def hear(self, frame: AudioFrame | EncodedFrame, now: float) -> None:
        """Take the next frame."""
        is_quiet = self._gate.is_quiet(frame.level)
        rate = self._codec.sample_rate
        if isinstance(frame, AudioFrame):
            pcm, position = frame.pcm, frame.position
        else:
            pcm = self._decode(frame, is_quiet=is_quiet)
            position = self._ticks(frame) * rate // self._codec.clock_rate
        self.turns.handle_audio(pcm, position=position, is_quiet=is_quiet)
        self._heard_at, self._position = now, position + len(pcm) // SAMPLE_BYTES
        self.position_ms = self._position * 1000 // rate

    def handle_timeout(self, now: float) -> bool:
        """Take it for silence when nothing has come for a while; return whether that is so."""
        silent_for = now - self._heard_at
        if silent_for < _SILENT_SECONDS:
            return False
        position = self._position + int(silent_for * self._codec.sample_rate)
        self.turns.handle_silence(until=position)
        self.position_ms = position * 1000 // self._codec.sample_rate
        return True

    def _decode(self, frame: EncodedFrame, *, is_quiet: bool) -> bytes:
        if frame.payload and not is_quiet:
            try:
                return self._codec.decode(frame.payload)
            except WireError:
                pass  # Whoever hears the packet will find out.
        return bytes(frame.ticks * self._codec.sample_rate // self._codec.clock_rate * SAMPLE_BYTES)

    def _ticks(self, frame: EncodedFrame) -> int:
        if self._first_timestamp is None:
            self._first_timestamp = frame.timestamp
        return (frame.timestamp - self._first_timestamp) & 0xFFFFFFFF
