"""What the user says, until its words are known: when to have it recognised, and when to begin to think.

1. The user pauses (or goes on talking for long): what was said so far is recognised, as a guess.
2. The words of a guess let the answer be prepared, in the hope that there will be no more of them.
3. The user goes on: the guess is void. Or the turn is committed: a guess that covers all of it is the
   transcript already; else all of the turn is recognised now.

Drain rule: after each ``handle_*``, `Turns.poll_action` to None; then `Turns.poll_timeout`.
"""

from collections import deque
from typing import Final, NamedTuple, TypeAlias

import attrs

__all__ = [
    "Action",
    "Forget",
    "Guess",
    "Recognise",
    "ShowPartial",
    "StopRecognising",
    "TranscriptFailed",
    "TranscriptKnown",
    "Turns",
    "same_words",
]

MAX_UNKNOWN: Final = 16
"""Committed turns whose words are not known yet; a recogniser so far behind loses the oldest."""

_SENTENCE_ENDS: Final = tuple(".!?。！？")


class Recognise(NamedTuple):
    """Have a stretch of the user's voice recognised."""

    number: int
    """To be given with what comes of it."""
    start_ms: int
    end_ms: int | None
    """None: up to now."""


class StopRecognising(NamedTuple):
    """Nobody needs this any more."""

    number: int


class Guess(NamedTuple):
    """Prepare an answer, unless one to the same words is being prepared."""

    text: str


class Forget(NamedTuple):
    """The user goes on talking: what was prepared will not do."""


class ShowPartial(NamedTuple):
    """Show the client more of the words of the present turn."""

    delta: str


class TranscriptKnown(NamedTuple):
    """These are the words of a turn."""

    item_id: str
    text: str


class TranscriptFailed(NamedTuple):
    """The words of a turn will never be known."""

    item_id: str
    reason: str


Action: TypeAlias = (
    Recognise | StopRecognising | Guess | Forget | ShowPartial | TranscriptKnown | TranscriptFailed
)


@attrs.define
class _Recognition:
    number: int
    text: str = ""
    is_done: bool = False
    item_id: str | None = None
    """Of the turn, once it is committed."""


class Turns:
    """The user's side of the conversation.

    Args:
        can_guess: Whether to recognise at each pause, and not only at the end of the turn.
        partial_seconds: How often to recognise while the user talks on; None for never.
    """

    def __init__(self, *, can_guess: bool, partial_seconds: float | None = None) -> None:
        self._can_guess = can_guess
        self._partial_seconds = partial_seconds
        self._number = 0
        self._start_ms: int | None = None
        """Of the present turn, while there is one."""
        self._is_speaking = False
        self._guess: _Recognition | None = None
        self._committed: dict[int, _Recognition] = {}
        self._shown = ""
        self._deadline: float | None = None
        self._actions: deque[Action] = deque()

    # Input

    def handle_speech_started(self, position_ms: int, *, now: float) -> None:
        """The user begins to speak, or goes on after a pause."""
        if self._start_ms is None:
            self._start_ms = position_ms
            self._shown = ""
        self._is_speaking = True
        self._drop_guess()
        if self._partial_seconds is not None:
            self._deadline = now + self._partial_seconds

    def handle_speech_stopped(self, position_ms: int) -> None:  # noqa: ARG002 - what follows is silence
        """The user pauses."""
        self._is_speaking = False
        self._deadline = None
        if self._can_guess and self._start_ms is not None:
            self._drop_guess()
            self._guess = self._recognise(self._start_ms, None)

    def handle_committed(self, item_id: str, start_ms: int, end_ms: int) -> None:
        """The turn is over."""
        recognition = None if self._is_speaking else self._guess
        if recognition is None:
            self._drop_guess()
            recognition = self._recognise(start_ms, end_ms)
        recognition.item_id = item_id
        self._guess = self._start_ms = self._deadline = None
        self._is_speaking = False
        if recognition.is_done:
            self._actions.append(TranscriptKnown(item_id, recognition.text))
            return
        self._committed[recognition.number] = recognition
        if len(self._committed) > MAX_UNKNOWN:
            oldest = next(iter(self._committed))
            self._actions.append(StopRecognising(oldest))
            self.handle_failure(oldest, "the recogniser is too far behind")

    def handle_words(self, number: int, text: str, *, is_final: bool) -> None:
        """Take all that has been recognised of a stretch so far."""
        recognition = self._find(number)
        if recognition is None or recognition.is_done:
            return
        recognition.text = text.strip()
        recognition.is_done = is_final
        if recognition.item_id is not None and is_final:
            del self._committed[number]
            self._actions.append(TranscriptKnown(recognition.item_id, recognition.text))
            return
        self._show(recognition.text)
        if recognition.text and (is_final or recognition.text.endswith(_SENTENCE_ENDS)):
            self._actions.append(Guess(recognition.text))

    def handle_failure(self, number: int, reason: str) -> None:
        """Nothing more comes of a recognition."""
        recognition = self._find(number)
        if recognition is None:
            return
        if recognition.item_id is None:
            self._guess = None  # The turn's end will try again.
        else:
            del self._committed[number]
            self._actions.append(TranscriptFailed(recognition.item_id, reason))

    def handle_timeout(self, *, now: float) -> None:
        """The user has been talking for a while: see what it is so far."""
        if self._deadline is None or now < self._deadline or self._partial_seconds is None:
            return
        self._deadline = now + self._partial_seconds
        # One at a time: a recogniser that is slower than speech shall not be given more and more to do.
        if self._start_ms is not None and (self._guess is None or self._guess.is_done):
            self._guess = self._recognise(self._start_ms, None)

    # Output

    def poll_action(self) -> Action | None:
        """Return what is to be done next."""
        return self._actions.popleft() if self._actions else None

    def poll_timeout(self) -> float | None:
        """Return when to call `handle_timeout`."""
        return self._deadline

    @property
    def is_settled(self) -> bool:
        """Whether the words of all committed turns are known."""
        return not self._committed

    # Internals

    def _find(self, number: int) -> _Recognition | None:
        if self._guess is not None and self._guess.number == number:
            return self._guess
        return self._committed.get(number)

    def _recognise(self, start_ms: int, end_ms: int | None) -> _Recognition:
        self._number += 1
        self._actions.append(Recognise(self._number, start_ms, end_ms))
        return _Recognition(self._number)

    def _drop_guess(self) -> None:
        if self._guess is None:
            return
        if not self._guess.is_done:
            self._actions.append(StopRecognising(self._guess.number))
        self._guess = None
        self._actions.append(Forget())

    def _show(self, text: str) -> None:
        """Show what has been added; a recogniser that changes its mind is corrected by the final words."""
        if text.startswith(self._shown) and len(text) > len(self._shown):
            self._actions.append(ShowPartial(text[len(self._shown) :]))
            self._shown = text


def same_words(one: str, other: str) -> bool:
    """Tell whether texts differ in nothing that is heard: case, punctuation and spaces aside."""
    return _letters(one) == _letters(other)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))
