"""What the client hears of the agent's speech, told to its session: where each begins, and where it is over.

Speech that goes on soon after the queue ran empty has never ended: live sound comes a frame at a time.

Drain rule: after each slot or command, `OutputWatch.poll_notice` to None.
"""

from collections import deque
from typing import Final, TypeAlias

from voicegate.audio.playout import Speech
from voicegate.realtime.notice import OutputBegan, OutputDrained, OutputInterrupted

__all__ = ["OutputNotice", "OutputWatch"]

LINGER_SECONDS: Final = 0.2
"""So long the queue is empty before a speech is over; a client's own buffer holds about as much."""

_NOTICE_LIMIT: Final = 64
"""Notices until they are polled; a slot brings about two at most."""

OutputNotice: TypeAlias = OutputBegan | OutputDrained | OutputInterrupted


class OutputWatch:
    """Follows the packets of one call.

    Args:
        sample_rate: in which speech is counted.
        slot_seconds: how long a slot is.
    """

    def __init__(self, *, sample_rate: int, slot_seconds: float) -> None:
        self._sample_rate = sample_rate
        self._linger_slots = round(LINGER_SECONDS / slot_seconds)
        self._speech: Speech | None = None
        self._dropped: Speech | None = None
        """What was dropped last: the sound that dies away is still its."""
        self._earlier_samples = 0
        """Played of unnamed speech before the present piece of it."""
        self._silent_slots = 0
        self._notices: deque[OutputNotice] = deque(maxlen=_NOTICE_LIMIT)

    # Input

    def note_sent(self, speech: Speech) -> None:
        """A packet of a speech has left."""
        self._silent_slots = 0
        if speech is self._speech or speech is self._dropped:
            return
        if self._speech is not None and self._speech.response_id is speech.response_id is None:
            self._earlier_samples += self._speech.played_samples
        else:
            self._end()
            self._notices.append(OutputBegan(speech.response_id))
        self._speech = speech

    def note_silence(self, *, is_idle: bool) -> None:
        """A slot went by without speech; ``is_idle`` unless some waits."""
        if self._speech is None:
            return
        self._silent_slots = self._silent_slots + 1 if is_idle else 0
        if self._silent_slots >= self._linger_slots:
            self._end()

    def note_dropped(self, speech: Speech, *, heard_ms: int, dropped_ms: int) -> None:
        """What was still to come of a speech is dropped; if that was nothing, it has been played whole."""
        if speech is self._speech and dropped_ms:
            heard_ms += self._milliseconds(self._earlier_samples)
            self._speech, self._earlier_samples = None, 0
        self._end()
        if dropped_ms:
            self._dropped = speech
            self._notices.append(OutputInterrupted(speech.response_id, heard_ms, dropped_ms))

    # Output

    def poll_notice(self) -> OutputNotice | None:
        """Return the next notice."""
        return self._notices.popleft() if self._notices else None

    # Internals

    def _end(self) -> None:
        if self._speech is not None:
            played_ms = self._milliseconds(self._earlier_samples + self._speech.played_samples)
            self._notices.append(OutputDrained(self._speech.response_id, played_ms))
        self._speech, self._earlier_samples = None, 0

    def _milliseconds(self, samples: int) -> int:
        return samples * 1000 // self._sample_rate
