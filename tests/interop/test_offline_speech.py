"""A person with Chromium asks the time, in words, and is told it in words."""

import datetime
import signal
import subprocess
from pathlib import Path

import pocketsphinx
import pytest
import soxr
import trio

from examples import offline_speech
from tests.test_cli import FREE, serve
from voicegate.testing import sound
from voicegate.testing.browser import open_browser

pytestmark = [pytest.mark.interop, pytest.mark.slow]

RATE = 16_000

ANSWERS = """#JSGF V1.0;
grammar answers;
<digit> = one | two | three | four | five | six | seven | eight | nine;
<teen> = ten | eleven | twelve | thirteen | fourteen | fifteen | sixteen | seventeen | eighteen | nineteen;
<ten> = (twenty | thirty | forty | fifty) [<digit>];
<number> = zero | <digit> | <teen> | <ten>;
<other> = i did not understand | you are welcome | hello to you;
public <answer> = it is <number> (o'clock | [oh] <number>) | <other>;
"""


def recognise(heard: sound.Sound) -> str:
    """Return the words of an answer, with a recogniser of the test's own."""
    decoder = pocketsphinx.Decoder(lm=None, samprate=RATE, loglevel="FATAL")
    decoder.add_jsgf_string("answers", ANSWERS)
    decoder.activate_search("answers")
    decoder.start_utt()
    decoder.process_raw(at_rate(heard, RATE).pcm, full_utt=True)
    decoder.end_utt()
    return decoder.hyp().hypstr if decoder.hyp() is not None else ""


def at_rate(given: sound.Sound, rate: int) -> sound.Sound:
    return sound.Sound(soxr.resample(given.samples, given.rate, rate), rate=rate)


def spoken(text: str, path: Path) -> sound.Sound:
    """Return a sentence as another voice says it than the one that answers."""
    subprocess.run(["flite", "-voice", "rms", "-t", text, "-o", str(path)], check=True)
    return at_rate(sound.Sound.read_wav(path), sound.RATE)


def time_words(now: datetime.datetime) -> str:
    return f"it is {offline_speech.clock_words(now.hour, now.minute)}"


def zone_where_it_is(hour: int, minute: int) -> datetime.timezone:
    """Return the zone where it is so late right now."""
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None, microsecond=0)
    ahead = now.replace(hour=hour, minute=minute, second=0) - now
    return datetime.timezone(ahead % datetime.timedelta(days=1))


def posix_name(zone: datetime.timezone) -> str:
    """Return a value of TZ; what is east of Greenwich has a minus there."""
    return f"HERE-{zone.utcoffset(None)}"


async def test_somebody_who_asks_the_time_is_told_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # So small a recogniser takes fourteen for forty, and eight for nothing: it is a time that it understands,
    # and so are those of the next minutes, whenever this runs.
    zone = zone_where_it_is(3, 30)
    monkeypatch.setenv("TZ", posix_name(zone))
    question = spoken("what time is it", tmp_path / "question.wav")
    (sound.silence(5.0) + question + sound.silence(8.0)).write_wav(tmp_path / "microphone.wav")
    heard_words = []
    with trio.fail_after(300):
        async with (
            serve(*FREE, "--agent", "examples.offline_speech:agent") as server,
            open_browser("chromium", microphone=tmp_path / "microphone.wav") as browser,
        ):
            page = await browser.open_page(server.url)
            # A stalled machine may spoil words, but never makes any: ask again until they are right.
            while True:
                await page.click("#talk")
                await page.wait_for("voicegate.state === 'talking'")
                asked_at = datetime.datetime.now(zone)
                heard = await page.record("voicegate.remoteStream", seconds=12)
                await page.click("#hang-up")
                right = {time_words(asked_at + datetime.timedelta(minutes=each)) for each in (0, 1)}
                heard_words.append(recognise(heard.cut(5.5, 12)))
                if heard_words[-1] in right:
                    break
                await page.wait_for("voicegate.state !== 'talking'")
            server.signal(signal.SIGINT)
    assert heard_words[-1].startswith("it is ")


@pytest.mark.parametrize("voice", ["espeak-ng", "flite"])
@pytest.mark.parametrize(
    ("question", "beginning"),
    [
        ("what day is it", "It is "),
        ("please roll a die", "I rolled "),
        ("hello", "Hello"),
        ("the train to London leaves in the evening", "I did not understand"),
    ],
)
async def test_other_questions_are_answered_too(
    voice: str, question: str, beginning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICE", voice)
    pcm = await offline_speech.synthesise(question)
    assert offline_speech.answer(offline_speech.recognise(pcm)).startswith(beginning)


@pytest.mark.parametrize(
    ("hour", "minute", "words"),
    [
        (0, 0, "zero o'clock"),
        (9, 5, "nine oh five"),
        (12, 30, "twelve thirty"),
        (23, 59, "twenty three fifty nine"),
    ],
)
def test_times_are_said_as_people_say_them(hour: int, minute: int, words: str) -> None:
    assert offline_speech.clock_words(hour, minute) == words
