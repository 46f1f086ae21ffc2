"""The agent's speech on its way over a socket: what waits to be sent, and what the client must be playing.

Speech is sent as fast as the agent makes it and the socket takes it, and a client plays it in real time. So
what was sent is accounted for by the clock: each piece begins where the one before it ends, or when sent.
Of what a client really heard only itself can tell, and does so when it truncates an item. What the agent says
beside its audio keeps its place among it, so that nothing follows the end of a response.

Drain rule: after each command or `Playback.handle_timeout`, `Playback.next_item` as long as the socket takes
more, then `Playback.poll_event` to None, then `Playback.poll_timeout`.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

import attrs

from voicegate.audio.pcm import SAMPLE_BYTES
from voicegate.call import Interruption, MarkPlayed, OutputState
from voicegate.errors import UsageError
from voicegate.realtime.agent_event import AgentReport
from voicegate.realtime.notice import OutputBegan, OutputDrained

__all__ = ["Piece", "Playback", "PlaybackEvent"]

CAPACITY_SECONDS: Final = 60.0
"""Speech that may wait for the socket, as much as for any client; past that the oldest is dropped."""

CAPACITY_ITEMS: Final = 20_000
"""Pieces, marks and reports that may wait: with more, the client has stopped reading."""

RESPONSES_KEPT: Final = 64
"""Responses of which it is still known that they were cancelled: late pieces come within seconds."""

_PIECE_SECONDS: Final = 0.2
"""Longer speech is cut: so much is sent for nothing when the user interrupts a slow socket."""

_LINGER_SECONDS: Final = 0.5
"""Speech that goes on so soon after its end, as live sound does, has never ended."""

PlaybackEvent: TypeAlias = OutputBegan | OutputDrained | MarkPlayed


class Piece(NamedTuple):
    """What is to be sent."""

    response_id: str | None
    pcm: bytes


@attrs.define(eq=False)
class _Speech:
    """One response of the agent's; without a name, all that is pushed until it has been played."""

    response_id: str | None
    played: int = 0
    """Samples of it in pieces that are over."""
    is_cancelled: bool = False
    has_begun: bool = False


class _Waiting(NamedTuple):
    speech: _Speech
    pcm: bytes = b""
    mark: str | None = None
    report: AgentReport | None = None


class _Sent(NamedTuple):
    speech: _Speech
    samples: int
    starts_at: float
    ends_at: float
    mark: str | None


class Playback:
    """Pieces in order of arrival; each sample is sent, dropped by overflow, cleared or discarded, once.

    Args:
        sample_rate: Of the PCM.
    """

    def __init__(self, *, sample_rate: int) -> None:
        self.is_paused = False
        self.dropped_samples = 0
        """Samples lost to overflow so far."""
        self.discarded_samples = 0
        """Samples of cancelled responses that came too late."""
        self._rate = sample_rate
        self._waiting: deque[_Waiting] = deque()
        self._waiting_samples = 0
        self._sent: deque[_Sent] = deque()
        self._sent_until = 0.0
        self._speeches: dict[str, _Speech] = {}
        self._latest = self._newest = _Speech(None)
        self._is_sounding = False
        self._has_had_audio = False
        self._events: deque[PlaybackEvent] = deque()

    # Input

    def use_rate(self, sample_rate: int) -> None:
        """Take PCM at another rate.

        Errors: UsageError when there was audio already.
        """
        if self._has_had_audio:
            raise UsageError("the sample rate is to be chosen before any audio is sent")
        self._rate = sample_rate

    def push(self, pcm: bytes, *, response_id: str | None) -> None:
        """Queue any number of samples; past the capacity the oldest are dropped and counted.

        Errors: UsageError when the last sample is incomplete.
        """
        if len(pcm) % SAMPLE_BYTES:
            raise UsageError(f"{len(pcm)} bytes of PCM end within a sample")
        speech = self._admit(response_id)
        if speech.is_cancelled:
            self.discarded_samples += len(pcm) // SAMPLE_BYTES
            return
        self._has_had_audio = True
        self._newest = speech
        size = int(self._rate * _PIECE_SECONDS) * SAMPLE_BYTES
        for start in range(0, len(pcm), size):
            self._enqueue(_Waiting(speech, pcm[start : start + size]))

    def mark(self, name: str) -> None:
        """Have `MarkPlayed` among the events when all before has been played; `clear` takes it away, too."""
        self._enqueue(_Waiting(self._newest, mark=name))

    def add_report(self, report: AgentReport) -> None:
        """Have a report come out behind all that waits; nothing but its turn takes it away."""
        self._enqueue(_Waiting(self._newest, report=report))

    def pause(self) -> None:
        """Send nothing more, and keep what waits."""
        self.is_paused = True

    def resume(self) -> None:
        """Go on where `pause` stopped."""
        self.is_paused = False

    def clear(self, *, now: float) -> Interruption:
        """Drop all that waits, and take it that the client falls silent, too.

        Responses of which something was queued, and the one that was pushed last, are cancelled.
        """
        self.handle_timeout(now=now)
        state = self.output_state(now=now)
        speeches = {piece.speech for piece in self._waiting} | {piece.speech for piece in self._sent}
        for speech in speeches | {self._newest}:
            speech.is_cancelled = True
        if self._sent and self._sent[0].starts_at < now:
            speech, speech.played = self._speech_at(now)
            self._latest = speech
        self._drop(lambda _: True)
        self._sent.clear()
        self._sent_until = now
        self.is_paused = self._is_sounding = False
        return Interruption(state.heard_ms, state.queued_ms)

    def cancel_response(self, response_id: str) -> None:
        """Drop what waits of a response, and what still comes of it; the client plays on what it has."""
        speech = self._find(response_id)
        speech.is_cancelled = True
        self._drop(lambda dropped: dropped is speech)

    def handle_timeout(self, *, now: float) -> None:
        """Let the client play on."""
        while self._sent and self._sent[0].ends_at <= now:
            piece = self._sent.popleft()
            piece.speech.played += piece.samples
            self._latest = piece.speech
            if piece.mark is not None:
                self._events.append(MarkPlayed(piece.mark, self._milliseconds(piece.speech.played)))
        if self._is_sounding and self._is_over(now):
            self._is_sounding = False
            played_ms = self._milliseconds(self._latest.played)
            self._events.append(OutputDrained(self._latest.response_id, played_ms))

    # Output

    def next_item(self, *, now: float) -> Piece | AgentReport | None:
        """Return what is to be sent next; audio is played from now on, or behind what is being played."""
        while self.has_waiting:
            speech, pcm, mark, report = self._waiting.popleft()
            if report is not None:
                return report
            samples = len(pcm) // SAMPLE_BYTES
            self._waiting_samples -= samples
            starts_at = max(now, self._sent_until)
            self._sent_until = starts_at + samples / self._rate
            self._sent.append(_Sent(speech, samples, starts_at, self._sent_until, mark))
            if mark is None:
                self._begin(speech)
                return Piece(speech.response_id, pcm)
        return None

    def poll_event(self) -> PlaybackEvent | None:
        """Return the next event."""
        return self._events.popleft() if self._events else None

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` has something to tell; None when that is never."""
        marks = (piece.ends_at for piece in self._sent if piece.mark is not None)
        over = self._sent_until + _LINGER_SECONDS if self._is_sounding and not self._waiting else None
        return next(marks, over)

    @property
    def is_overrun(self) -> bool:
        """Whether more waits than any client that reads would let wait."""
        return len(self._waiting) + len(self._sent) > CAPACITY_ITEMS

    @property
    def silent_at(self) -> float | None:
        """When the client has played all there is; None as long as something waits."""
        return None if self._waiting else self._sent_until

    @property
    def has_waiting(self) -> bool:
        """Whether there is more to send."""
        return bool(self._waiting) and not self.is_paused

    def output_state(self, *, now: float) -> OutputState:
        """Return how things stand."""
        left = round(max(0.0, self._sent_until - now) * self._rate)
        speech, heard = self._speech_at(now)
        return OutputState(
            queued_ms=-self._milliseconds(-(self._waiting_samples + left)),
            heard_ms=self._milliseconds(heard),
            response_id=speech.response_id,
            is_paused=self.is_paused,
        )

    # Internals

    def _admit(self, response_id: str | None) -> _Speech:
        if response_id is not None:
            return self._find(response_id)
        newest = self._newest
        goes_on = self._is_sounding or self._waiting
        return newest if goes_on and newest.response_id is None and not newest.is_cancelled else _Speech(None)

    def _find(self, response_id: str) -> _Speech:
        speech = self._speeches.get(response_id)
        if speech is None:
            speech = self._speeches[response_id] = _Speech(response_id)
            if len(self._speeches) > RESPONSES_KEPT:
                del self._speeches[next(iter(self._speeches))]
        return speech

    def _enqueue(self, piece: _Waiting) -> None:
        self._waiting.append(piece)
        self._waiting_samples += len(piece.pcm) // SAMPLE_BYTES
        while self._waiting_samples > CAPACITY_SECONDS * self._rate:
            oldest = next(index for index, piece in enumerate(self._waiting) if piece.pcm)
            samples = len(self._waiting[oldest].pcm) // SAMPLE_BYTES
            del self._waiting[oldest]
            self._waiting_samples -= samples
            self.dropped_samples += samples

    def _drop(self, is_unwanted: Callable[[_Speech], bool]) -> None:
        """Let go what waits of some speeches, marks and all; reports stay."""
        kept = [piece for piece in self._waiting if piece.report or not is_unwanted(piece.speech)]
        self._waiting = deque(kept)
        self._waiting_samples = sum(len(piece.pcm) // SAMPLE_BYTES for piece in kept)

    def _begin(self, speech: _Speech) -> None:
        self._is_sounding = True
        if not speech.has_begun:
            speech.has_begun = True
            self._events.append(OutputBegan(speech.response_id))

    def _is_over(self, now: float) -> bool:
        return not (self._sent or self._waiting) and now >= self._sent_until + _LINGER_SECONDS

    def _speech_at(self, now: float) -> tuple[_Speech, int]:
        """Return what is being played, or was last, and how many samples of it have been."""
        speech = self._latest
        more: dict[_Speech, int] = {}
        for piece in self._sent:
            speech = piece.speech
            played = min(piece.samples, max(0, int((now - piece.starts_at) * self._rate + 0.5)))
            more[speech] = more.get(speech, 0) + played
            if piece.ends_at > now:
                break
        return speech, speech.played + more.get(speech, 0)

    def _milliseconds(self, samples: int) -> int:
        return samples * 1000 // self._rate
