"""Chromium as a WHIP client: a page with fetch and an RTCPeerConnection; and the keys it dials."""

from pathlib import Path

import pytest
import trio

import voicegate
from tests.harness import run_server
from tests.interop import beeps
from voicegate.testing import sound
from voicegate.testing.browser import Browser, Page, open_browser
from voicegate.testing.sound import Sound

pytestmark = [pytest.mark.interop, pytest.mark.slow]

LONG_MS = 2900
"""More than twice what the 16 bits of a duration hold at 48 kHz (RFC 4733 §2.5.1.3)."""

CLIENT = (Path(__file__).parent / "whip.js").read_text()


async def start(page: Page, direction: str) -> None:
    await page.evaluate(CLIENT)
    await page.evaluate(f"void whip.start({{direction: '{direction}'}}).then(() => (whip.isReady = true))")
    await page.wait_for("whip.isReady")


async def test_the_agent_hears_a_page_that_only_sends(tmp_path: Path) -> None:
    sum([beeps.beeps()] * 100, sound.silence(0.0)).write_wav(tmp_path / "microphone.wav")
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
    sum([beeps.beeps()] * 100, sound.silence(0.0)).write_wav(tmp_path / "microphone.wav")
    with trio.fail_after(240):
        async with (
            run_server(agent=voicegate.agents.echo) as server,
            open_browser("chromium", microphone=tmp_path / "microphone.wav") as browser,
        ):
            page = await browser.open_page(server.url)
            await start(page, "sendrecv")
            while not await beeps.come_from(page, "whip.remoteStream", seconds=4):
                pass
            (before,) = server.transceiver.describe_all()
            await page.evaluate("void whip.restart().then(() => (whip.isRestarted = true))")
            await page.wait_for("whip.isRestarted")
            call = server.transceiver.find(before["id"])
            assert call is not None
            # Media has taken the new session once the old credentials are forgotten.
            while len(call.core.ufrags) > 1:
                await trio.sleep(0.01)
            while not await beeps.come_from(page, "whip.remoteStream", seconds=4):
                pass
            (after,) = server.transceiver.describe_all()
            log = await page.evaluate("whip.log")
            await page.evaluate("whip.stop()")
    assert log == [201, 204, 200, 412, 204]
    assert after["state"] == "connected"
    new_drops = after["counters"]["drops"].keys() - before["counters"]["drops"].keys()
    assert new_drops <= {"path_not_validated", "no_path"}


class Keyboard:
    """A page that dials, and the agent that is told."""

    def __init__(self, *, is_in_a_conversation: bool) -> None:
        self.typed: list[tuple[str, int]] = []
        self._is_in_a_conversation = is_in_a_conversation

    async def listen(self, call: voicegate.Call) -> None:
        if self._is_in_a_conversation:
            call.converse()
        async for event in call.events:
            if isinstance(event, voicegate.call.DtmfReceived):
                self.typed.append((event.digit, event.duration_ms))

    async def dial(self, page: Page, keys: str, milliseconds: int) -> list[int]:
        """Press keys for so long each, and return how long they were for the agent.

        A machine that stalls for a quarter of a second within a tone has cut that one short.
        """
        self.typed.clear()
        await page.evaluate(f"whip.sender.dtmf.insertDTMF('{keys}', {milliseconds}, 60)")
        await page.wait_for("whip.sender.dtmf.toneBuffer === ''")
        while len(self.typed) < len(keys):
            await trio.sleep(0.02)
        assert "".join(key for key, _ in self.typed) == keys
        return [duration for _, duration in self.typed]

    async def try_out(self, browser: Browser) -> None:
        async with run_server(agent=self.listen) as server:
            page = await browser.open_page(server.url)
            await start(page, "sendrecv")
            while not 100 <= max(await self.dial(page, "159#", 120)) < LONG_MS:
                pass
            while max(await self.dial(page, "A*", LONG_MS + 100)) < LONG_MS:
                pass
            (call,) = server.transceiver.describe_all()
        assert "payload_type" not in call["counters"]["drops"]
        assert call["counters"]["nack_recovered"] == 0


async def test_keys_that_a_page_dials_reach_the_agent() -> None:
    with trio.fail_after(240):
        async with open_browser("chromium") as browser, trio.open_nursery() as nursery:
            for is_in_a_conversation in (False, True):
                keyboard = Keyboard(is_in_a_conversation=is_in_a_conversation)
                nursery.start_soon(keyboard.try_out, browser)
