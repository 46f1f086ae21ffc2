"""The output queue of a call: speech comes in bursts, and goes out one frame per slot.

There is no clock here: whoever keeps the time calls `PlayoutQueue.pull` once per slot.
"""

from collections import deque
from typing import Final, NamedTuple

from voicegate.audio.pcm import SAMPLE_BYTES, fade_out
from voicegate.errors import UsageError

__all__ = ["Packet", "PlayedMark", "PlayoutQueue", "Speech"]

CAPACITY_SECONDS: Final = 60.0
"""Synthetic speech comes faster than it is spoken; a minute of it is a long answer, and 5.8 MB at 48 kHz."""

CAPACITY_PIECES: Final = 6000
"""A minute of packets of 10 ms; marks count, too."""

RESPONSES_KEPT: Final = 64
"""Responses of which it is still known that they were cancelled: late pieces come within seconds."""

FADES_PER_SECOND: Final = 200
"""An interruption fades out over 5 ms: too short to be heard as sound, too long to be heard as a click."""


class Speech:
    """One response of the agent's; without a name, all that is pushed until the queue runs empty."""

    __slots__ = ("is_cancelled", "played_samples", "response_id")

    def __init__(self, response_id: str | None) -> None:
        self.response_id: Final = response_id
        self.played_samples = 0
        self.is_cancelled = False


class Packet(NamedTuple):
    """A payload that needs no encoding."""

    payload: bytes
    """Empty for one that was lost: nothing is sent for so long."""
    ticks: int
    """Its length on the RTP clock."""


class PlayedMark(NamedTuple):
    """Everything before a mark has been pulled."""

    name: str
    played_samples: int
    """Of the speech before it."""


class _Samples(NamedTuple):
    speech: Speech
    # CPython drops the front of a bytearray by moving its start: a frame taken is all that is copied.
    pcm: bytearray


class _Encoded(NamedTuple):
    speech: Speech
    packet: Packet
    samples: int


class _Mark(NamedTuple):
    speech: Speech
    name: str


class PlayoutQueue:
    """Pieces in order of arrival; each sample is played, dropped by overflow, cleared or discarded, once.

    Args:
        sample_rate: samples per second, a multiple of 200.
        clock_rate: of RTP, in which packets are measured; equals the sample rate for most codecs.
        frame_ms: what one slot takes.
        capacity_seconds: how much may be queued.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        clock_rate: int | None = None,
        frame_ms: int = 20,
        capacity_seconds: float = CAPACITY_SECONDS,
    ) -> None:
        self.is_idle = True
        """Whether something else may be played now."""
        self._has_marks = False
        self.sample_rate: Final = sample_rate
        self.played_samples = 0
        """Samples pulled so far; neither padding nor a fade-out counts."""
        self.queued_samples = 0
        """Samples that wait."""
        self.dropped_samples = 0
        """Samples lost to overflow so far."""
        self.discarded_samples = 0
        """Samples of cancelled responses that came too late."""
        self.is_paused = False
        self._clock_rate = clock_rate or sample_rate
        self._frame_bytes = sample_rate * frame_ms // 1000 * SAMPLE_BYTES
        self._fade_bytes = sample_rate // FADES_PER_SECOND * SAMPLE_BYTES
        self._capacity = int(sample_rate * capacity_seconds)
        self._pieces: deque[_Samples | _Encoded | _Mark] = deque()
        self._speeches: dict[str, Speech] = {}
        self.latest = Speech(None)
        """What was played last."""
        self._newest = self.latest
        self._marks: deque[PlayedMark] = deque()
        self._fade = b""
        self._is_sounding = False

    # Input

    def push(self, pcm: bytes, *, response_id: str | None = None) -> None:
        """Queue any number of samples; past the capacity the oldest are dropped and counted.

        Errors: UsageError when the last sample is incomplete.
        """
        if len(pcm) % SAMPLE_BYTES:
            raise UsageError(f"{len(pcm)} bytes of PCM end within a sample")
        speech = self._admit(response_id, len(pcm) // SAMPLE_BYTES)
        if speech is None:
            return
        overflow = len(pcm) // SAMPLE_BYTES - self._capacity
        if overflow > 0:  # Not even queued: to copy ten minutes takes longer than a frame.
            pcm = pcm[overflow * SAMPLE_BYTES :]
            self.queued_samples -= overflow
            self.dropped_samples += overflow
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, _Samples) and last.speech is speech:
            last.pcm.extend(pcm)
        else:
            self._pieces.append(_Samples(speech, bytearray(pcm)))
        self._drop_overflow()
        self._note_idle()

    def push_packet(self, payload: bytes, ticks: int, *, response_id: str | None = None) -> None:
        """Queue a payload that plays for so long on the RTP clock; overflow as for `push`.

        Errors: UsageError unless it takes some time, up to a second.
        """
        samples = ticks * self.sample_rate // self._clock_rate
        if not 0 < samples <= self.sample_rate:
            raise UsageError(f"a packet of {ticks} ticks")
        speech = self._admit(response_id, samples)
        if speech is not None:
            self._pieces.append(_Encoded(speech, Packet(payload, ticks), samples))
            self._drop_overflow()
            self._note_idle()

    def mark(self, name: str) -> None:
        """Have `poll_mark` tell when everything before has been pulled; `clear` takes the mark away, too."""
        self._pieces.append(_Mark(self._newest, name))
        self._drop_overflow()
        self._note_idle()

    def pause(self) -> None:
        """Fall silent from the next frame on, which fades out as after `clear`, and keep what is queued."""
        self.is_paused = True
        self._note_idle()

    def resume(self) -> None:
        """Go on with the very sample at which `pause` came."""
        self.is_paused = False
        self._note_idle()

    def clear(self) -> int:
        """Fall silent now; return how many samples will never be played.

        If the last frame did not end in silence, the next one begins with 5 ms in which the sound dies away;
        what is pushed from now on follows right behind. Responses that had something queued, and the one that
        was pushed last, are cancelled.
        """
        dropped = self.queued_samples
        self._begin_fade()
        for speech in {piece.speech for piece in self._pieces} | {self._newest}:
            speech.is_cancelled = True
        self._pieces.clear()
        self.queued_samples = 0
        self.is_paused = False
        self._note_idle()
        return dropped

    def cancel(self, response_id: str) -> int:
        """Drop what is queued of a response, and what still comes; return how many samples were queued."""
        speech = self._find(response_id)
        speech.is_cancelled = True
        if self.speech is speech:
            self._begin_fade()
        before = self.queued_samples
        kept = [piece for piece in self._pieces if piece.speech is not speech]
        self.queued_samples -= sum(_length(piece) for piece in self._pieces if piece.speech is speech)
        self._pieces = deque(kept)
        self._note_idle()
        return before - self.queued_samples

    def refuse(self, response_id: str) -> None:
        """Discard what still comes of a response; what is queued of it is played."""
        self._find(response_id).is_cancelled = True

    # Output

    def pull(self) -> bytes | Packet | None:
        """Return what the next slot plays, None when that is nothing.

        Samples come as a whole frame, filled up with silence before a packet and at the end.
        """
        piece = self._pull()
        self._note_idle()
        return piece

    def poll_mark(self) -> PlayedMark | None:
        """Return the next mark that has been reached."""
        if not self._has_marks:
            return None
        mark = self._marks.popleft()
        self._has_marks = bool(self._marks)
        return mark

    @property
    def next_ticks(self) -> int | None:
        """How long the packet is that comes next; None when samples are next, or nothing."""
        head = self._pieces[0] if self._pieces else None
        return head.packet.ticks if isinstance(head, _Encoded) and not self.is_paused else None

    @property
    def speech(self) -> Speech:
        """What is being played or is next; when the queue is empty, what was played last."""
        return self._pieces[0].speech if self._pieces else self.latest

    def has_room(self, samples: int) -> bool:
        """Tell whether so many samples can be pushed without dropping any."""
        return self.queued_samples + samples <= self._capacity

    # Internals

    def _note_idle(self) -> None:
        self.is_idle = not (self._pieces or self._fade or self.is_paused)

    def _pull(self) -> bytes | Packet | None:
        if self.is_paused:
            self._begin_fade()
            frame, self._fade = self._fade, b""
            return frame.ljust(self._frame_bytes, b"\0") if frame else None
        self._pull_marks()
        if self._pieces and not self._fade and isinstance(head := self._pieces[0], _Encoded):
            self._pieces.popleft()
            self._is_sounding = False
            self._note_played(head.speech, head.samples)
            self._pull_marks()
            return head.packet
        return self._pull_frame()

    def _admit(self, response_id: str | None, samples: int) -> Speech | None:
        """Count samples in and return whose they are; None when nobody wants them any more."""
        if not samples:
            return None
        if response_id is not None:
            speech = self._find(response_id)
        elif self.queued_samples and self._newest.response_id is None:
            speech = self._newest
        else:
            speech = Speech(None)
        if speech.is_cancelled:
            self.discarded_samples += samples
            return None
        self._newest = speech
        self.queued_samples += samples
        return speech

    def _find(self, response_id: str) -> Speech:
        speech = self._speeches.get(response_id)
        if speech is None:
            speech = self._speeches[response_id] = Speech(response_id)
            if len(self._speeches) > RESPONSES_KEPT:
                del self._speeches[next(iter(self._speeches))]
        return speech

    def _drop_overflow(self) -> None:
        while (excess := self.queued_samples - self._capacity) > 0 or len(self._pieces) > CAPACITY_PIECES:
            head = self._pieces[0]
            length = _length(head)
            if isinstance(head, _Samples) and 0 < excess < length:
                del head.pcm[: excess * SAMPLE_BYTES]
                length = excess
            else:
                self._pieces.popleft()
            if isinstance(head, _Mark):
                self._reach(head)
            self.queued_samples -= length
            self.dropped_samples += length

    def _pull_frame(self) -> bytes | None:
        fade, pieces = self._fade, self._pieces
        wanted = self._frame_bytes - len(fade)
        frame = bytearray()
        while pieces and len(frame) < wanted and isinstance(head := pieces[0], _Samples):
            taken = head.pcm[: wanted - len(frame)]
            frame += taken
            del head.pcm[: len(taken)]
            if not head.pcm:
                pieces.popleft()
            self._note_played(head.speech, len(taken) // SAMPLE_BYTES)
            self._pull_marks()
        self._is_sounding = len(frame) == wanted
        self._fade = b""
        return (fade + frame).ljust(self._frame_bytes, b"\0") if fade or frame else None

    def _note_played(self, speech: Speech, samples: int) -> None:
        self.latest = speech
        speech.played_samples += samples
        self.queued_samples -= samples
        self.played_samples += samples

    def _pull_marks(self) -> None:
        while self._pieces and isinstance(head := self._pieces[0], _Mark):
            self._pieces.popleft()
            self._reach(head)

    def _reach(self, mark: _Mark) -> None:
        self._marks.append(PlayedMark(mark.name, mark.speech.played_samples))
        self._has_marks = True

    def _begin_fade(self) -> None:
        """Let the sound die away in the next frame, if there is any."""
        if self._is_sounding and not self._fade:
            head = self._pieces[0] if self._pieces else None
            if isinstance(head, _Samples):
                self._fade = fade_out(bytes(head.pcm[: self._fade_bytes]))
        self._is_sounding = False


def _length(piece: _Samples | _Encoded | _Mark) -> int:
    """Return how many samples of time a piece takes."""
    if isinstance(piece, _Samples):
        return len(piece.pcm) // SAMPLE_BYTES
    return piece.samples if isinstance(piece, _Encoded) else 0
