"""Waits for the end of your sentence and says it back; falls silent when you talk over it. Needs no model."""

from collections import deque
from typing import Final

from voicegate.call import AudioFrame, Call, EncodedFrame, SpeechStarted, TurnEnded

__all__ = ["parrot"]

_PRE_ROLL_MS: Final = 200
"""Before the first voiced frame, too soft for the detector, the first syllable may already have begun."""

_SENTENCE_FRAMES: Final = 30 * 50
"""A parrot remembers half a minute; of a longer sentence it says the end."""


async def parrot(call: Call) -> None:
    """Listen for a sentence, repeat it, and stop at once when interrupted."""
    memory = _Memory()
    call.listen(memory)
    call.detect_speech()
    start_ms: int | None = None
    async for event in call.events:
        match event:
            case SpeechStarted(position_ms=position_ms) if start_ms is None:
                start_ms = position_ms - _PRE_ROLL_MS
            case TurnEnded() if start_ms is not None:
                call.audio_out.send_nowait(memory.since(start_ms))
                start_ms = None
            case _:
                pass


class _Memory:
    """What was heard lately."""

    is_encoded: Final = False

    def __init__(self) -> None:
        self._frames: deque[AudioFrame] = deque(maxlen=_SENTENCE_FRAMES)

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        if isinstance(frame, AudioFrame):
            self._frames.append(frame)

    def since(self, position_ms: int) -> bytes:
        """Take the samples from a position on; they are remembered no longer."""
        frames, self._frames = self._frames, deque(maxlen=_SENTENCE_FRAMES)
        return b"".join(
            frame.pcm for frame in frames if frame.position * 1000 >= position_ms * frame.sample_rate
        )
