"""The OpenAI Agents SDK for browsers, as it comes from npm, in Chromium: an app that changes only its URL."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest
import trio

import voicegate
from tests.harness import run_server
from tests.interop.openai_agents.bundle import build_app
from voicegate.access.key import hash_key
from voicegate.call import (
    Call,
    Interrupted,
    ItemAdded,
    ItemTruncated,
    ResponseCancelled,
    ResponseRequested,
    SessionUpdated,
)
from voicegate.testing import sound
from voicegate.testing.browser import Page, open_browser

pytestmark = [pytest.mark.interop, pytest.mark.slow]

RATE = 24_000
PITCH = 500.0
STORY_SECONDS = 120
"""Far more than anybody listens to."""
KEY = "sk-of-the-operator"
KEYS = ({"name": "app", "hash": hash_key(KEY)},)


HELD_BACK = """(() => {
  const devices = navigator.mediaDevices;
  const ask = devices.getUserMedia.bind(devices);
  devices.getUserMedia = async (wanted) => {
    const stream = await ask(wanted);
    window.voice = stream.getAudioTracks()[0];
    voice.enabled = false;
    return stream;
  };
})()"""
"""Has the user say nothing until a test lets them."""


@attrs.define
class Clerk:
    """An agent that follows a script: it tells a long story, or asks the client's tool for the time."""

    sessions: list[dict[str, Any]] = attrs.field(factory=list)
    events: list[object] = attrs.field(factory=list)
    outputs: list[str] = attrs.field(factory=list)
    greets: bool = False

    async def __call__(self, call: Call) -> None:
        call.use_rate(RATE)
        call.converse()
        wanted = ""
        async with trio.open_nursery() as nursery:
            async for event in call.events:
                self.events.append(event)
                match event:
                    case SessionUpdated(session=session):
                        self.sessions.append(dict(session))
                        if self.greets and len(self.sessions) == 2:
                            nursery.start_soon(self._tell, call, None, "Once upon a time.", STORY_SECONDS)
                    case ItemAdded(item=item) if item["type"] == "message":
                        wanted = item["content"][0].get("text", "spoken")
                    case ItemAdded(item=item) if item["type"] == "function_call_output":
                        self.outputs.append(item["output"])
                        wanted = "output"
                    case ResponseRequested(response_id=response_id):
                        nursery.start_soon(self._answer, call, response_id, wanted)
                    case _:
                        pass

    async def _answer(self, call: Call, response_id: str, wanted: str) -> None:
        if "story" in wanted:
            await self._tell(call, response_id, "Once upon a time.", STORY_SECONDS)
        elif "time" in wanted:
            with call.respond(response_id) as response:
                response.function_call("get_time", json.dumps({"zone": "Paris"}))
        else:
            await self._tell(call, response_id, "At your service.", 1)

    async def _tell(self, call: Call, response_id: str | None, words: str, seconds: int) -> None:
        with call.respond(response_id) as response:
            response.transcript(words)
            for _ in range(seconds):
                await response.send(sound.tone(PITCH, 1.0, rate=RATE).pcm)

    def count(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.events)


@asynccontextmanager
async def open_app(
    clerk: Clerk, tmp_path: Path, *, microphone: sound.Sound | None = None
) -> AsyncIterator[tuple[Page, voicegate.Server]]:
    """Open the app on an origin of its own, as apps have."""
    recording = tmp_path / "microphone.wav"
    (microphone or sound.silence(1.0)).write_wav(recording)
    script = await build_app()
    page_body = b"<!doctype html><meta charset=utf-8><title>app</title><script src=app.js></script>"
    files = {"/": ("text/html", page_body), "/app.js": ("text/javascript", script.read_bytes())}
    async with (
        run_server(clerk, keys=KEYS) as server,
        trio.open_nursery() as nursery,
        open_browser("chromium", microphone=recording) as browser,
    ):
        (listener,) = await nursery.start(partial(trio.serve_tcp, partial(serve, files), 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        yield await browser.open_page(f"http://127.0.0.1:{port}/"), server
        nursery.cancel_scope.cancel()


async def serve(files: dict[str, tuple[str, bytes]], stream: trio.SocketStream) -> None:
    """Answer one request for a file."""
    head = b""
    while b"\r\n\r\n" not in head:
        if not (data := await stream.receive_some()):
            return
        head += data
    kind, body = files.get(head.split()[1].decode(), ("text/plain", b""))
    headers = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    await stream.send_all(b"HTTP/1.1 200 OK\r\n" + headers.encode() + body)
    await stream.send_eof()


async def connect(page: Page, server: voicegate.Server) -> dict[str, Any]:
    """Do as the app's own server does, which has the key, and then as the page does with what it is given."""
    url = f"{server.url}v1/realtime"
    async with httpx2.AsyncClient(trust_env=False) as http:
        headers = {"Authorization": f"Bearer {KEY}"}
        made = await http.post(
            f"{url}/client_secrets", headers=headers, json={"session": {"type": "realtime"}}
        )
    secret = made.json()["value"]
    parameters = f"{json.dumps(url + '/calls')}, {json.dumps(secret)}"
    connected: dict[str, Any] = await page.evaluate(f"await app.connect({parameters})")
    return connected


async def wait_for_event(page: Page, event_type: str, count: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = await page.wait_for(f"app.find({json.dumps(event_type)})[{count - 1}]")
    return found


async def test_an_app_of_the_sdk_does_all_of_it(tmp_path: Path) -> None:
    clerk = Clerk()
    with trio.fail_after(240):
        async with open_app(clerk, tmp_path) as (page, server):
            connected = await connect(page, server)
            await wait_for_event(page, "session.updated")
            assert connected["callId"].startswith("rtc_")
            assert server.transceiver.find(connected["callId"]) is not None

            # The session
            types = await page.evaluate("app.types()")
            assert types[:2] == ["session.created", "session.updated"]
            while len(clerk.sessions) < 3:
                await trio.sleep(0.01)
            assert clerk.sessions[-1]["instructions"] == "You tell people what time it is."
            assert [tool["name"] for tool in clerk.sessions[-1]["tools"]] == ["get_time"]

            # The agent is heard, and interrupted
            await page.evaluate("app.say('Tell me a story.')")
            await wait_for_event(page, "output_audio_buffer.started")
            heard = await page.record(seconds=1.0)
            while abs(heard.dominant_frequency() - PITCH) > 10:  # the machine may be starved
                heard = await page.record(seconds=1.0)
            await page.evaluate("app.interrupt()")
            truncated = await wait_for_event(page, "conversation.item.truncated")
            assert 500 < truncated["audio_end_ms"] < 1000 * STORY_SECONDS - 2000
            await wait_for_event(page, "output_audio_buffer.cleared")
            done = await wait_for_event(page, "response.done")
            assert done["response"]["status"] == "cancelled"
            retrieved = await wait_for_event(page, "conversation.item.retrieved")
            assert retrieved["item"]["id"] == truncated["item_id"]
            while (await page.record(seconds=0.5)).loudness > 0.005:
                pass  # What had left before is still in the browser's buffer.

            # A tool of the client's
            await page.evaluate("app.say('What time is it?')")
            await page.wait_for("app.called.length")
            while not clerk.outputs:
                await trio.sleep(0.01)
            await wait_for_event(page, "output_audio_buffer.started", 2)
            await wait_for_event(page, "output_audio_buffer.stopped")
            called = await page.evaluate("app.called")
            history = await page.evaluate("app.history")
            errors = await page.evaluate("app.errors.map((error) => JSON.stringify(error))")
            await page.evaluate("app.close()")
            while server.transceiver.call_count:
                await trio.sleep(0.01)
    assert called == ["Paris"]
    assert clerk.outputs == ["It is noon in Paris."]
    assert clerk.count(ItemTruncated) == 1
    assert clerk.count(ResponseCancelled) == 1
    assert errors == []
    assert [(item["type"], item.get("role")) for item in history] == [
        ("message", "user"),
        ("message", "assistant"),
        ("message", "user"),
        ("function_call", None),
        ("message", "assistant"),
    ]
    assert history[-1]["content"][0]["transcript"] == "At your service."


async def test_a_user_talks_over_the_agent(tmp_path: Path) -> None:
    clerk = Clerk(greets=True)
    microphone = sum([sound.speech_like(2.0) + sound.silence(4.0)] * 40, sound.silence(0.0))
    with trio.fail_after(240):
        async with open_app(clerk, tmp_path, microphone=microphone) as (page, server):
            await page.evaluate(HELD_BACK)
            await connect(page, server)
            await wait_for_event(page, "output_audio_buffer.started")
            await page.evaluate("voice.enabled = true")
            await wait_for_event(page, "input_audio_buffer.speech_started")
            await wait_for_event(page, "output_audio_buffer.cleared")
            truncated = await wait_for_event(page, "conversation.item.truncated")
            committed = await wait_for_event(page, "input_audio_buffer.committed")
            await page.evaluate("voice.enabled = false")
            await wait_for_event(page, "output_audio_buffer.started", 2)
            await wait_for_event(page, "output_audio_buffer.stopped")
            history = await page.evaluate("app.history")
            errors = await page.evaluate("app.errors.map((error) => JSON.stringify(error))")
    assert errors == []
    assert 0 < truncated["audio_end_ms"] < 1000 * STORY_SECONDS - 2000
    assert clerk.count(Interrupted) == 1
    assert committed["item_id"] in {item["itemId"] for item in history}
    assert history[-1]["content"][0]["transcript"] == "At your service."
