"""What stands behind a `Call` whose media is in another process: commands go there, its state comes here."""

from collections import deque
from math import inf
from typing import Final, Literal, NamedTuple

import trio

from voicegate.agents.process.message import (
    DetectionAsked,
    HangUpAsked,
    Order,
    OutputCleared,
    OutputReported,
    RateChosen,
    ResponseDropped,
    SpeechMarked,
    SpeechPushed,
    TransferAsked,
    WantsChosen,
)
from voicegate.agents.process.sender import Sender
from voicegate.agents.process.session import TICKS_PER_SECOND, speech_ticks
from voicegate.call import (
    Agent,
    AgentReport,
    AudioFrame,
    AudioListener,
    EncodedFrame,
    Interrupted,
    Interruption,
    OutputState,
    ResponseEnded,
    SpeechStarted,
    SpeechStopped,
    TurnModel,
    Wants,
)
from voicegate.errors import UsageError

__all__ = ["RemoteControl"]

WINDOW_SECONDS: Final = 5.0
"""Speech that may be in the media process; the rest waits here, where a burst can delay no command. So
long an agent may block its process in the middle of a sentence, and nothing is heard of it."""

CAPACITY_SECONDS: Final = 900.0
"""Speech that may wait here, 86 MB at 48 kHz, of the agent's own memory; past that the oldest is dropped."""

_PIECE_SECONDS: Final = 0.1
"""Longer speech is cut, so that the window can be kept."""

_PRE_ROLL_SECONDS: Final = 1.0

_TURN_SECONDS: Final = 8.0
"""The end of a turn that a turn model is given."""

_LONGEST_PAUSE_MS: Final = 60_000
"""Ends a turn whatever its turn model says."""

_RATES: Final = (8000, 16_000, 24_000, 48_000)

_TICKS_PER_MS: Final = TICKS_PER_SECOND // 1000


class _Piece(NamedTuple):
    """Something in its place within the output."""

    ticks: int
    message: object
    response_id: str | None


class RemoteControl:
    """The media of one call, as `voicegate.call.CallControl` has it.

    Args:
        number: What the link calls the call.
        link: To the media process.
        sample_rate: The codec's, or the one that was agreed on.
        codec: The call's.
        clock_rate: Of RTP, in that codec.
    """

    def __init__(self, number: int, link: Sender, *, sample_rate: int, codec: str, clock_rate: int) -> None:
        self.is_leaving = False
        """Whether the agent has hung up behind its last words."""
        self._number = number
        self._link = link
        self._rate = sample_rate
        self.codec: Final = codec
        """What the packets are, both ways."""
        self.clock_rate: Final = clock_rate
        """Ticks per second of its RTP clock."""
        self._listener: AudioListener | None = None
        # Speech: what waits here, what was passed on, and what has become of that
        self._waiting: deque[_Piece] = deque()
        self._waiting_ticks = 0
        self._passed_on = 0
        self._received = 0
        self._speech_start = 0
        self._state = OutputState(0, 0, None, False)
        self._clears = 0
        self._interruptions = 0
        # What was heard lately, once speech is detected
        self._heard: bytearray | None = None
        self._turn: bytearray | None = None
        self._turn_model: TurnModel | None = None
        self._position_ms = 0.0
        self._turn_ends_at = inf
        self._turn_changed = trio.Event()

    @property
    def sample_rate(self) -> int:
        """Samples per second of the PCM, both ways."""
        return self._rate

    def use_rate(self, sample_rate: int) -> None:
        """Resample both ways."""
        if sample_rate not in _RATES:
            raise UsageError(f"no PCM at {sample_rate} Hz, only at {_RATES}")
        self._post(RateChosen(sample_rate=sample_rate))
        self._rate = sample_rate

    # In

    def set_listener(self, listener: AudioListener | None) -> None:
        """Hand each frame to a listener from now on."""
        self._listener = listener
        wants: Wants = "nothing" if listener is None else "encoded" if listener.is_encoded else "pcm"
        self._post(WantsChosen(wants=wants))

    def loop_back(self) -> None:
        """Send the client's packets straight back."""
        self._listener = None
        self._post(Order(kind="loop_back"))

    def detect_speech(
        self,
        *,
        silence_ms: int,
        barge_in: bool,
        turn_model: TurnModel | None,
        detector: Literal["webrtc", "silero"],
    ) -> None:
        """Begin to emit what the user's voice does; a turn model is asked here, about what was heard here."""
        self._heard = self._heard or bytearray()
        self._turn_model = turn_model
        silence_ms = silence_ms if turn_model is None else _LONGEST_PAUSE_MS
        self._post(DetectionAsked(silence_ms=silence_ms, barge_in=barge_in, detector=detector))

    def end_turn(self) -> None:
        """Emit `TurnEnded` now if the user has fallen silent."""
        self._post(Order(kind="end_turn"))

    def pre_roll(self, ms: int) -> bytes:
        """Return the last samples heard."""
        size = ms * self._rate // 1000 * 2
        return bytes(self._heard[-size:]) if self._heard and size else b""

    def handle_frame(self, frame: AudioFrame | EncodedFrame) -> None:
        """Take the client's voice from the link."""
        if isinstance(frame, AudioFrame) and self._heard is not None:
            self._position_ms = frame.position * 1000 / frame.sample_rate
            _append(self._heard, frame.pcm, limit=int(_PRE_ROLL_SECONDS * self._rate) * 2)
            if self._turn is not None:
                _append(self._turn, frame.pcm, limit=int(_TURN_SECONDS * self._rate) * 2)
        # What was on its way when the agent chose to have it differently is nothing it can use.
        if self._listener is not None and self._listener.is_encoded == isinstance(frame, EncodedFrame):
            self._listener.hear(frame)

    def handle_speech(self, event: SpeechStarted | SpeechStopped) -> None:
        """Take a turn's begin or pause from the link; the turn model decides what it is."""
        self._turn_ends_at = inf
        if isinstance(event, SpeechStarted):
            self._turn = bytearray(event.pre_roll)
        elif self._turn_model is not None and self._turn is not None:
            waited_ms = self._position_ms - event.position_ms
            wait_ms = self._turn_model.wait_ms(bytes(self._turn))
            self._turn_ends_at = trio.current_time() + (wait_ms - waited_ms) / 1000
        self._turn_changed.set()

    async def run(self) -> None:
        """End turns when the turn model wants it, as long as the call goes on."""
        while True:
            changed = self._turn_changed = trio.Event()
            with trio.move_on_at(self._turn_ends_at):
                await changed.wait()
                continue
            self._turn_ends_at = inf
            self.end_turn()

    # Out

    def push_pcm(self, pcm: bytes, *, response_id: str | None) -> None:
        """Queue samples of any length."""
        if len(pcm) % 2:
            raise UsageError(f"{len(pcm)} bytes of PCM end within a sample")
        size = int(self._rate * _PIECE_SECONDS) * 2
        if len(pcm) <= size:
            self._push(SpeechPushed(self._interruptions, 0, response_id, pcm))
            return
        for start in range(0, len(pcm), size):
            self._push(SpeechPushed(self._interruptions, 0, response_id, pcm[start : start + size]))

    def push_packet(self, payload: bytes, ticks: int, *, response_id: str | None) -> None:
        """Queue a packet that needs no encoding."""
        if not 0 < ticks <= TICKS_PER_SECOND:
            raise UsageError(f"a packet of {ticks} ticks")
        self._push(SpeechPushed(self._interruptions, ticks, response_id, payload))

    def mark(self, name: str) -> None:
        """Emit `MarkPlayed` when all that was pushed before has been played."""
        self._enqueue(_Piece(0, SpeechMarked(interruptions=self._interruptions, name=name), None))

    def clear(self) -> Interruption:
        """Drop all that is queued, here and there."""
        state = self.output_state()
        self._drop_waiting()
        self._link.outbox.discard_audio(self._number)
        self._post(OutputCleared())
        self._clears += 1
        # Reports from before the other end knows of this are out of date.
        self._passed_on = self._received = self._speech_start = 0
        self._state = OutputState(0, 0, None, is_paused=False)
        return Interruption(state.heard_ms, state.queued_ms)

    def pause(self) -> None:
        """Fall silent, and keep what is queued."""
        self._state = self._state._replace(is_paused=True)
        self._post(Order(kind="pause"))

    def resume(self) -> None:
        """Go on where `pause` stopped."""
        self._state = self._state._replace(is_paused=False)
        self._post(Order(kind="resume"))

    def cancel_response(self, response_id: str) -> None:
        """Drop what is queued of a response, and what still comes of it."""
        self._post(ResponseDropped(response_id=response_id))
        self.handle_cancelled(response_id)

    def output_state(self) -> OutputState:
        """Return how things stood a moment ago."""
        queued = self._ahead + self._waiting_ticks
        return self._state._replace(queued_ms=-(-queued // _TICKS_PER_MS))

    def hang_up(self, *, after: Literal["now", "drain"]) -> None:
        """End the call, now or when all that is queued has been played."""
        if after == "now":
            self._post(HangUpAsked(after="now"))
        else:
            self.is_leaving = True
            self._enqueue(_Piece(0, HangUpAsked(after="drain"), None))

    def report(self, event: AgentReport) -> None:
        """Take what the agent says beside its audio; a response ends behind its last sample."""
        if isinstance(event, ResponseEnded):
            self._enqueue(_Piece(0, event, None))
        else:
            self._post(event)

    def transfer(self, agent: Agent | str) -> None:
        """Give the call to another agent.

        Errors: UsageError for a function, which the media process could not call.
        """
        if not isinstance(agent, str):
            raise UsageError("from a process of its own, an agent transfers a call by the name of another")
        self._post(TransferAsked(agent=agent))

    def handle_interrupted(self, _event: Interrupted) -> None:
        """Learn from the link that the user began to speak, and the output there is empty."""
        self._interruptions += 1
        self._drop_waiting()

    def handle_cancelled(self, response_id: str) -> None:
        """Drop what waits of a response, which the other end has dropped already."""
        kept = [piece for piece in self._waiting if piece.response_id != response_id]
        self._waiting_ticks = sum(piece.ticks for piece in kept)
        self._waiting = deque(kept)
        self._pass_on()

    def handle_report(self, report: OutputReported) -> None:
        """Learn from the link how the output does."""
        if report.clears != self._clears:
            return
        self._received = report.received
        # What was heard of the speech before the present one says nothing about this one.
        heard_ms = report.heard_ms if report.received > self._speech_start else 0
        self._state = self._state._replace(queued_ms=report.queued_ms, heard_ms=heard_ms)
        self._pass_on()

    # Internals

    @property
    def _ahead(self) -> int:
        """Ticks that the other end has or is about to have."""
        return self._passed_on - self._received + self._state.queued_ms * _TICKS_PER_MS

    def _push(self, speech: SpeechPushed) -> None:
        if not self._ahead and not self._waiting:
            self._speech_start = self._passed_on
            self._state = self._state._replace(heard_ms=0, response_id=speech.response_id)
        ticks = speech_ticks(speech, sample_rate=self._rate, clock_rate=self.clock_rate)
        self._enqueue(_Piece(ticks, speech, speech.response_id))
        while self._waiting_ticks > CAPACITY_SECONDS * TICKS_PER_SECOND:
            self._waiting_ticks -= self._waiting.popleft().ticks

    def _enqueue(self, piece: _Piece) -> None:
        self._waiting.append(piece)
        self._waiting_ticks += piece.ticks
        self._pass_on()

    def _pass_on(self) -> None:
        window = WINDOW_SECONDS * TICKS_PER_SECOND
        while self._waiting and (self._ahead < window or not self._waiting[0].ticks):
            ticks, message, _ = self._waiting.popleft()
            self._waiting_ticks -= ticks
            self._passed_on += ticks
            self._link.post_audio(self._number, message, is_kept=isinstance(message, ResponseEnded))

    def _drop_waiting(self) -> None:
        for piece in self._waiting:
            if isinstance(piece.message, ResponseEnded):
                self._post(piece.message)
        # Of these responses, more may come that the other end could not tell to be old.
        for response_id in {piece.response_id for piece in self._waiting} - {None}:
            self._post(ResponseDropped(response_id=str(response_id)))
        self._waiting.clear()
        self._waiting_ticks = 0
        if self.is_leaving:
            self._post(HangUpAsked(after="drain"))

    def _post(self, message: object) -> None:
        self._link.post(self._number, message)


def _append(ring: bytearray, pcm: bytes, *, limit: int) -> None:
    ring += pcm
    del ring[: max(len(ring) - limit, 0)]
