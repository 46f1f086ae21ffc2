"""Firefox: its consent checks carry no USE-CANDIDATE; servers that do not answer those lose it after 30 s.

It never pairs with 127.0.0.1, so the server and the browser live in a network namespace of their own.
"""

import json
import sys

import pytest
import trio

from voicegate.testing.browser import Page, open_browser
from voicegate.testing.network import Namespace, open_namespace

pytestmark = [pytest.mark.interop, pytest.mark.slow]


async def run_server_in(namespace: Namespace, *, task_status: trio.TaskStatus[str]) -> None:
    """`voicegate serve` as an operator runs it: the page on loopback, media on the namespace's address."""
    addresses = ["--http", "127.0.0.1:8080", "--udp", f"{namespace.address}:3478"]
    arguments = [*addresses, "--agent", "echo", "--drain-seconds", "0"]
    command = namespace.wrap([sys.executable, "-m", "voicegate", "serve", *arguments])
    async with trio.open_nursery() as nursery:
        process = await nursery.start(trio.run_process, command)
        while True:
            try:
                stream = await namespace.open_tcp_stream("127.0.0.1", 8080)
            except OSError:
                assert process.returncode is None
                await trio.sleep(0.1)
            else:
                await stream.aclose()
                break
        task_status.started("http://127.0.0.1:8080/")
        try:
            await trio.sleep_forever()
        finally:
            process.terminate()


async def get(namespace: Namespace, path: str) -> object:
    stream = await namespace.open_tcp_stream("127.0.0.1", 8080)
    async with stream:
        await stream.send_all(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        response = b"".join([chunk async for chunk in stream])
    return json.loads(response.partition(b"\r\n\r\n")[2])


async def hear_hum(page: Page) -> None:
    """Wait until Firefox hears, by way of echo, the 1000 Hz that its fake microphone hums.

    A starved Firefox plays nothing, or what it has in pieces, for seconds at a time.
    """
    with trio.fail_after(120):
        is_heard = False
        while not is_heard:
            heard = await page.record("voicegate.remoteStream", seconds=1.5)
            is_pure = heard.tone_level(1000) > 10 * heard.tone_level(700)
            is_heard = is_pure and abs(heard.dominant_frequency() - 1000) <= 5


async def test_firefox_talks_for_more_than_a_minute() -> None:
    with trio.fail_after(240):
        async with open_namespace() as namespace, trio.open_nursery() as nursery:
            url = await nursery.start(run_server_in, namespace)
            async with open_browser("firefox", namespace=namespace) as browser:
                page = await browser.open_page(url)
                await page.click("#talk")
                await page.wait_for("voicegate.state === 'talking'")
                started_at = trio.current_time()
                await hear_hum(page)
                await trio.sleep(started_at + 65 - trio.current_time())
                assert await page.evaluate("voicegate.state") == "talking"
                assert await page.evaluate("voicegate.connection.connectionState") == "connected"
                await hear_hum(page)
                session = await get(namespace, f"/v1/sessions/{await page.evaluate('voicegate.callId')}")
            nursery.cancel_scope.cancel()
    assert isinstance(session, dict)
    assert session["state"] == "connected"
    assert session["duration_ms"] > 60_000
