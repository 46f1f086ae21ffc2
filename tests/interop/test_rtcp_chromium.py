"""What Chromium learns from our RTCP about its own sound."""

from pathlib import Path

import pytest
import trio

from tests.harness import run_server
from voicegate.testing import sound
from voicegate.testing.browser import open_browser

pytestmark = [pytest.mark.interop, pytest.mark.slow]

_ROUND_TRIPS = """await (async () => {
  const stats = [...(await voicegate.connection.getStats()).values()];
  return ["remote-inbound-rtp", "remote-outbound-rtp"].every((type) =>
    stats.some((each) => each.type === type && each.roundTripTime > 0));
})()"""


async def test_chromium_learns_the_round_trip_from_reports_and_from_delays(tmp_path: Path) -> None:
    sound.speech_like(3.0).write_wav(tmp_path / "microphone.wav")
    with trio.fail_after(240):
        async with (
            run_server() as server,
            open_browser("chromium", microphone=tmp_path / "microphone.wav") as browser,
        ):
            page = await browser.open_page(server.url)
            await page.click("#talk")
            await page.wait_for("voicegate.state === 'talking'")
            # The second comes with our answer (RFC 3611) to the reference time that it sends every 5 s.
            await page.wait_for(_ROUND_TRIPS)
