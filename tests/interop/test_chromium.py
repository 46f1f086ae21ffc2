"""A person with Chromium: the page that `voicegate serve` shows, a microphone that plays a file, ears."""

from pathlib import Path

import pytest
import trio

import voicegate
from tests.harness import run_server
from voicegate.testing import sound
from voicegate.testing.browser import Page, open_browser

pytestmark = [pytest.mark.interop, pytest.mark.slow]


async def start_call(page: Page) -> None:
    await page.click("#talk")
    await page.wait_for("voicegate.state === 'talking'")


async def test_the_parrot_says_a_sentence_back(tmp_path: Path) -> None:
    sentence = sound.speech_like(2.0)
    (sound.silence(1.0) + sentence + sound.silence(5.0)).write_wav(tmp_path / "microphone.wav")
    with trio.fail_after(60):
        async with (
            run_server() as server,
            open_browser("chromium", microphone=tmp_path / "microphone.wav") as browser,
        ):
            page = await browser.open_page(server.url)
            await start_call(page)
            heard = await page.record("voicegate.remoteStream", seconds=6.5)
            phases = await page.evaluate("voicegate.phases")
            call_id = await page.evaluate("voicegate.callId")
            session = server.transceiver.describe(str(call_id))
            await page.click("#hang-up")
            while server.transceiver.call_count:
                await trio.sleep(0.01)
            ended = server.transceiver.describe(str(call_id))
    # The first 2.5 s hold at most 1.5 s of the user's own talking, during which the parrot must be silent.
    match = sound.correlate(sentence.cut(0.75, 1.25), heard)
    assert match.peak > 0.6, f"the sentence did not come back: {match}, loudness {heard.loudness}"
    assert match.lag > 2.0, "the parrot spoke before the sentence was over"
    assert {"microphone", "offer", "answer", "ice", "dtls", "packet"} <= set(phases)
    assert session is not None
    assert session["state"] == "connected"
    assert session["counters"]["drops"] == {}
    assert ended is not None
    assert ended["cause"] in {"client_hangup", "client_closed"}


async def test_speaking_over_the_parrot_stops_it(tmp_path: Path) -> None:
    long_sentence = sound.speech_like(4.0)
    interruption = sound.speech_like(4.0, seed=9)
    script = sound.silence(1.0) + long_sentence + sound.silence(1.5) + interruption
    script.write_wav(tmp_path / "microphone.wav")
    dropped_ms: list[int] = []

    async def watched(call: voicegate.Call) -> None:
        interrupt = call.interrupt

        def note() -> voicegate.Interruption:
            interruption = interrupt()
            dropped_ms.append(interruption.dropped_ms)
            return interruption

        call.interrupt = note  # type: ignore[method-assign]
        await voicegate.agents.parrot(call)

    with trio.fail_after(60):
        async with (
            run_server(agent=watched) as server,
            open_browser("chromium", microphone=tmp_path / "microphone.wav") as browser,
        ):
            page = await browser.open_page(server.url)
            await start_call(page)
            # The user speaks from 1 s to 5 s and from 6.5 s to 10.5 s; left alone, the parrot would speak
            # from about 5.7 s to 9.7 s. The microphone began up to a second before the call.
            heard = await page.record("voicegate.remoteStream", seconds=8.5)
    assert len(dropped_ms) >= 2
    assert max(dropped_ms) > 1000, "the parrot had more to say when it was interrupted"
    assert heard.cut(3.0, 7.0).loudness > 0.02, "the parrot began"
    assert heard.cut(7.0, 8.5).loudness < 0.01, "and yet it went on"


async def test_the_page_tells_why_a_call_did_not_come_about(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with run_server(max_calls=1) as server, open_browser("chromium") as browser:
            first = await browser.open_page(server.url)
            await start_call(first)
            second = await browser.open_page(server.url)
            await second.click("#talk")
            await second.wait_for("voicegate.state === 'ended'")
            text = await second.evaluate("document.body.innerText")
    assert "slots are taken" in str(text)


async def test_a_tab_that_is_closed_ends_its_call(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with run_server() as server:
            async with open_browser("chromium") as browser:
                page = await browser.open_page(server.url)
                await start_call(page)
                assert server.transceiver.call_count == 1
                await page.evaluate("location.replace('about:blank')")
                while server.transceiver.call_count:
                    await trio.sleep(0.01)
            (ended,) = server.transceiver.describe_all()
    assert ended["cause"] in {"client_hangup", "client_closed"}
