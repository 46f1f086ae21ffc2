"""Chromium and an answer with several relays: which one it takes, and what it does when one is dead."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
import trio

import voicegate
from tests.harness import run_server
from voicegate.relay import Relay, RelayConfig, run_relay
from voicegate.testing.browser import open_browser

pytestmark = [pytest.mark.interop, pytest.mark.slow]

SECRET = bytes(range(32))

SELECTED_PORT = """
await (async () => {
  const stats = await voicegate.connection.getStats();
  const transport = [...stats.values()].find((entry) => entry.type === "transport");
  const pair = transport && stats.get(transport.selectedCandidatePairId);
  return pair ? stats.get(pair.remoteCandidateId).port : 0;
})()
"""


class Place(NamedTuple):
    server: voicegate.Server
    """With a relay of its own, in the region ``home``."""
    far: Relay
    """In front of the same transceiver, in the region ``far``."""
    far_life: trio.CancelScope
    """Of the relay there; cancelled, it is killed."""

    def port_in(self, region: str) -> int:
        return self.server.udp.port if region == "home" else self.far.public[0][1]


@asynccontextmanager
async def run_place(*, far_port: int = 0) -> AsyncIterator[Place]:
    """Run a server with two regions; ``far_port`` stands in answers for that of the relay there."""
    far_config = RelayConfig(secrets=[SECRET], public=[("127.0.0.1", 0)], hop=("127.0.0.1", 0))
    life = trio.CancelScope()

    async def run_far(*, task_status: trio.TaskStatus[Relay]) -> None:
        with life:
            await run_relay(far_config, task_status=task_status)

    async with trio.open_nursery() as nursery:
        far: Relay = await nursery.start(run_far)
        far_address = f"127.0.0.1:{far_port or far.public[0][1]}"
        async with run_server(
            agent=voicegate.agents.echo,
            secrets=[SECRET],
            region="home",
            regions={"home": {"default": True}, "far": {"relays": [far_address]}},
        ) as server:
            far.set_transceivers({server.transceiver.id: server.transceiver.engine._port.address})
            yield Place(server, far, life)
        life.cancel()


@pytest.mark.parametrize("region", ["home", "far"])
async def test_the_first_of_two_live_relays_is_taken(region: str) -> None:
    with trio.fail_after(240):
        async with run_place() as place, open_browser("chromium") as browser:
            page = await browser.open_page(f"{place.server.url}?region={region}")
            await page.click("#talk")
            await page.wait_for("voicegate.state === 'talking'")
            # The first to answer may be another than the first in the answer, for a moment.
            while await page.evaluate(SELECTED_PORT) != place.port_in(region):
                await trio.sleep(0.1)


async def test_where_the_first_is_dead_it_is_the_second() -> None:
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as silent:
        await silent.bind(("127.0.0.1", 0))
        silent_port = silent.getsockname()[1]
        with trio.fail_after(240):
            async with run_place(far_port=silent_port) as place, open_browser("chromium") as browser:
                page = await browser.open_page(f"{place.server.url}?region=far")
                await page.click("#talk")
                await page.wait_for("voicegate.state === 'talking'")
                assert await page.evaluate(SELECTED_PORT) == place.port_in("home")
                description = str(await page.evaluate("voicegate.connection.remoteDescription.sdp"))
                # The browser asked there, too.
                assert b"\x21\x12\xa4\x42" in await silent.recv(2048)
    ports = [int(line.split()[5]) for line in description.splitlines() if line.startswith("a=candidate:")]
    assert ports[:2] == [silent_port, place.port_in("home")]


async def test_a_call_goes_on_when_its_relay_dies() -> None:
    with trio.fail_after(240):
        async with run_place() as place, open_browser("chromium") as browser:
            page = await browser.open_page(f"{place.server.url}?region=far")
            await page.click("#talk")
            await page.wait_for("voicegate.state === 'talking'")
            while await page.evaluate(SELECTED_PORT) != place.port_in("far"):
                await trio.sleep(0.1)
            place.far_life.cancel()
            while await page.evaluate(SELECTED_PORT) != place.port_in("home"):
                await trio.sleep(0.1)
            assert await page.evaluate("voicegate.state") == "talking"
