"""Chromium as a WHIP client: a page with fetch and an RTCPeerConnection; and the keys it dials."""

from pathlib import Path

import pytest
import trio

import voicegate
from tests.harness import run_server
from tests.interop import beeps
from voicegate.testing import sound
from voicegate.testing.browser import Page, open_browser
from voicegate.testing.sound import Sound

pytestmark = [pytest.mark.interop, pytest.mark.slow]

CLIENT = (Path(__file__).parent / "whip.js").read_text()


async def start(page: Page, direction: str) -> None:
    await page.evaluate(CLIENT)
    await page.evaluate(f"void whip.start({{direction: '{direction}'}}).then(() => (whip.isReady = true))")
    await page.wait_for("whip.isReady")


async def test_the_agent_hears_a_page_that_only_sends(tmp_path: Path) -> None:
    (sound.silence(1.0) + beeps.beeps() + sound.silence(1.0)).write_wav(tmp_path / "microphone.wav")
    heard = bytearray()

    async def listen(call: voicegate.Call) -> None:
        async for frame in call.audio_in:
            heard.extend(frame.pcm)

    with trio.fail_after(240):
        async with (
            run_server(agent=listen) as server,
            open_browser("chromium", microphone=tmp_path / "microphone.wav") as browser,
        ):
            page = await browser.open_page(server.url)
            await start(page, "sendonly")
            while not beeps.are_in(Sound.from_pcm(bytes(heard), rate=48_000)):
                await trio.sleep(0.2)
            await page.evaluate("whip.stop()")
            log = await page.evaluate("whip.log")
            while server.transceiver.call_count:
                await trio.sleep(0.01)
            (ended,) = server.transceiver.describe_all()
    assert log == [201, 204, 200]
    assert ended["cause"] == "client_hangup"


async def test_an_ice_restart_of_a_page_is_not_heard(tmp_path: Path) -> None:
    sum([beeps.beeps()] * 60, sound.silence(0.0)).write_wav(tmp_path / "microphone.wav")
    with trio.fail_after(240):
        async with (
            run_server(agent=voicegate.agents.echo) as server,
            open_browser("chromium", microphone=tmp_path / "microphone.wav") as browser,
        ):
            page = await browser.open_page(server.url)
            await start(page, "sendrecv")
            while not beeps.are_in(await page.record("whip.remoteStream", seconds=4)):
                pass
            (before,) = server.transceiver.describe_all()
            await page.evaluate("void whip.restart().then(() => (whip.isRestarted = true))")
            await page.wait_for("whip.isRestarted")
            call = server.transceiver.find(before["id"])
            assert call is not None
            # Media has taken the new session once the old credentials are forgotten.
            while len(call.core.ufrags) > 1:
                await trio.sleep(0.01)
            while not beeps.are_in(await page.record("whip.remoteStream", seconds=4)):
                pass
            (after,) = server.transceiver.describe_all()
            log = await page.evaluate("whip.log")
            await page.evaluate("whip.stop()")
    assert log == [201, 204, 200, 412, 204]
    assert after["state"] == "connected"
    new_drops = after["counters"]["drops"].keys() - before["counters"]["drops"].keys()
    assert new_drops <= {"path_not_validated", "no_path"}


@pytest.mark.parametrize("is_in_a_conversation", [False, True])
async def test_keys_that_a_page_dials_reach_the_agent(tmp_path: Path, is_in_a_conversation: bool) -> None:
    typed: list[tuple[str, int]] = []
    is_complete = trio.Event()

    async def listen(call: voicegate.Call) -> None:
        if is_in_a_conversation:
            call.converse()
        async for event in call.events:
            if isinstance(event, voicegate.call.DtmfReceived):
                typed.append((event.digit, event.duration_ms))
                if len(typed) == 6:
                    is_complete.set()

    with trio.fail_after(240):
        async with run_server(agent=listen) as server, open_browser("chromium") as browser:
            page = await browser.open_page(server.url)
            await start(page, "sendrecv")
            await page.evaluate("whip.sender.dtmf.insertDTMF('159#', 120, 60)")
            await page.wait_for("whip.sender.dtmf.toneBuffer === ''")
            await page.evaluate("whip.sender.dtmf.insertDTMF('A*', 3000, 60)")
            await is_complete.wait()
            (call,) = server.transceiver.describe_all()
    assert "".join(key for key, _ in typed) == "159#A*"
    short, long = ([duration for _, duration in keys] for keys in (typed[:4], typed[4:]))
    # A machine that stalls for a quarter of a second within a tone has cut that one short.
    assert 100 <= max(short) < 2900 <= max(long)
    assert "payload_type" not in call["counters"]["drops"]
    assert call["counters"]["nack_recovered"] == 0
