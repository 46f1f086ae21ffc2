"""A sound that is recognised even when a starved machine has torn it to pieces: beeps of two frequencies."""

from voicegate.testing import sound

FREQUENCIES = (620, 1130)
"""Hz. Voice detection takes beeps for speech, and browsers let them through."""
ABSENT = (500, 900, 1500)
"""Hz, of what nobody plays."""


def beeps() -> sound.Sound:
    """Four beeps of each frequency, 2.8 s."""
    return sum(
        (sound.tone(frequency, 0.25) + sound.silence(0.1) for frequency in FREQUENCIES for _ in range(4)),
        sound.silence(0.0),
    )


def are_in(heard: sound.Sound) -> bool:
    """Whether both frequencies stand out by far from those that nobody plays."""
    background = max(heard.tone_level(frequency) for frequency in ABSENT)
    return min(heard.tone_level(frequency) for frequency in FREQUENCIES) > max(5 * background, 0.001)
