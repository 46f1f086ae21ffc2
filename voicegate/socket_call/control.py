"""The media of a call that is nothing but a socket, as its `voicegate.call.Call` commands it.

The codec of such a call is PCM: a packet is samples at the call's rate; its clock has 8000 ticks a second.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Literal

import structlog

from voicegate.audio import SpeechStarted, SpeechStopped, TurnEnded, TurnModel
from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES
from voicegate.call import (
    Agent,
    AudioFrame,
    AudioListener,
    CallEvent,
    EncodedFrame,
    EndCause,
    Interrupted,
    Interruption,
    MarkPlayed,
    OutputState,
)
from voicegate.errors import UsageError
from voicegate.realtime.agent_event import AgentReport, ConversationTaken, InputTranscribed
from voicegate.realtime.notice import (
    CallNotice,
    OutputInterrupted,
    SpeechBegan,
    SpeechEnded,
    TurnOver,
)
from voicegate.socket_call.hearing import Hearing
from voicegate.socket_call.playback import Piece, Playback

__all__ = ["SAMPLE_RATE", "SocketControl"]

SAMPLE_RATE: Final = 24_000
"""Of ``audio/pcm``, so nothing is resampled unless the agent wants it."""

_CLOCK_RATE: Final = 8000
_FRAME_TICKS: Final = _CLOCK_RATE // FRAMES_PER_SECOND

_log = structlog.get_logger()


class SocketControl:
    """A `voicegate.call.CallControl` over what is said and heard in events.

    Drain rule: after audio for `hearing`, `next_frame` until False; after each of these, `next_item` as long
    as the socket takes more, `poll_event` and `poll_notice` to None, then `poll_timeout`. Commands of the
    agent's call ``stir``, which sees to it.

    Args:
        clock: The time.
        stir: Called when a command may have made something to send or to tell.
        end: Ends the call.
        report: Takes what the agent says that has no place among its audio.
        transfer: Gives the call to another agent.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        stir: Callable[[], None],
        end: Callable[[EndCause, str], None],
        report: Callable[[AgentReport], None],
        transfer: Callable[[Agent | str], None],
    ) -> None:
        self.is_hanging_up = False
        """Whether the call ends by itself, at the latest when all has been played."""
        self.playback: Final = Playback(sample_rate=SAMPLE_RATE)
        self.hearing: Final = Hearing(sample_rate=SAMPLE_RATE)
        self._clock = clock
        self._stir = stir
        self._end = end
        self._report = report
        self._transfer = transfer
        self._listener: AudioListener | None = None
        self._barges_in = False
        self._events: deque[CallEvent] = deque()
        self._notices: deque[CallNotice] = deque()

    # The socket's side

    def next_frame(self) -> bool:
        """Let the agent hear the next 20 ms, if there are any, after what they mean."""
        frame = self.hearing.poll_frame()
        if frame is None:
            return False
        try:
            self._follow_turns()
            if self._listener is not None:
                self._listener.hear(_encoded(frame) if self._listener.is_encoded else frame)
        except Exception as fault:
            _log.exception("agent failed as a listener")
            self._listener = None
            self._end(EndCause.AGENT_FAILED, repr(fault))
        return True

    def commit_input(self) -> None:
        """Let the user's turn be over, because the client says so; the agent hears what is left of it."""
        self.hearing.flush()
        while self.next_frame():
            pass
        self.hearing.clear()
        end_ms = self.hearing.position_ms
        self._events.append(TurnEnded(end_ms))
        self._notices.append(TurnOver(end_ms))

    def clear_input(self) -> None:
        """Forget what was begun."""
        was_in_turn = self.hearing.is_in_turn
        self.hearing.clear()
        if was_in_turn:
            self._events.append(TurnEnded(self.hearing.position_ms))

    def detect(self, *, silence_ms: int, barge_in: bool) -> None:
        """Find turns as the client wants it."""
        self._barges_in = barge_in
        self.hearing.follow_turns(silence_ms=silence_ms)

    def interrupt(self) -> None:
        """Fall silent as when the user talks over us."""
        interruption, response_id = self._interrupt()
        if interruption.dropped_ms:
            self._events.append(Interrupted(interruption, response_id))

    def forget_agent(self) -> None:
        """Leave nothing of what the agent asked for to the next; what is queued is still played."""
        self._listener = None
        self._barges_in = False
        self.hearing.stop_detecting()

    def next_item(self) -> Piece | AgentReport | None:
        """Return what is to be sent next."""
        item = self.playback.next_item(now=self._clock())
        self._follow_playback()
        return item

    def handle_timeout(self) -> None:
        """Let time pass."""
        now = self._clock()
        self.playback.handle_timeout(now=now)
        self._follow_playback()
        silent_at = self.playback.silent_at
        if self.is_hanging_up and silent_at is not None and silent_at <= now:
            self._end(EndCause.AGENT_FINISHED, "the agent hung up")

    def poll_event(self) -> CallEvent | None:
        """Return the next event for the agent."""
        return self._events.popleft() if self._events else None

    def poll_notice(self) -> CallNotice | None:
        """Return the next notice for the client's session."""
        return self._notices.popleft() if self._notices else None

    def poll_timeout(self) -> float | None:
        """Return when to call `handle_timeout`."""
        due = [self.playback.poll_timeout(), self.playback.silent_at if self.is_hanging_up else None]
        return min((at for at in due if at is not None), default=None)

    # The agent's side

    @property
    def sample_rate(self) -> int:
        """Samples per second of the PCM, both ways."""
        return self.hearing.sample_rate

    @property
    def codec(self) -> str:
        """What its packets are: nothing but PCM."""
        return "pcm16"

    @property
    def clock_rate(self) -> int:
        """Ticks per second, of which they take so many."""
        return _CLOCK_RATE

    def use_rate(self, sample_rate: int) -> None:
        """Resample both ways."""
        self.hearing.use_rate(sample_rate)
        self.playback.use_rate(sample_rate)

    def set_listener(self, listener: AudioListener | None) -> None:
        """Hand each frame to a listener from now on, as it wants it; None: nobody wants any."""
        self._listener = listener

    def loop_back(self) -> None:
        """Send the client's voice straight back, and nothing to any listener."""
        self.set_listener(_LoopBack(self))

    def detect_speech(
        self,
        *,
        silence_ms: int,
        barge_in: bool,
        turn_model: TurnModel | None,
        detector: Literal["webrtc", "silero"],
    ) -> None:
        """Begin to emit `SpeechStarted`, `SpeechStopped` and `TurnEnded`, and `Interrupted` with barge-in."""
        self._barges_in = barge_in
        self.hearing.detect_speech(silence_ms=silence_ms, turn_model=turn_model, detector=detector)

    def end_turn(self) -> None:
        """Emit `TurnEnded` now if the user has fallen silent, without waiting for more silence."""
        self.hearing.end_turn()
        self._follow_turns()
        self._stir()

    def pre_roll(self, ms: int) -> bytes:
        """Return the last samples heard; none before speech is detected."""
        return self.hearing.pre_roll(ms)

    def push_pcm(self, pcm: bytes, *, response_id: str | None) -> None:
        """Queue samples of any length."""
        self.playback.push(pcm, response_id=response_id)
        self._stir()

    def push_packet(self, payload: bytes, ticks: int, *, response_id: str | None) -> None:
        """Queue a packet, which is PCM here; an empty one is so much silence."""
        if not 0 < ticks <= _CLOCK_RATE:
            raise UsageError(f"a packet of {ticks} ticks")
        self.push_pcm(
            payload or bytes(ticks * self.sample_rate // _CLOCK_RATE * SAMPLE_BYTES), response_id=response_id
        )

    def clear(self) -> Interruption:
        """Drop all that is queued, and what still comes of the responses it belongs to."""
        interruption, _ = self._interrupt()
        self._stir()
        return interruption

    def pause(self) -> None:
        """Send no more, and keep what is queued; what the client has it plays on."""
        self.playback.pause()

    def resume(self) -> None:
        """Go on where `pause` stopped."""
        self.playback.resume()
        self._stir()

    def mark(self, name: str) -> None:
        """Emit `MarkPlayed` when all that was pushed before must have been played."""
        self.playback.mark(name)
        self._stir()

    def cancel_response(self, response_id: str) -> None:
        """Drop what is queued of a response, and what still comes of it; the client plays on what it has."""
        self.playback.cancel_response(response_id)
        self._stir()

    def output_state(self) -> OutputState:
        """Return how things stand, as far as a clock can tell."""
        return self.playback.output_state(now=self._clock())

    def report(self, event: AgentReport) -> None:
        """Take what the agent says beside its audio, in its place behind audio that waits."""
        if isinstance(event, ConversationTaken | InputTranscribed):
            self._report(event)
        else:
            self.playback.add_report(event)
        self._stir()

    def transfer(self, agent: Agent | str) -> None:
        """Cancel the agent and give the call to another."""
        self._transfer(agent)

    def hang_up(self, *, after: Literal["now", "drain"]) -> None:
        """End the call, now or when all that is queued has been played."""
        self.is_hanging_up = True
        self.playback.resume()
        if after == "now":
            self._end(EndCause.AGENT_FINISHED, "the agent hung up")
        self._stir()

    # Internals

    def _follow_turns(self) -> None:
        while (event := self.hearing.poll_event()) is not None:
            self._events.append(event)
            match event:
                case SpeechStarted(position_ms=position_ms):
                    self._notices.append(SpeechBegan(position_ms))
                    if self._barges_in:
                        self.interrupt()
                case SpeechStopped(position_ms=position_ms):
                    self._notices.append(SpeechEnded(position_ms))
                case TurnEnded(position_ms=position_ms):
                    self._notices.append(TurnOver(position_ms))

    def _interrupt(self) -> tuple[Interruption, str | None]:
        now = self._clock()
        state = self.playback.output_state(now=now)
        interruption = self.playback.clear(now=now)
        self._follow_playback()
        if state.queued_ms:
            self._notices.append(OutputInterrupted(state.response_id, *interruption))
        return interruption, state.response_id

    def _follow_playback(self) -> None:
        while (event := self.playback.poll_event()) is not None:
            if isinstance(event, MarkPlayed):
                self._events.append(event)
            else:
                self._notices.append(event)


class _LoopBack:
    """Says back what it hears."""

    is_encoded: Final = False

    def __init__(self, control: SocketControl) -> None:
        self._control = control

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        if isinstance(frame, AudioFrame):
            self._control.push_pcm(frame.pcm, response_id=None)


def _encoded(frame: AudioFrame) -> EncodedFrame:
    timestamp = frame.position * _CLOCK_RATE // frame.sample_rate
    return EncodedFrame(frame.pcm, _FRAME_TICKS, timestamp & 0xFFFFFFFF)
