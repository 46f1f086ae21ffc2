"""What waits for the other end to read it, of all calls: bounded, and fair between them.

Per call there are two lanes. Commands and events take the fast one, and all of it goes first; audio, and what
must stay in its place within audio (a mark, say), takes the other, of which each call gets its share in turn.

Input: `push`, `push_audio`, `discard_audio`. Output: `take`. Layer: core (sans-IO).
"""

from collections import deque
from typing import Final

__all__ = ["Outbox"]

_SHARE_BYTES: Final = 65_536
"""A call's audio in one turn: two thirds of a second of PCM at 48 kHz."""


class Outbox:
    """Two lanes for each call.

    Args:
        audio_limit: Pieces of audio that a call may have waiting; then the oldest is dropped and counted.
        control_limit: Bytes in the fast lanes at which the other end is given up (`is_overrun`).
    """

    def __init__(self, *, audio_limit: int, control_limit: int) -> None:
        self.audio_dropped = 0
        """Pieces of audio that were dropped, of all calls."""
        self._audio_limit = audio_limit
        self._control_limit = control_limit
        self._control: deque[bytes] = deque()
        self.control_bytes = 0
        """Bytes in the fast lane."""
        self._audio: dict[int, deque[bytes]] = {}

    def __bool__(self) -> bool:
        return bool(self._control or self._audio)

    @property
    def is_overrun(self) -> bool:
        """Whether the other end is so far behind that it is not worth waiting for."""
        return self.control_bytes > self._control_limit

    def push(self, data: bytes) -> None:
        """Add what goes before all audio."""
        self._control.append(data)
        self.control_bytes += len(data)

    def push_audio(self, call: int, data: bytes) -> bool:
        """Add a piece of a call's audio; False when that cost the oldest piece its place."""
        lane = self._audio.get(call)
        if lane is None:
            lane = self._audio[call] = deque()
        lane.append(data)
        if len(lane) <= self._audio_limit:
            return True
        lane.popleft()
        self.audio_dropped += 1
        return False

    def discard_audio(self, call: int) -> None:
        """Drop all audio of a call."""
        self._audio.pop(call, None)

    def take(self, limit: int) -> bytes:
        """Return what goes next: whole pieces, until ``limit`` bytes are reached or nothing is left."""
        taken: list[bytes] = []
        size = 0
        while self._control and size < limit:
            taken.append(self._control.popleft())
            size += len(taken[-1])
        self.control_bytes -= size
        while self._audio and size < limit:
            call = next(iter(self._audio))
            lane = self._audio.pop(call)
            end = min(size + _SHARE_BYTES, limit)
            while lane and size < end:
                taken.append(lane.popleft())
                size += len(taken[-1])
            if lane:  # behind all others
                self._audio[call] = lane
        return b"".join(taken)
