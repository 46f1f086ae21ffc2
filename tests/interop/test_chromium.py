"""A person with Chromium: the page that `voicegate serve` shows, a microphone that plays a file, ears."""

from pathlib import Path

import pytest
import trio

import voicegate
from tests.harness import run_server
from tests.interop import beeps
from tests.interop.set_up_server import REPETITIONS
from voicegate.testing import sound
from voicegate.testing.browser import Page, open_browser

pytestmark = [pytest.mark.interop, pytest.mark.slow]


async def start_call(page: Page) -> None:
    await page.click("#talk")
    await page.wait_for("voicegate.state === 'talking'")


async def test_the_parrot_says_back_what_it_heard(tmp_path: Path) -> None:
    (sound.silence(1.0) + beeps.beeps() + sound.silence(6.0)).write_wav(tmp_path / "microphone.wav")
    with trio.fail_after(240):
        async with (
            run_server() as server,
            open_browser("chromium", microphone=tmp_path / "microphone.wav") as browser,
        ):
            page = await browser.open_page(server.url)
            has_come_back = False
            # A stalled machine may spoil a sound, but never makes one: call again until it comes back.
            while not has_come_back:
                await start_call(page)
                has_come_back = await beeps.come_from(page, "voicegate.remoteStream", seconds=8)
                phases = await page.evaluate("voicegate.phases")
                call_id = str(await page.evaluate("voicegate.callId"))
                session = server.transceiver.describe(call_id)
                await page.click("#hang-up")
                while server.transceiver.call_count:
                    await trio.sleep(0.01)
            ended = server.transceiver.describe(call_id)
    assert {"microphone", "offer", "answer", "ice", "dtls", "packet"} <= set(phases)
    assert session is not None
    assert session["state"] == "connected"
    # On a slow machine Chromium says its part of the handshake again.
    assert set(session["counters"]["drops"]) <= REPETITIONS
    assert ended is not None
    assert ended["cause"] in {"client_hangup", "client_closed"}


async def test_speaking_over_the_parrot_stops_it(tmp_path: Path) -> None:
    long_sentence = sound.speech_like(3.0)
    interruption = sound.speech_like(4.0, seed=9)
    script = sound.silence(1.0) + long_sentence + sound.silence(1.5) + interruption
    script.write_wav(tmp_path / "microphone.wav")
    is_interrupted = trio.Event()

    async def watched(call: voicegate.Call) -> None:
        push_event = call.push_event

        def note(event: voicegate.CallEvent) -> None:
            if isinstance(event, voicegate.Interrupted) and event.interruption.dropped_ms > 1000:
                is_interrupted.set()
            push_event(event)

        call.push_event = note  # type: ignore[method-assign]
        await voicegate.agents.parrot(call)

    with trio.fail_after(240):
        async with (
            run_server(agent=watched) as server,
            open_browser("chromium", microphone=tmp_path / "microphone.wav") as browser,
        ):
            page = await browser.open_page(server.url)
            # Played back whole, the sentence would go on for seconds after the interruption. A stall may
            # split what was said, and the buffer of a browser that is late grows.
            is_cut_short = False
            while not is_cut_short:
                await start_call(page)
                with trio.move_on_after(script.seconds + 10):
                    await is_interrupted.wait()
                await trio.sleep(0.3)  # what was sent before still has to get through the browser's buffer
                heard = await page.record("voicegate.remoteStream", seconds=0.7)
                is_cut_short = is_interrupted.is_set() and heard.loudness <= 0.005
                await page.click("#hang-up")
                is_interrupted = trio.Event()


async def test_the_page_tells_why_a_call_did_not_come_about(tmp_path: Path) -> None:
    with trio.fail_after(240):
        async with run_server(max_calls=1) as server, open_browser("chromium") as browser:
            first = await browser.open_page(server.url)
            await start_call(first)
            second = await browser.open_page(server.url)
            await second.click("#talk")
            await second.wait_for("voicegate.state === 'ended'")
            text = await second.evaluate("document.body.innerText")
    assert "slots for calls are taken" in str(text)


async def test_a_tab_that_is_closed_ends_its_call(tmp_path: Path) -> None:
    with trio.fail_after(240):
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
