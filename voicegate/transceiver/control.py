"""The media of one call, as its `voicegate.call.Call` commands it when both are in one process.

What the client says comes in by `MediaControl.handle_frame`; what becomes of the agent's speech is with the
downlink. Both make events, which `MediaControl.poll_event` hands on.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Literal, Protocol

import structlog

from voicegate.audio import Codec, SpeechStarted, SpeechStopped, TurnEnded
from voicegate.audio.turn import TurnEvent, TurnModel
from voicegate.call import (
    Agent,
    AgentReport,
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
from voicegate.transceiver.downlink import Downlink
from voicegate.transceiver.ear import PLAIN_HEARING, Ear, Hearing
from voicegate.transceiver.output import OutputNotice

__all__ = ["MediaControl", "MediaInput"]

_log = structlog.get_logger()

TURNS_KEPT: Final = 32
"""Latencies of the last turns, for whoever looks at the call."""

_QUIET_LEVEL: Final = 60
"""In -dBov: from here on a packet may be left out unnoticed."""

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
        report: lets the client's session have what the agent says beside its audio.
        expect: tells the session that audio of a response is to be played.
        transfer: gives the call to another agent.
    """

    def __init__(
        self,
        downlink: Downlink,
        uplink: MediaInput,
        codec: Codec,
        *,
        clock: Callable[[], float],
        end: Callable[[EndCause, str], None],
        report: Callable[[AgentReport], None] | None = None,
        expect: Callable[[str | None], None] | None = None,
        transfer: Callable[[Agent | str], None] | None = None,
    ) -> None:
        self._is_muted = self._is_draining = self._has_events = False
        self._ear: Ear | None = None
        self._listener: AudioListener | None = None
        self._downlink = downlink
        self._waiting: _Waiting | None = None
        self.turns: Final[deque[TurnAnswered]] = deque(maxlen=TURNS_KEPT)
        """How quickly the agent answered lately."""
        self.is_hanging_up = False
        """Whether the call ends by itself, at the latest when all has been played."""
        self._uplink = uplink
        self._codec = codec
        self._clock = clock
        self._end = end
        self._report = report
        self._expect = expect
        self._announced: str | None = None
        self._transfer = transfer
        self._barges_in = False
        self._hearing: Hearing | None = None
        self._events: deque[CallEvent] = deque(maxlen=_EVENT_LIMIT)

    # The media's side

    def handle_frame(self, frame: AudioFrame | EncodedFrame, *, now: float) -> None:
        """Take what the uplink has: events come of it first, then the listener hears it."""
        if self._is_muted:
            frame = _silenced(frame)
        try:
            if self._ear is not None:
                self._detect(self._ear, frame, now)
            if self._listener is not None:
                self._listener.hear(frame)
        except Exception as fault:
            self._contain(fault)

    def look(self) -> bool:
        """See what a frame or a slot has brought; return whether there is anything to be polled."""
        downlink = self._downlink
        if self._ear is not None and self._ear.turns.is_in_turn:
            self._notice_silence(self._ear, self._clock())
        while (mark := downlink.poll_mark()) is not None:
            self._emit(mark)
        if self._waiting is not None and downlink.answered_at is not None:
            self._note_answer(self._waiting, downlink.answered_at)
        if self._is_draining and downlink.playout.is_idle:
            self._finish()
        return self._has_events or downlink.watch is not None

    def poll_event(self) -> CallEvent | None:
        """Return the next event for the agent."""
        self.look()
        if not self._has_events:
            return None
        event = self._events.popleft()
        self._has_events = bool(self._events)
        return event

    # The session's side

    def follow_output(self) -> None:
        """Have `poll_notice` tell what the client hears."""
        self._downlink.follow()

    def poll_notice(self) -> OutputNotice | None:
        """Return what else has become of the agent's speech; to be polled after `poll_event`."""
        return self._downlink.watch.poll_notice() if self._downlink.watch is not None else None

    def follow_turns(self, *, silence_ms: int, threshold: float, barge_in: bool) -> None:
        """Detect speech as the client wants it, with the models that the agent has chosen, if it has any."""
        self._barges_in = barge_in
        chosen = self._hearing or PLAIN_HEARING
        hearing = chosen._replace(silence_ms=silence_ms, threshold=threshold)
        if hearing != self._hearing or self._ear is None or self._ear.is_deaf:
            self._hearing = hearing
            self._open_ear(hearing)

    def leave_turns(self) -> None:
        """Detect no speech any more; how far the audio has come is still followed."""
        self._barges_in = False
        self._open_ear(self._hearing or PLAIN_HEARING, is_deaf=True)

    def forget_turns(self) -> None:
        """Leave it at that: the next agent has asked for nothing yet."""
        self._barges_in, self._hearing, self._ear = False, None, None

    def commit(self) -> None:
        """Emit `TurnEnded` now, wherever the user is in a sentence."""
        ear = self._ear
        self._emit(TurnEnded(0 if ear is None else ear.position_ms))
        self.forget_input()

    def forget_input(self) -> None:
        """Begin anew to look for a turn."""
        if self._ear is not None:
            self._ear.use_codec(self._codec)

    def mute_input(self, *, is_muted: bool) -> None:
        """Hear silence instead of the client, or the client again."""
        self._is_muted = is_muted

    def interrupt(self) -> None:
        """Fall silent as when the user talks over us."""
        self._barge_in(self._clock())

    def refuse_response(self, response_id: str) -> None:
        """Drop what still comes of a response; what is queued is played."""
        self._downlink.refuse_response(response_id)

    # The agent's side

    @property
    def sample_rate(self) -> int:
        """Samples per second of the PCM, both ways."""
        return self._codec.sample_rate

    @property
    def codec(self) -> str:
        """What the packets are, both ways."""
        return self._codec.name.lower()

    @property
    def clock_rate(self) -> int:
        """Ticks per second of its RTP clock."""
        return self._codec.clock_rate

    def use_rate(self, sample_rate: int) -> None:
        """Resample both ways.

        Errors: UsageError when it is none of 8000, 16000, 24000, 48000, or while audio is queued.
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
        self._hearing = Hearing(silence_ms, turn_model, detector)
        self._open_ear(self._hearing)

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
        self._announce(response_id)
        self._downlink.push_pcm(pcm, response_id=response_id)

    def push_packet(self, payload: bytes, ticks: int, *, response_id: str | None) -> None:
        """Queue a packet that needs no encoding.

        Errors: UsageError unless it takes some time, up to a second.
        """
        self._note_first_audio()
        self._announce(response_id)
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
        self._downlink.cancel_response(response_id, now=self._clock())

    def output_state(self) -> OutputState:
        """Return how things stand."""
        return self._downlink.output_state(now=self._clock())

    def report(self, event: AgentReport) -> None:
        """Take what the agent says beside its audio."""
        if self._report is not None:
            self._report(event)

    def transfer(self, agent: Agent | str) -> None:
        """Cancel the agent and give the call to another.

        Errors: UsageError for a name that nobody has configured.
        """
        if self._transfer is not None:
            self._transfer(agent)

    def hang_up(self, *, after: Literal["now", "drain"]) -> None:
        """End the call, now or when all that is queued has been played."""
        self.is_hanging_up = True
        self._is_draining = after == "drain"
        self._downlink.resume()
        if after == "now" or self._downlink.playout.is_idle:
            self._finish()

    # Internals

    def _emit(self, event: CallEvent) -> None:
        self._events.append(event)
        self._has_events = True

    def _open_ear(self, hearing: Hearing, *, is_deaf: bool = False) -> None:
        previous = self._ear
        self._ear = Ear(self._codec, hearing, is_deaf=is_deaf)
        if previous is not None:
            self._ear.go_on_from(previous)
        self.set_listener(self._listener)

    def _detect(self, ear: Ear, frame: AudioFrame | EncodedFrame, now: float) -> None:
        ear.hear(frame, now)
        self._follow_turns(ear, now)

    def _notice_silence(self, ear: Ear, now: float) -> None:
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

    def _follow_turns(self, ear: Ear, now: float) -> None:
        while (event := ear.turns.poll_event()) is not None:
            self._emit(event)
            self._time_turn(event, ear.position_ms, now)
            if isinstance(event, SpeechStarted) and self._barges_in:
                self._barge_in(now)

    def _barge_in(self, now: float) -> None:
        state = self._downlink.output_state(now=now)
        interruption = self._downlink.clear(now=now)
        if state.queued_ms:
            self._emit(Interrupted(interruption, state.response_id))

    def _time_turn(self, event: TurnEvent, position_ms: int, now: float) -> None:
        """Note when the user's speech ended; what the agent says next is the answer."""
        if isinstance(event, SpeechStarted):
            self._waiting = None
        elif isinstance(event, SpeechStopped):
            self._waiting = _Waiting(now - (position_ms - event.position_ms) / 1000)

    def _announce(self, response_id: str | None) -> None:
        """Let a session know that a response has audio, which may have to wait for its turn."""
        if self._downlink.watch is not None and response_id not in {None, self._announced}:
            self._announced = response_id
            if self._expect is not None:
                self._expect(response_id)

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
            self._emit(answer)
            self._waiting = None

    def _finish(self) -> None:
        self._is_draining = False
        self._end(EndCause.AGENT_FINISHED, "the agent hung up")


class _Waiting:
    """The user has fallen silent, and waits for an answer."""

    def __init__(self, since: float) -> None:
        self.since: Final = since
        self.first_audio_at: float | None = None


class _LoopBack:
    """Sends a client's packets back to it."""

    is_encoded: Final = True

    def __init__(self, downlink: Downlink) -> None:
        self._downlink: Final = downlink

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        if isinstance(frame, EncodedFrame):
            level = frame.level
            is_quiet = level is not None and level >= _QUIET_LEVEL
            self._downlink.push_live(frame.payload, frame.ticks, is_quiet=is_quiet)


def _silenced(frame: AudioFrame | EncodedFrame) -> AudioFrame | EncodedFrame:
    """Return silence of the same length."""
    if isinstance(frame, AudioFrame):
        return frame._replace(pcm=bytes(len(frame.pcm)), level=None, is_voice=None)
    return frame._replace(payload=b"", level=None, is_voice=None)
