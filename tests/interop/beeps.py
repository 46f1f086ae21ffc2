"""A sound that is recognised even when a starved machine has torn it to pieces: beeps of two frequencies."""

import numpy as np

from voicegate.testing import sound
from voicegate.testing.browser import Page

FREQUENCIES = (620, 1130)
"""Hz. Voice detection takes beeps for speech, and browsers let them through."""
ABSENT = (500, 900, 1500)
"""Hz, of what nobody plays."""


def beeps() -> sound.Sound:
    """Four beeps of each frequency, 2.8 s."""
    return sum(
        (sound.tone(frequency, 0.25) + sound.silence(0.1) for _ in range(4) for frequency in FREQUENCIES),
        sound.silence(0.0),
    )


async def come_from(page: Page, stream: str, *, seconds: float) -> bool:
    """Whether a page plays them within so many seconds; it is not listened to for longer than it takes."""
    heard = sound.silence(0.0)
    while not are_in(heard) and heard.seconds < seconds:
        piece = await page.record(stream, seconds=1.0)
        heard = heard + piece if len(heard.samples) else piece
    return are_in(heard)


def are_in(heard: sound.Sound) -> bool:
    """Whether both frequencies stand out by far from those that nobody plays."""
    if not len(heard.samples):
        return False
    spectrum = np.abs(np.fft.rfft(heard.samples)) ** 2 / len(heard.samples)
    frequencies = np.fft.rfftfreq(len(heard.samples), 1 / heard.rate)

    def energy(frequency: int) -> float:
        """Sum up a band, since a beep that is cut and shifted has no sharp frequency."""
        return float(spectrum[np.abs(frequencies - frequency) < 20].sum())

    background = max(map(energy, ABSENT))
    return min(map(energy, FREQUENCIES)) > max(10 * background, 1.0)
