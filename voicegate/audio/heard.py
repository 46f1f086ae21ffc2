"""How much of our speech the client has heard: from the packets that left, the way there, and its reports.

What left is known; it arrives half a round trip later. A report names the last packet that arrived: when that
lags behind what should have arrived by then, the client hears nothing more, and nor does anybody assume so.
"""

from collections import deque
from typing import Final, NamedTuple

from voicegate.audio.playout import Speech

__all__ = ["HeardSpeech"]

KEPT_PACKETS: Final = 512
"""Ten seconds of speech, some reports long."""

TOLERANCE_SECONDS: Final = 0.1
"""A packet missing in a report may just be late; beyond this it counts as lost with all that follow."""

UNKNOWN_ROUND_TRIP: Final = 1.0
"""How long a report may take, as long as none has been measured."""


class _Sent(NamedTuple):
    sequence_number: int
    at: float
    speech: Speech
    samples: int
    """Of the speech, up to the end of this packet."""


class HeardSpeech:
    """What has been sent of each speech, and what came of it."""

    __slots__ = ("_arrived", "_is_stuck", "_round_trip", "_sent")

    def __init__(self) -> None:
        self._sent: deque[_Sent] = deque(maxlen=KEPT_PACKETS)
        self._arrived: _Sent | None = None
        self._round_trip: float | None = None
        self._is_stuck = False

    def set_round_trip(self, seconds: float) -> None:
        """The way to the client and back takes so long."""
        self._round_trip = seconds

    def note_sent(self, sequence_number: int, speech: Speech, *, now: float) -> None:
        """A packet has left that ends with the latest sample played of a speech."""
        self._sent.append(_Sent(sequence_number, now, speech, speech.played_samples))

    def handle_report(self, *, highest_sequence: int, round_trip: float | None, now: float) -> None:
        """The client says which packet was the last to arrive."""
        if round_trip is not None:
            self.set_round_trip(round_trip)
        while self._sent and (highest_sequence - self._sent[0].sequence_number) & 0xFFFF < 0x8000:
            self._arrived = self._sent.popleft()
        trip = UNKNOWN_ROUND_TRIP if self._round_trip is None else self._round_trip
        self._is_stuck = bool(self._sent) and self._sent[0].at < now - trip - TOLERANCE_SECONDS

    def samples(self, speech: Speech, *, now: float) -> int:
        """Return how many samples of a speech have been heard."""
        last = self._arrived
        if not self._is_stuck:
            horizon = now - (self._round_trip or 0.0) / 2
            last = next((sent for sent in reversed(self._sent) if sent.at <= horizon), last)
        return last.samples if last is not None and last.speech is speech else 0
