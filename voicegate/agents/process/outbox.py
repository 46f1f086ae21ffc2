"""What waits for the other end to read it, of all calls: bounded, and fair between them.

Per call there are two lanes. Commands and events take the fast one, and all of it goes first; audio, and what
must stay in its place within audio (a mark, say), takes the other, of which each call gets its share in turn.

Input: `push`, `push_audio`, `discard_audio`. Output: `take`, `take_pieces`. Layer: core (sans-IO).
"""

from collections import deque
from typing import Final, TypeAlias

__all__ = ["Outbox", "Piece"]

_SHARE_BYTES: Final = 65_536
"""A call's audio in one turn: two thirds of a second of PCM at 48 kHz."""

Piece: TypeAlias = bytes | str
"""A message as it is sent: binary, or on some links text."""


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
        self._control: deque[Piece] = deque()
        self.control_bytes = 0
        """Bytes in the fast lane."""
        self._audio: dict[int, deque[Piece]] = {}
        # What is to be sent even when the audio around it is dropped: the same objects as in the lane.
        self._kept: dict[int, deque[Piece]] = {}

    def __bool__(self) -> bool:
        return bool(self._control or self._audio)

    @property
    def is_overrun(self) -> bool:
        """Whether the other end is so far behind that it is not worth waiting for."""
        return self.control_bytes > self._control_limit

    def push(self, data: Piece) -> None:
        """Add what goes before all audio."""
        self._control.append(data)
        self.control_bytes += len(data)

    def push_audio(self, call: int, data: Piece, *, is_kept: bool = False) -> bool:
        """Add a piece of a call's audio; False when that cost the oldest piece its place."""
        lane = self._audio.get(call)
        if lane is None:
            lane = self._audio[call] = deque()
        lane.append(data)
        if is_kept:
            self._kept.setdefault(call, deque()).append(data)
        if len(lane) <= self._audio_limit:
            return True
        oldest = lane.popleft()
        if self._was_kept(call, oldest):
            self.push(oldest)
            return True
        self.audio_dropped += 1
        return False

    def discard_audio(self, call: int) -> None:
        """Drop all audio of a call; what is kept goes now."""
        self._audio.pop(call, None)
        for data in self._kept.pop(call, ()):
            self.push(data)

    def clear(self) -> None:
        """Drop everything."""
        self._control.clear()
        self._audio.clear()
        self._kept.clear()
        self.control_bytes = 0

    def take(self, limit: int) -> bytes:
        """Return what goes next, where all of it is binary, as one piece."""
        return b"".join(self.take_pieces(limit))  # type: ignore[arg-type]

    def take_pieces(self, limit: int) -> list[Piece]:
        """Return what goes next: whole pieces, until ``limit`` bytes are reached or nothing is left."""
        taken: list[Piece] = []
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
                if self._kept:
                    self._was_kept(call, taken[-1])
            if lane:  # behind all others
                self._audio[call] = lane
        return taken

    def _was_kept(self, call: int, data: Piece) -> bool:
        """Forget a piece that leaves the lane; return whether it was one to be kept."""
        kept = self._kept.get(call)
        if not kept or kept[0] is not data:
            return False
        kept.popleft()
        if not kept:
            del self._kept[call]
        return True
