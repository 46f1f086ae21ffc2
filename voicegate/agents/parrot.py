"""Waits for the end of your sentence and says it back; falls silent when you talk over it. Needs no model."""

from collections import deque
from typing import Final

from voicegate.audio import SpeechStarted, SpeechStopped, VoiceDetector
from voicegate.call import AudioFrame, Call

__all__ = ["parrot"]

_PRE_ROLL_FRAMES: Final = 15
"""The detector needs some frames to be sure; 300 ms before that keep the first syllable."""

_SENTENCE_FRAMES: Final = 30 * 50
"""A parrot remembers half a minute; of a longer sentence it says the end."""


async def parrot(call: Call) -> None:
    """Listen for a sentence, repeat it, and stop at once when interrupted."""
    detector = VoiceDetector(sample_rate=call.sample_rate)
    pre_roll: deque[AudioFrame] = deque(maxlen=_PRE_ROLL_FRAMES)
    sentence: deque[AudioFrame] | None = None
    async for frame in call.audio_in:
        (pre_roll if sentence is None else sentence).append(frame)
        match detector.handle_frame(frame.pcm):
            case SpeechStarted():
                call.interrupt()
                sentence = deque(pre_roll, maxlen=_SENTENCE_FRAMES)
            case SpeechStopped() if sentence is not None:
                call.audio_out.send_nowait(b"".join(heard.pcm for heard in sentence))
                sentence = None
                pre_roll.clear()
            case _:
                pass
