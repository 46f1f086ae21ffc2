"""Stock Chromium and Firefox, driven from Trio.

The browser is started headless with a fresh profile, a fake microphone and nothing to call out to, and driven
over a WebSocket (`voicegate.testing.remote_control`)::

    async with open_browser("chromium", microphone=Path("hello.wav")) as browser:
        page = await browser.open_page("http://127.0.0.1:8080/")
        await page.click("button")
        heard = await page.record(seconds=3)

Nothing here has a time limit of its own except the end of the process: wrap it in `trio.fail_after`.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import trio
from trio_websocket import wrap_client_stream

from voicegate.errors import UsageError
from voicegate.testing.network import Namespace
from voicegate.testing.remote_control import (
    JSON,
    BrowserError,
    ConsoleMessage,
    DevTools,
    RemoteControl,
    WebDriverBidi,
)
from voicegate.testing.sound import Sound, silence

__all__ = ["Browser", "Page", "BrowserError", "ConsoleMessage", "Kind", "open_browser"]

Kind: TypeAlias = Literal["chromium", "firefox"]

Preference: TypeAlias = bool | int | str

_PRELOAD: Final = (resources.files("voicegate.testing") / "recorder.js").read_text()

_POLL_SECONDS: Final = 0.02
"""Between two looks of `Page.wait_for`: about one video frame."""

_GRACE_SECONDS: Final = 3.0
"""For a browser to end by itself and reap its children, before its process group is killed."""

_MICROPHONE_TAIL_SECONDS: Final = 0.1

_LARGEST_MESSAGE: Final = 256 << 20
"""A minute of recorded sound takes 16 MB, a screenshot a few."""

_READ_BYTES: Final = 1 << 16

_KEPT_OUTPUT: Final = 1 << 16
"""Characters of the browser's standard error kept for an error message."""

_ENDPOINT: Final = re.compile(r"listening on ws://([\d.]+):(\d+)(\S*)\r?\n")

_CHROMIUM_ARGUMENTS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-crash-reporter",
    "--disable-breakpad",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    # Names resolve to nothing, so that nothing is called out to; literal addresses need no resolving.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE *.*.*.*",
    "--remote-debugging-port=0",
)

_FIREFOX_ARGUMENTS: Final = ("--headless", "--no-remote", "--remote-debugging-port=0")

_FIREFOX_PREFERENCES: Final[Mapping[str, Preference]] = {
    "media.navigator.streams.fake": True,
    "media.cubeb.force_mock_context": True,  # without a sound card no AudioContext would ever run
    "media.navigator.permission.disabled": True,
    "media.devices.insecure.enabled": True,
    "media.getusermedia.insecure.enabled": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    "media.gmp-manager.updateEnabled": False,
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.safebrowsing.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.push.connection.enabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disabled": True,  # localhost and literal addresses need no resolving
    "network.proxy.type": 0,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}


class _Product(NamedTuple):
    """What is particular to a browser."""

    programs: tuple[str, ...]
    package: str
    control: type[RemoteControl]


_PRODUCTS: Final[Mapping[Kind, _Product]] = {
    "chromium": _Product(("chromium", "chromium-browser", "google-chrome"), "chromium", DevTools),
    "firefox": _Product(("firefox-esr", "firefox"), "firefox-esr", WebDriverBidi),
}


class Page:
    """A page in a tab of its own.

    Each method is a checkpoint and raises BrowserError when the page throws or the browser is gone.
    """

    def __init__(self, control: RemoteControl, tab: str) -> None:
        self.console: Final = control.consoles[tab]
        """What the page has written to its console so far, and its uncaught exceptions."""
        self._control = control
        self._tab = tab

    async def evaluate(self, expression: str) -> JSON:
        """Evaluate a JavaScript expression, which may hold ``await``, as if at a touch of the user.

        Returns:
            What it gives, or what its promise gives, in the way of ``JSON.stringify``; None for undefined.

        Errors: BrowserError with message and stack of what was thrown.
        """
        answer = await self._control.evaluate(self._tab, _WRAPPED.replace("EXPRESSION", expression))
        outcome = json.loads(answer or "{}")
        if "error" in outcome:
            raise BrowserError(outcome["error"])
        return outcome.get("value")

    async def wait_for(self, expression: str) -> JSON:
        """Evaluate an expression again and again until it gives something true, and return that."""
        while True:
            if value := await self.evaluate(expression):
                return value
            await trio.sleep(_POLL_SECONDS)

    async def click(self, selector: str) -> None:
        """Click, as a user does, on the middle of the first element that a CSS selector finds.

        Errors: BrowserError when there is none, or another element lies on top of it.
        """
        x, y = await self.evaluate(_AIM.replace("SELECTOR", json.dumps(selector)))
        await self._control.click(self._tab, x, y)

    async def screenshot(self, path: Path) -> None:
        """Write a picture of the viewport, as PNG."""
        await trio.Path(path).write_bytes(await self._control.screenshot(self._tab))

    async def record(self, stream: str = "recorder.remoteStream()", *, seconds: float) -> Sound:
        """Record what a MediaStream plays from now on.

        Args:
            stream: A JavaScript expression; if not given, the sound of the page's newest RTCPeerConnection.
            seconds: How much to record.
        """
        recorded = await self.evaluate(f"await recorder.record(await {stream}, {seconds})")
        return Sound.from_base64(recorded["samples"], rate=round(recorded["rate"]))


_WRAPPED: Final = """(async () => {
  try {
    return JSON.stringify({ value: await (
EXPRESSION
    ) });
  } catch (error) {
    const stack = String(error?.stack ?? "");
    return JSON.stringify({ error: stack.includes(error) ? stack : `${error}\\n${stack}`.trim() });
  }
})()"""

_AIM: Final = """(() => {
  const element = document.querySelector(SELECTOR);
  if (!element) throw new Error("no element matches " + SELECTOR);
  element.scrollIntoView({ block: "center", behavior: "instant" });
  const box = element.getBoundingClientRect();
  const [x, y] = [Math.round(box.x + box.width / 2), Math.round(box.y + box.height / 2)];
  const hit = document.elementFromPoint(x, y);
  if (!element.contains(hit)) throw new Error(SELECTOR + " is covered by " + hit?.outerHTML.slice(0, 100));
  return [x, y];
})()"""


class Browser:
    """A running browser."""

    def __init__(self, control: RemoteControl, version: str) -> None:
        self.version: Final = version
        """Name and version, such as ``firefox/140.0``."""
        self._control = control

    async def open_page(self, url: str) -> Page:
        """Open a page in a new tab and wait until all of it is loaded.

        Errors: BrowserError when it cannot be loaded.
        """
        tab = await self._control.open_tab()
        page = Page(self._control, tab)
        try:
            await self._control.navigate(tab, url)
        except BrowserError as error:
            raise BrowserError(f"{url}: {error}") from error
        return page


@asynccontextmanager
async def open_browser(
    kind: Kind,
    *,
    microphone: Path | None = None,
    arguments: Sequence[str] = (),
    preferences: Mapping[str, Preference] | None = None,
    namespace: Namespace | None = None,
) -> AsyncIterator[Browser]:
    """Start a browser that nobody has used before.

    Args:
        kind: Which.
        microphone: For Chromium, a WAV file of 16-bit samples that its microphone plays once, from the
            beginning for each getUserMedia, and then silence. Without one it beeps twice a second. Firefox's
            is a tone of 1000 Hz, or what the preference ``media.navigator.audio.fake_frequency`` says.
        arguments: More command line arguments.
        preferences: For Firefox, more preferences, as in about:config.
        namespace: Where to run it; here, if not given.

    Errors: BrowserError when it is missing (with the package to install) or does not start (with its words).
    Cancellation: ends the browser with all its processes, within a few seconds.
    Resources: profile and processes are gone when the block ends.
    """
    if (microphone and kind != "chromium") or (preferences and kind != "firefox"):
        raise UsageError("a microphone file is for Chromium, preferences are for Firefox")
    product = _PRODUCTS[kind]
    connect = namespace.open_tcp_stream if namespace else trio.open_tcp_stream
    with tempfile.TemporaryDirectory(prefix="voicegate-browser-", ignore_cleanup_errors=True) as home:
        if kind == "chromium":
            command = _prepare_chromium(Path(home), microphone)
        else:
            command = _prepare_firefox(Path(home), preferences or {})
        command = [_find_program(product), *command, *arguments]
        command = namespace.wrap(command) if namespace else command
        async with _open_process(command, Path(home)) as stderr, _open_owned_nursery() as nursery:
            output = _Output()
            nursery.start_soon(output.read, stderr)
            host, port, resource = await output.find_endpoint()
            async with await connect(host, port) as stream:
                websocket = await wrap_client_stream(
                    nursery,
                    stream,
                    f"{host}:{port}",
                    resource + product.control.endpoint_suffix,
                    max_message_size=_LARGEST_MESSAGE,
                    receive_buffer_size=_READ_BYTES,
                )
                control = product.control(websocket, preload=_PRELOAD)
                nursery.start_soon(control.run)
                yield Browser(control, await control.start())


def _prepare_chromium(home: Path, microphone: Path | None) -> list[str]:
    command = [*_CHROMIUM_ARGUMENTS, f"--user-data-dir={home / 'profile'}"]
    if microphone:
        # At its end Chromium repeats the last 10 ms for ever, so those have to be silent.
        played = Sound.read_wav(microphone)
        (played + silence(_MICROPHONE_TAIL_SECONDS, rate=played.rate)).write_wav(home / "microphone.wav")
        command.append(f"--use-file-for-fake-audio-capture={home / 'microphone.wav'}%noloop")
    return command


def _prepare_firefox(home: Path, preferences: Mapping[str, Preference]) -> list[str]:
    profile = home / "profile"
    profile.mkdir()
    lines = [
        f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
        for name, value in {**_FIREFOX_PREFERENCES, **preferences}.items()
    ]
    (profile / "user.js").write_text("".join(lines))
    return [*_FIREFOX_ARGUMENTS, "--profile", str(profile)]


def _find_program(product: _Product) -> str:
    for name in product.programs:
        if found := shutil.which(name):
            return found
    raise BrowserError(f"none of {', '.join(product.programs)} is installed: apt install {product.package}")


class _Output:
    """A browser's standard error, where it says the address of its remote control."""

    def __init__(self) -> None:
        self.text = ""
        self._endpoint: re.Match[str] | None = None
        self._is_known = trio.Event()

    async def read(self, stream: trio.abc.ReceiveStream) -> None:
        """Read to the end, lest the browser block, and keep the last of it."""
        async for chunk in stream:
            self.text = (self.text + chunk.decode(errors="replace"))[-_KEPT_OUTPUT:]
            if self._endpoint is None and (found := _ENDPOINT.search(self.text)):
                self._endpoint = found
                self._is_known.set()
        self._is_known.set()

    async def find_endpoint(self) -> tuple[str, int, str]:
        """Wait for host, port and path of the remote control."""
        await self._is_known.wait()
        if self._endpoint is None:
            raise BrowserError(f"the browser did not start; it said:\n{self.text}")
        return self._endpoint[1], int(self._endpoint[2]), self._endpoint[3]


@asynccontextmanager
async def _open_process(command: Sequence[str], home: Path) -> AsyncIterator[trio.abc.ReceiveStream]:
    """Run a program in a process group and a home directory of its own; gives its standard error."""
    environment = {
        "HOME": str(home),
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "MOZ_CRASHREPORTER_DISABLE": "1",
    }
    reading, writing = os.pipe()
    async with trio.lowlevel.FdStream(reading) as stderr:
        try:
            process = await trio.lowlevel.open_process(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=writing,
                env=environment,
                start_new_session=True,
            )
        finally:
            os.close(writing)
        try:
            yield stderr
        finally:
            await _end(process)


async def _end(process: trio.Process) -> None:
    """End a process and the group it leads, though cancelled; kindly first, so that it reaps its children."""
    with trio.CancelScope(shield=True):
        process.terminate()
        with trio.move_on_after(_GRACE_SECONDS):
            await process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@asynccontextmanager
async def _open_owned_nursery() -> AsyncIterator[trio.Nursery]:
    """Open a nursery that is cancelled at the end of its block and lets an error of the block out bare."""
    raised: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:
                raised = error
                raise
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if raised is not None and group.exceptions == (raised,):
            raise raised from raised.__cause__
        raise
