"""Talk with a machine that needs no network: it recognises a few questions, and says the answers.

    make demo-speech        # or: voicegate serve --agent examples.offline_speech:agent

Ask it "what time is it". Recognition is pocketsphinx, with the English model that comes in its package (``pip
install 'voicegate-server[speech]'``). It listens for the sentences of a grammar only, which is what makes so
small a model reliable. Speech is espeak-ng or flite (``apt install espeak-ng``, or ``flite``); VOICE names
the one to use when both are there.
"""

import datetime
import io
import os
import secrets
import shutil
import subprocess
import wave
from collections import deque
from functools import cache

import numpy as np
import pocketsphinx
import soxr
import trio

import voicegate
from voicegate import AudioFrame, SpeechStarted, TurnEnded

RATE = 16_000
"""What the model was trained with."""

GRAMMAR = """#JSGF V1.0;
grammar questions;
<question> = what time is it | what is the time | tell me the time | what day is it | what is the date
           | hello | good morning | how are you | who are you | what can you do
           | roll a die | flip a coin | thank you | goodbye;
public <sentence> = [please | hey | okay] <question> [please];
"""

LEAST_LIKENESS = 0.5
"""How well the sentence must fit the sound. Those of the grammar have 0.55 and more, others 0.4 and less."""

PRE_ROLL_MS = 300
"""Before the first voiced frame the first consonant may already have begun."""

REMEMBERED_FRAMES = 10 * 50
"""No question takes longer than ten seconds."""

SMALL_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)

one_at_a_time = trio.CapacityLimiter(1)
"""All calls of this process share the model, which can only listen to one at a time."""

SPEAKERS = {
    "espeak-ng": ["espeak-ng", "-v", "en-us", "-s", "150", "--stdout"],
    "flite": ["flite", "-voice", "slt", "-o", "/dev/stdout", "-t"],
}
"""Each takes the text as its last argument and writes a WAV file."""


async def agent(call: voicegate.Call) -> None:
    """Greet, and answer until the user says goodbye."""
    call.use_rate(RATE)
    call.detect_speech(silence_ms=500)
    frames: deque[AudioFrame] = deque(maxlen=REMEMBERED_FRAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, call, frames)
        await say(call, "Hello. Ask me what time it is.")
        start_ms: int | None = None
        async for event in call.events:
            match event:
                case SpeechStarted(position_ms=at) if start_ms is None:
                    start_ms = at - PRE_ROLL_MS
                case TurnEnded() if start_ms is not None:
                    spoken = [each.pcm for each in frames if each.position * 1000 >= start_ms * RATE]
                    start_ms = None
                    words = await trio.to_thread.run_sync(recognise, b"".join(spoken), limiter=one_at_a_time)
                    call.transcribe(words)
                    await say(call, answer(words))
                    if "goodbye" in words:
                        call.hangup(after="drain")
                case _:
                    pass


async def listen(call: voicegate.Call, frames: deque[AudioFrame]) -> None:
    """Remember what was heard lately."""
    async for frame in call.audio_in:
        frames.append(frame)


def answer(words: str) -> str:
    """Answer a sentence of the grammar."""
    now = datetime.datetime.now()
    answers = {
        "": "I did not understand. Try: what time is it?",
        "time": f"It is {clock_words(now.hour, now.minute)}.",
        "day": f"It is {now:%A}.",
        "date": f"It is {now:%A}, {now:%B} {number_words(now.day)}.",
        "hello": "Hello to you.",
        "morning": "Hello to you.",
        "how": "I am fine, thank you.",
        "who": "I am a small program that lives on this machine.",
        "can": "I can tell the time and the date, roll a die, and flip a coin.",
        "die": f"I rolled {number_words(secrets.randbelow(6) + 1)}.",
        "coin": f"I flipped {secrets.choice(('heads', 'tails'))}.",
        "thank": "You are welcome.",
        "goodbye": "Goodbye.",
    }
    return next((answers[word] for word in words.split() if word in answers), answers[""])


def clock_words(hour: int, minute: int) -> str:
    """Say a time as people do: nine oh five, twelve o'clock."""
    if minute == 0:
        return f"{number_words(hour)} o'clock"
    return f"{number_words(hour)} {'oh ' if minute < 10 else ''}{number_words(minute)}"


def number_words(number: int) -> str:
    """Spell a number below sixty."""
    if number < len(SMALL_NUMBERS):
        return SMALL_NUMBERS[number]
    tens, ones = divmod(number, 10)
    word = ("twenty", "thirty", "forty", "fifty")[tens - 2]
    return f"{word} {SMALL_NUMBERS[ones]}" if ones else word


# Recognition and speech


@cache
def decoder() -> pocketsphinx.Decoder:
    """Load the model, once."""
    loaded = pocketsphinx.Decoder(lm=None, samprate=RATE, loglevel="FATAL")
    loaded.add_jsgf_string("questions", GRAMMAR)
    loaded.activate_search("questions")
    return loaded


def recognise(pcm: bytes) -> str:
    """Return the sentence of the grammar that was said, or nothing; takes some hundredths of a second."""
    silence = bytes(RATE // 5 * 2)  # the model expects sentences to be framed by it
    decoder().start_utt()
    decoder().process_raw(silence + pcm + silence, full_utt=True)
    decoder().end_utt()
    found = decoder().hyp()
    return str(found.hypstr) if found is not None and found.score > LEAST_LIKENESS else ""


async def say(call: voicegate.Call, text: str) -> None:
    """Say a sentence; returns when it is queued."""
    with call.respond() as response:
        response.transcript(text)
        response.send_nowait(await synthesise(text))


async def synthesise(text: str) -> bytes:
    """Return the sound of a sentence."""
    name = os.environ.get("VOICE") or next(filter(shutil.which, SPEAKERS), "espeak-ng")
    done = await trio.run_process([*SPEAKERS[name], text], capture_stdout=True, stderr=subprocess.DEVNULL)
    with wave.open(io.BytesIO(done.stdout)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(len(done.stdout)), "<i2")
    resampled = samples if rate == RATE else soxr.resample(samples, rate, RATE)
    return bytes(resampled.tobytes())
