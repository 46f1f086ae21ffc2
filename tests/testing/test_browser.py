import http.server
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from voicegate.errors import UsageError
from voicegate.testing.browser import Browser, BrowserError, Kind, Page, open_browser
from voicegate.testing.network import Namespace, open_namespace
from voicegate.testing.sound import Sound, recognise, speech_like

_PAGE = b"""<!doctype html><title>Test</title>
<script>console.log("hello", 42); setTimeout(() => { throw new Error("late") })</script>
<div style="height: 3000px"></div>
<button id=far onclick="window.trusted = event.isTrusted">Far down</button>
<button id=under style="position: fixed; top: 0; left: 0">Under</button>
<div id=over style="position: fixed; inset: 0 0 auto 0; height: 50px">Over</div>
"""

_UNPROCESSED = "{ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } }"

_MICROPHONE = f"navigator.mediaDevices.getUserMedia({_UNPROCESSED})"

_LOSE_MICROPHONE = "window.microphone?.getTracks().forEach((track) => track.stop())"
"""Chromium opens sixteen and no more."""

_CONNECT_TO_ITSELF = f"""(async () => {{
  {_LOSE_MICROPHONE};
  for (const earlier of recorder.peerConnections) earlier.close();
  const [near, far] = [new RTCPeerConnection(), new RTCPeerConnection()];
  const candidates = [];
  near.onicecandidate = ({{ candidate }}) => {{
    if (candidate) {{ candidates.push(candidate.candidate); far.addIceCandidate(candidate); }}
  }};
  far.onicecandidate = ({{ candidate }}) => candidate && near.addIceCandidate(candidate);
  const stream = (window.microphone = await {_MICROPHONE});
  near.addTrack(stream.getTracks()[0], stream);
  await near.setLocalDescription();
  await far.setRemoteDescription(near.localDescription);
  await far.setLocalDescription();
  await near.setRemoteDescription(far.localDescription);
  while (far.connectionState !== "connected") await new Promise((done) => setTimeout(done, 10));
  return candidates;
}})()"""

both = pytest.mark.parametrize("kind", ["chromium", "firefox"])


@asynccontextmanager
async def open_in_time(kind: Kind, **options: Any) -> AsyncIterator[Browser]:
    with trio.fail_after(240):  # many times what it takes
        async with open_browser(kind, **options) as browser:
            yield browser


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/" else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Security-Policy", "script-src 'self' 'unsafe-inline'; media-src 'self'")
        self.send_header("Content-Length", str(len(_PAGE)))
        self.end_headers()
        self.wfile.write(_PAGE)

    def log_message(self, *values: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def processes_that_name(path: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if str(path) in command:
            found.append(command)
    return found


async def wait_listening(namespace: Namespace, port: int) -> None:
    while True:
        try:
            async with await namespace.open_tcp_stream("127.0.0.1", port):
                return
        except ConnectionRefusedError:
            await trio.sleep(0.02)


def is_empty(path: Path) -> bool:
    return not any(path.iterdir())


async def wait_gone(path: Path) -> None:
    while True:
        if not processes_that_name(path):
            return
        await trio.sleep(0.05)


async def listen_to_microphone(page: Page, seconds: float) -> Sound:
    heard = await page.record(f"(window.microphone = await {_MICROPHONE})", seconds=seconds)
    await page.evaluate(_LOSE_MICROPHONE)
    return heard


def is_tone(heard: Sound, frequency: float) -> bool:
    is_near = abs(heard.dominant_frequency() - frequency) < 3
    return is_near and heard.tone_level(frequency) > 10 * heard.tone_level(700)


@pytest.mark.interop
@both
async def test_a_page_answers_what_it_is_asked(kind: Kind, url: str) -> None:
    async with open_in_time(kind) as browser:
        assert browser.version.lower().startswith(("chrome/", "firefox/"))
        page = await browser.open_page(url)
        assert await page.evaluate("1 + 1") == 2
        assert await page.evaluate("({ text: 'ä', list: [1.5, null, true] })") == {
            "text": "ä",
            "list": [1.5, None, True],
        }
        assert await page.evaluate("undefined") is None
        assert await page.evaluate("await fetch('/').then(response => response.status) // a comment") == 200
        assert len(await page.evaluate("'x'.repeat(3_000_000)")) == 3_000_000
        assert await page.evaluate("document.title") == "Test"


@pytest.mark.interop
@both
async def test_what_a_page_throws_is_raised_with_message_and_stack(kind: Kind, url: str) -> None:
    async with open_in_time(kind) as browser:
        page = await browser.open_page(url)
        await page.evaluate("window.fail = function failing() { throw new TypeError('on purpose') }, 0")
        with pytest.raises(BrowserError, match=r"(?s)^TypeError: on purpose\n.*failing"):
            await page.evaluate("fail()")
        with pytest.raises(BrowserError, match=r"^plain$"):
            await page.evaluate("Promise.reject('plain')")
        with pytest.raises(BrowserError, match="SyntaxError"):
            await page.evaluate("1 +")
        with pytest.raises(BrowserError, match=r"^http://127.0.0.1:1/: "):
            await browser.open_page("http://127.0.0.1:1/")
        with pytest.raises(ZeroDivisionError):  # bare, not in an ExceptionGroup
            async with open_in_time(kind):
                raise ZeroDivisionError
        assert await page.evaluate("2") == 2


@pytest.mark.interop
@both
async def test_a_page_is_clicked_watched_and_pictured(kind: Kind, url: str, tmp_path: Path) -> None:
    async with open_in_time(kind) as browser:
        page = await browser.open_page(url)
        await page.click("#far")
        assert await page.wait_for("window.trusted") is True
        assert await page.wait_for("window.looks = (window.looks ?? 0) + 1, looks > 2 && looks") == 3
        assert await page.wait_for("new Promise(done => setTimeout(() => done('soon'), 50))") == "soon"
        with pytest.raises(BrowserError, match=r"#under is covered by <div id=.over"):
            await page.click("#under")
        with pytest.raises(BrowserError, match="no element matches #none"):
            await page.click("#none")
        await page.screenshot(tmp_path / "page.png")
        picture = (tmp_path / "page.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert min(struct.unpack_from(">II", picture, 16)) > 300
        assert ("log", "hello 42") in page.console
        assert any(line.level == "error" and "late" in line.text for line in page.console)


@pytest.mark.interop
async def test_chromium_hears_the_given_file_once_and_then_silence(url: str, tmp_path: Path) -> None:
    spoken = speech_like(3)
    spoken.write_wav(tmp_path / "spoken.wav")
    async with open_in_time("chromium", microphone=tmp_path / "spoken.wav") as browser:
        page = await browser.open_page(url)
        # A stalled machine may spoil or shift a sound, but never makes one: listen until it was in time.
        with trio.fail_after(120):
            while True:
                heard = await listen_to_microphone(page, 4)
                assert heard.seconds == 4
                match = recognise(heard, spoken)
                if match.peak > 0.8 and abs(match.lag) < 0.3 and heard.cut(3.5, 4).loudness < 0.001:
                    break


@pytest.mark.interop
async def test_firefox_hears_the_tone_of_its_fake_microphone(url: str) -> None:
    async with open_in_time("firefox", preferences={"media.navigator.audio.fake_frequency": 440}) as browser:
        page = await browser.open_page(url)
        while not is_tone(heard := await listen_to_microphone(page, 1), 440):
            pass  # a stall has spoilt it
    assert heard.seconds == 1


@pytest.mark.interop
@both
async def test_sound_crosses_a_peer_connection_inside_a_namespace(kind: Kind, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(_PAGE)
    spoken = speech_like(20)
    spoken.write_wav(tmp_path / "spoken.wav")
    server = [sys.executable, "-m", "http.server", "8080", "--directory", str(tmp_path)]

    async def serve() -> None:
        await trio.run_process(namespace.wrap(server), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    arguments = ["--allow-loopback-in-peer-connection"] if kind == "chromium" else []
    microphone = tmp_path / "spoken.wav" if kind == "chromium" else None
    async with open_namespace() as namespace, trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with trio.fail_after(120):
            await wait_listening(namespace, 8080)
        async with open_in_time(
            kind, namespace=namespace, microphone=microphone, arguments=arguments
        ) as browser:
            page = await browser.open_page("http://127.0.0.1:8080/")
            while True:  # until no stall spoils it; each connection hears the microphone from its beginning
                candidates = await page.evaluate(_CONNECT_TO_ITSELF)
                heard = await page.record(seconds=2)
                if recognise(heard, spoken).peak > 0.8 if kind == "chromium" else is_tone(heard, 1000):
                    break
        nursery.cancel_scope.cancel()
    host = "127.0.0.1" if kind == "chromium" else "10.77.0.1"  # Firefox offers no loopback address
    assert any(f" {host} " in candidate for candidate in candidates)


@pytest.mark.interop
@both
async def test_nothing_is_left_of_a_cancelled_browser(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with trio.CancelScope() as scope:
        async with open_in_time(kind) as browser:
            await browser.open_page("about:blank")
            assert processes_that_name(tmp_path)
            scope.cancel()
            await trio.sleep_forever()
    with trio.move_on_after(0.2):  # while it starts
        async with open_in_time(kind):
            pytest.fail("it cannot have started in that time")
    with trio.fail_after(120):
        await wait_gone(tmp_path)
    assert is_empty(tmp_path)


@pytest.mark.interop
@both
async def test_a_browser_that_ends_by_itself_is_reported(kind: Kind) -> None:
    async with open_in_time(kind) as browser:
        page = await browser.open_page("about:blank")
        close = "Browser.close" if kind == "chromium" else "browser.close"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(browser._control._command, close, {})
            with pytest.raises(BrowserError, match="went away"):
                await page.evaluate("new Promise(() => {})")
        with pytest.raises(BrowserError, match="went away"):
            await page.evaluate("1")


@both
async def test_a_missing_browser_is_named_with_its_package(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BrowserError, match=f"apt install {kind}"):
        async with open_in_time(kind):
            pass


@both
async def test_a_browser_that_does_not_start_is_quoted(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / ("chromium" if kind == "chromium" else "firefox-esr")
    program.write_text("#!/bin/sh\necho 'no screen, no keyboard' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(BrowserError, match="no screen, no keyboard"):
        async with open_in_time(kind):
            pass


async def test_options_of_the_other_browser_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        async with open_in_time("firefox", microphone=tmp_path / "spoken.wav"):
            pass
    with pytest.raises(UsageError):
        async with open_in_time("chromium", preferences={"any": True}):
            pass
