"""Whose turn it is: where speech begins, pauses and ends, in the client's voice.

A frame passes two gates. The first is the level that the client measured itself (RFC 6464): what is as quiet
as its background is not looked at any further, so that an encoded packet need not even be decoded. The second
is a `SpeechModel`. What it says of single frames becomes events:

1. LISTENING: when most of the last frames are speech, `SpeechStarted`, which tells where the first one was.
2. SPEAKING: when some frames in a row are none, `SpeechStopped`: a pause, or the end.
3. PAUSED: when speech goes on, `SpeechStarted` again; when the silence lasts, `TurnEnded`.

Drain rule: after each `TurnDetector.handle_audio` or command, `TurnDetector.poll_event` to None.
"""

from collections import deque
from enum import Enum, auto
from typing import Final, NamedTuple, Protocol, TypeAlias

from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES

__all__ = [
    "LevelGate",
    "SpeechModel",
    "SpeechStarted",
    "SpeechStopped",
    "TurnDetector",
    "TurnEnded",
    "TurnEvent",
    "TurnModel",
]

DEFAULT_SILENCE_MS: Final = 600
"""A pause this long ends a turn: pauses within sentences are mostly shorter."""

PRE_ROLL_MS: Final = 1000
"""What was heard lately is kept so long: the first syllable is in there whatever the detector needs."""

TURN_MS: Final = 8000
"""So much of a turn is kept for a turn model; those that look at sound take no more."""

_FRAME_MS: Final = 1000 // FRAMES_PER_SECOND
_WINDOW_FRAMES: Final = 5
_ONSET_FRAMES: Final = 4
"""Speech begins when 80 of the last 100 ms are voiced: a cough or a key is shorter."""

_PAUSE_MS: Final = 200
"""Silence within words is shorter."""

_MAX_GAP_FRAMES: Final = 60 * FRAMES_PER_SECOND
"""No silence that somebody asks for is longer, so the rest of a gap says nothing new."""

_RISE_PER_FRAME: Final = 3 / FRAMES_PER_SECOND
"""The estimate of the background falls at once and rises by 3 dB a second: pauses in speech undo that."""
_OVER_BACKGROUND: Final = 3.0
"""Decibels; a voice is twice as many above the background."""
_TRUSTED_SPREAD: Final = 15
"""Decibels between the loudest and the quietest level from which on they are taken for measured."""


class SpeechStarted(NamedTuple):
    """The user began to speak, or went on after a pause."""

    position_ms: int
    """Where, on the client's RTP clock: milliseconds of the call before the first voiced frame."""
    pre_roll: bytes
    """The samples of the last second up to now: the first syllable, and what came before it."""


class SpeechStopped(NamedTuple):
    """The user fell silent: a pause, or the end of the turn."""

    position_ms: int
    """The end of the last voiced frame."""


class TurnEnded(NamedTuple):
    """The silence has lasted, or a turn model says so: the user waits for an answer."""

    position_ms: int
    """The end of the last voiced frame."""


TurnEvent: TypeAlias = SpeechStarted | SpeechStopped | TurnEnded


class SpeechModel(Protocol):
    """Tells speech from anything else, frame by frame."""

    def is_speech(self, pcm: bytes) -> bool:
        """Take the next 20 ms."""


class TurnModel(Protocol):
    """Tells from a turn's sound whether the user has finished."""

    def wait_ms(self, pcm: bytes) -> int:
        """Return after how many milliseconds of silence this turn is over; 0 for now.

        Called once per pause, in the media loop if the agent shares its process: it has to be quick there,
        some milliseconds at most.

        Args:
            pcm: the turn so far, its last eight seconds at most.
        """


class LevelGate:
    """The background in the levels that a client sends with its packets (RFC 6464 §3)."""

    __slots__ = ("_background", "_loudest", "_quietest")

    def __init__(self) -> None:
        self._background = 0.0
        self._loudest, self._quietest = -127, 0

    def is_quiet(self, level: int | None) -> bool:
        """Take the next frame's level; tell whether it is background for certain.

        Levels that hardly ever change have not been measured: they say nothing.
        """
        if level is None:
            return False
        loudness = -level
        self._loudest = max(self._loudest, loudness)
        self._quietest = min(self._quietest, loudness)
        self._background = min(loudness, self._background + _RISE_PER_FRAME)
        is_trusted = self._loudest - self._quietest >= _TRUSTED_SPREAD
        return is_trusted and loudness < self._background + _OVER_BACKGROUND


class _State(Enum):
    LISTENING = auto()
    SPEAKING = auto()
    PAUSED = auto()


class TurnDetector:
    """Turns in one stream of samples.

    Args:
        model: of this stream alone; it learns from what it hears.
        sample_rate: of the samples.
        silence_ms: how long a silence ends the turn, unless a turn model knows better.
    """

    def __init__(
        self,
        model: SpeechModel,
        *,
        sample_rate: int,
        silence_ms: int = DEFAULT_SILENCE_MS,
        turn_model: TurnModel | None = None,
    ) -> None:
        self._model = model
        self._turn_model = turn_model
        self._sample_rate = sample_rate
        self._frame_samples = sample_rate // FRAMES_PER_SECOND
        self._silence_frames = _frames(silence_ms)
        self._pause_frames = min(_frames(_PAUSE_MS), self._silence_frames)
        self._wait_frames = self._silence_frames
        self._state = _State.LISTENING
        self._position = 0
        self._has_heard = False
        self._rest = bytearray()
        self._window: deque[bool] = deque(maxlen=_WINDOW_FRAMES)
        self._unvoiced = 0
        self._turn_frames = 0
        kept_ms = TURN_MS if turn_model is not None else PRE_ROLL_MS
        self._frames: deque[bytes] = deque(maxlen=_frames(kept_ms))
        self._events: deque[TurnEvent] = deque()

    # Input

    def handle_audio(self, pcm: bytes, *, position: int, is_quiet: bool = False) -> None:
        """Take the next samples, of any length.

        Args:
            pcm: what was heard; silence of the same length will do for what is quiet.
            position: samples of the call before these, on the client's RTP clock.
            is_quiet: whether a `LevelGate` says that this is background.
        """
        expected = self._position + len(self._rest) // SAMPLE_BYTES
        if self._has_heard and position >= expected + self._frame_samples:
            self.handle_silence(until=position)
        self._has_heard = True
        self._position = position - len(self._rest) // SAMPLE_BYTES
        self._rest += pcm
        size = self._frame_samples * SAMPLE_BYTES
        while len(self._rest) >= size:
            frame = bytes(self._rest[:size])
            del self._rest[:size]
            self._position += self._frame_samples
            self._frames.append(frame)
            self._handle_frame(is_voiced=not is_quiet and self._model.is_speech(frame))

    def handle_silence(self, *, until: int) -> None:
        """Take it that the client sent nothing, as with DTX, up to a position."""
        self._rest.clear()
        for _ in range(min(_MAX_GAP_FRAMES, (until - self._position) // self._frame_samples)):
            self._position += self._frame_samples
            self._handle_frame(is_voiced=False)

    def end_turn(self) -> None:
        """Let the turn be over now, if the user has fallen silent."""
        if self._state is _State.PAUSED:
            self._end_turn()

    # Output

    def poll_event(self) -> TurnEvent | None:
        """Return the next event."""
        return self._events.popleft() if self._events else None

    def pre_roll(self, ms: int) -> bytes:
        """Return the last samples heard, as far back as they are kept."""
        return self._last_frames(_frames(ms))

    @property
    def is_speaking(self) -> bool:
        """Whether speech has started and not stopped."""
        return self._state is _State.SPEAKING

    @property
    def is_in_turn(self) -> bool:
        """Whether a turn has begun and not ended."""
        return self._state is not _State.LISTENING

    # Internals

    def _handle_frame(self, *, is_voiced: bool) -> None:
        self._turn_frames += 1
        if self._state is _State.SPEAKING:
            self._await_pause(is_voiced)
            return
        self._window.append(is_voiced)
        self._unvoiced += 1
        if self._window.count(True) >= _ONSET_FRAMES:
            self._start_speech()
        elif self._state is _State.PAUSED and self._unvoiced >= self._wait_frames and not is_voiced:
            self._end_turn()  # not while speech may just be going on

    def _await_pause(self, is_voiced: bool) -> None:
        self._unvoiced = 0 if is_voiced else self._unvoiced + 1
        if self._unvoiced < self._pause_frames:
            return
        self._state = _State.PAUSED
        self._events.append(SpeechStopped(self._milliseconds(self._unvoiced)))
        self._wait_frames = self._silence_frames
        if self._turn_model is not None:
            self._wait_frames = _frames(self._turn_model.wait_ms(self._last_frames(self._turn_frames)))
        if self._unvoiced >= self._wait_frames:
            self._end_turn()

    def _start_speech(self) -> None:
        frames = len(self._window) - self._window.index(True)
        if self._state is _State.LISTENING:
            self._turn_frames = frames
        self._window.clear()
        self._unvoiced = 0
        self._state = _State.SPEAKING
        self._events.append(SpeechStarted(self._milliseconds(frames), self.pre_roll(PRE_ROLL_MS)))

    def _end_turn(self) -> None:
        self._state = _State.LISTENING
        self._events.append(TurnEnded(self._milliseconds(self._unvoiced)))

    def _milliseconds(self, frames_ago: int) -> int:
        return (self._position - frames_ago * self._frame_samples) * 1000 // self._sample_rate

    def _last_frames(self, count: int) -> bytes:
        kept = len(self._frames)
        return b"".join(self._frames[index] for index in range(max(0, kept - count), kept))


def _frames(ms: int) -> int:
    return max(1, ms // _FRAME_MS)
