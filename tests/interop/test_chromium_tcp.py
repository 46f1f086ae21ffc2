"""Chromium where no UDP gets out: everything goes over TCP."""

from pathlib import Path

import pytest
import trio

import voicegate
from tests.harness import run_server
from tests.interop import beeps
from tests.interop.set_up_server import REPETITIONS
from voicegate.testing import sound
from voicegate.testing.browser import open_browser

pytestmark = [pytest.mark.interop, pytest.mark.slow]

NO_UDP = "--webrtc-ip-handling-policy=disable_non_proxied_udp"

SELECTED_PAIR = """
await (async () => {
  const stats = await voicegate.connection.getStats();
  const transport = [...stats.values()].find((entry) => entry.type === "transport");
  const pair = stats.get(transport.selectedCandidatePairId);
  const ends = [stats.get(pair.localCandidateId), stats.get(pair.remoteCandidateId)];
  return ends.map((end) => `${end.protocol} ${end.tcpType}`);
})()
"""


@pytest.mark.parametrize(
    ("arguments", "pair"),
    [([NO_UDP], ["tcp active", "tcp passive"]), ([], ["udp undefined", "udp undefined"])],
    ids=["no UDP", "UDP"],
)
async def test_chromium_hears_its_own_sound_over_tcp_where_udp_is_refused(
    arguments: list[str], pair: list[str], tmp_path: Path
) -> None:
    microphone = tmp_path / "microphone.wav"
    (sound.silence(1.0) + beeps.beeps() + sound.silence(6.0)).write_wav(microphone)
    with trio.fail_after(240):
        async with (
            run_server(agent=voicegate.agents.echo) as server,
            open_browser("chromium", microphone=microphone, arguments=arguments) as browser,
        ):
            page = await browser.open_page(server.url)
            has_come_back = False
            # A stalled machine may spoil a sound, but never makes one: call again until it comes back.
            while not has_come_back:
                await page.click("#talk")
                await page.wait_for("voicegate.state === 'talking'")
                has_come_back = await beeps.come_from(page, "voicegate.remoteStream", seconds=8)
                selected = await page.evaluate(SELECTED_PAIR)
                session = server.transceiver.describe(str(await page.evaluate("voicegate.callId")))
                await page.click("#hang-up")
                while server.transceiver.call_count:
                    await trio.sleep(0.01)
            relayed = server.relay.statistics()
    assert selected == pair
    assert session is not None
    assert session["path"]["transport"] == pair[0][:3]
    # On a slow machine Chromium says its part of the handshake again, TCP or not.
    assert set(session["counters"]["drops"]) <= REPETITIONS
    assert bool(relayed.counts["streams_opened"]) >= bool(arguments)
    assert relayed.dropped["stream_backlog"] == relayed.counts["streams_refused"] == 0
